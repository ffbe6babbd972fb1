"""The searches that a replay compares: each is some settings of a study, over the same curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import unknown_name
from tune_gate.errors import SpecError
from tune_gate.replay.grid import grid_points
from tune_gate.replay.probing import check_probes
from tune_gate.replay.recorded import RecordedCurves, space_record
from tune_gate.replay.spec import ReplaySpec
from tune_gate.spec import plain_spec

#: What a replay can vary of a study.
VARIED = ("scheduler", "sampler", "first")

#: More trials than any replay starts: its budget of epochs ends it.
_WITHOUT_END = 100_000


#: Settings that one kind of sampler has.
_SETTINGS_OF = {"levels": "grid", "stopped": "tpe"}


@dataclass(frozen=True, slots=True)
class Variant:
    """A search under a name."""

    name: str
    settings: Mapping[str, Any]  # sections of a study; each replaces the recorded search's own


#: What every other search is measured by.
REFERENCE = Variant("random, full length", {"scheduler": {"kind": "full"}, "sampler": {"kind": "random"}})

#: The usual searches, for `--compare`.
USUAL = (
    Variant("grid, full length", {"scheduler": {"kind": "full"}, "sampler": {"kind": "grid"}}),
    Variant("TPE, full length", {"scheduler": {"kind": "full"}, "sampler": {"kind": "tpe"}}),
    Variant("ASHA, random", {"scheduler": {"kind": "asha"}, "sampler": {"kind": "random"}}),
    Variant("ASHA, TPE", {"scheduler": {"kind": "asha"}, "sampler": {"kind": "tpe"}}),
    Variant(
        "ASHA, TPE told COMPLETE",
        {"scheduler": {"kind": "asha"}, "sampler": {"kind": "tpe", "stopped": "complete"}},
    ),
    Variant(
        "ASHA, TPE told nothing",
        {"scheduler": {"kind": "asha"}, "sampler": {"kind": "tpe", "stopped": "nothing"}},
    ),
    Variant("ASHA, TPE of one rung", {"scheduler": {"kind": "asha"}, "sampler": {"kind": "tpe-rung"}}),
    Variant("promotion, TPE of one rung", {"scheduler": {"kind": "promotion"}, "sampler": {"kind": "tpe-rung"}}),
    Variant(
        "ASHA from epoch 1 by 4, TPE",
        {"scheduler": {"kind": "asha", "grace_period": 1, "reduction_factor": 4}, "sampler": {"kind": "tpe"}},
    ),
    Variant("Hyperband, random", {"scheduler": {"kind": "hyperband"}, "sampler": {"kind": "random"}}),
    Variant("median stopping, random", {"scheduler": {"kind": "median"}, "sampler": {"kind": "random"}}),
)


def load_variant(path: Path) -> Variant:
    """The variant in a YAML file: the sections of a study that differ, such as `scheduler: {kind: full}`.

    Raises:
        SpecError: the file cannot be read, is no mapping, or has a key that a replay cannot vary.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise SpecError(f"{path} is not YAML") from None
    if not isinstance(settings, dict):
        raise SpecError(f"{path} is no mapping of settings (for example `scheduler: {{kind: full}}`)")
    for key in settings:
        if key not in VARIED:
            raise SpecError(f"{path}: {unknown_name('setting of a replay', str(key), VARIED)}")
    return Variant(path.stem, settings)


def replay_spec(curves: RecordedCurves, variant: Variant, seed: int, trials: int | None) -> ReplaySpec:
    """The specification of `variant` over `curves`; without a number of trials, the budget of epochs ends it.

    Raises:
        SpecError: its settings are wrong.
    """
    own = {"first": (), "name": curves.name, **curves.settings}
    changed: dict[str, Any] = {"seed": seed, "epochs": curves.epochs, "space": space_record(curves)}
    changed["trials"] = trials or _WITHOUT_END
    changed["failures"] = {"retries": 0}  # the one failure there is: a curve has ended, and would end again
    if own.get("epochs", curves.epochs) != curves.epochs:  # it was extended, and its rungs with it
        own.pop("scheduler", None)
    try:
        spec = plain_spec(ReplaySpec, {**own, **variant.settings, **changed})
        _check_sampler(spec)
        check_probes(spec, curves)
        return _bounded(spec, curves)
    except SpecError as error:
        raise SpecError(f"{variant.name}: {error}") from None


def _bounded(spec: ReplaySpec, curves: RecordedCurves) -> ReplaySpec:
    """`spec` with no more trials than its sampler has points, where it has a list of them."""
    if spec.sampler.kind == "grid":
        points = len(grid_points(spec.search_space, spec.sampler.levels))
    elif spec.sampler.kind == "recorded":
        points = len(curves.points)
        spec = spec.model_copy(update={"recorded": curves.points})
    else:
        return spec
    return spec.model_copy(update={"trials": min(spec.trials, points)})


def _check_sampler(spec: ReplaySpec) -> None:
    """Settings of one kind of sampler are no settings of another."""
    for name, kind in _SETTINGS_OF.items():
        if name in spec.sampler.model_fields_set and spec.sampler.kind != kind:
            raise SpecError(f"sampler: {name!r} is a setting of kind {kind!r}, not of {spec.sampler.kind!r}")
