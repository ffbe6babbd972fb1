"""What the studies of the campaign differ in, and the moments at which their kills may be aimed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.traced import Moment

TRIALS = 6


@dataclass(frozen=True, slots=True)
class Flavour:
    """A kind of search."""

    name: str
    scheduler: Mapping[str, Any]
    auto: bool = False  # what a trial is given is measured first
    aim: Moment | None = None  # what some kills wait for, besides an epoch

    def spec(self, seed: int, concurrency: int, local_cpus: int) -> dict[str, Any]:
        """A small study."""
        resources = {"local_cpus": local_cpus, "local_gpus": 0, "concurrency": concurrency}
        return {
            "name": f"faults-{seed}",
            "seed": seed,
            "trials": TRIALS,
            "epochs": 9,
            "scheduler": {"rungs": [3, 6], **self.scheduler},
            "sampler": {"startup": 3},
            "trainable": "tests.faults.traced:Traced",
            "failures": {"retries": 50},  # kills are not the trials' fault
            "resources": {**resources, **({"cpus": "auto", "gpus": "auto"} if self.auto else {})},
        }


_PROBE = {"share": 0.25}

FLAVOURS: Mapping[str, Flavour] = {
    flavour.name: flavour
    for flavour in (
        Flavour("asha", {"kind": "asha"}),
        Flavour("promotion-probes", {"kind": "promotion", "probe": _PROBE}, aim="probe"),
        Flavour("asha-probes", {"kind": "asha", "probe": _PROBE}, aim="probe"),
        Flavour("auto", {"kind": "asha"}, auto=True, aim="measuring run"),
    )
}

#: By the kind of a study. Where nodes join later, what is measured is the driver's own node, as in a local study.
OF_KIND: Mapping[str, tuple[str, ...]] = {
    "local": tuple(FLAVOURS),
    "multi-node": ("asha", "promotion-probes", "asha-probes"),
}
