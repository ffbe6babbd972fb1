"""What a worker is told: a typed form of the dict that passes through Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainables.errors import ConfigError, unknown_name


@dataclass(frozen=True, slots=True)
class ProbeOrder:
    """Which epochs of a trial are probed, and for how long; see `trainables.probes`."""

    epochs: tuple[int, ...]
    share: float  # length of the cool-down, of the epochs so far

    @property
    def longest(self) -> float:
        """Length of the longest cool-down, in epochs."""
        return self.share * max(self.epochs, default=0)


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """One attempt at one trial."""

    trial: int
    attempt: int
    settings: Mapping[str, Any]  # of a TrialConfig
    from_epoch: int  # go on from the newest good checkpoint up to this epoch
    folder: str  # the trial's checkpoints
    every: int  # epochs between two of them
    keep: int  # how many are kept
    cpus: float
    gpus: float
    probes: ProbeOrder | None = None

    @property
    def name(self) -> str:
        """What Tune, observers and the worker's process call the attempt."""
        return f"trial-{self.trial:04d}-attempt-{self.attempt}"

    @property
    def checkpoints(self) -> Path:
        """The trial's folder."""
        return Path(self.folder)

    def to_dict(self) -> dict[str, Any]:
        """The form in which the order passes through Ray."""
        return asdict(self)


def work_order(mapping: Mapping[str, Any]) -> WorkOrder:
    """The order that came through Ray.

    Raises:
        ConfigError: a key is unknown or missing.
    """
    for key in mapping:
        if key not in WorkOrder.__dataclass_fields__:
            raise ConfigError(unknown_name("key of a work order", key, WorkOrder.__dataclass_fields__))
    probes = mapping.get("probes")
    try:
        return WorkOrder(**{**mapping, "probes": None if probes is None else ProbeOrder(**probes)})
    except TypeError as error:
        raise ConfigError(f"an incomplete work order: {error}") from None
