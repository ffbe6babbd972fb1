"""What an importer finds: trials with their whole learning curves, and the study that they make up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from analysis.errors import AnalysisError
from analysis.importers.units import UNITS

#: How a foreign trial ended. `running`: its end is not recorded, and it may still go on.
ForeignState = Literal["completed", "stopped", "diverged", "failed", "running", "waiting"]

#: The form of a dimension, as a study's space has it: {"log-float": [0.001, 0.1]}, {"choice": [...]}, ...
Dimension = Mapping[str, Any]


class ImportFailed(AnalysisError):  # noqa: N818
    """The source cannot be read, or is not what the importer reads; nothing was written."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What a user can say about a source that the source does not say itself."""

    metric: str | None = None  # the accuracy by which trials are ranked; default: found by its name
    unit: str | None = None  # of the metric, one of UNITS; default: found from its values
    val_images: int | None = None  # images behind an accuracy, for its interval
    mapping: Path | None = None  # YAML that says how names are to be read; see docs/import.md
    study: str | None = None  # name of one study in a source that holds several

    def __post_init__(self) -> None:
        if self.unit is not None and self.unit not in UNITS:
            raise ImportFailed(f"unknown unit {self.unit!r}; known: {', '.join(UNITS)}")


@dataclass(frozen=True, slots=True)
class ForeignEpoch:
    """One epoch of a trial. `metrics` holds `val_acc`, a fraction or a score of which more is better."""

    epoch: int  # counted from 1
    time: float  # Unix time, seconds
    metrics: Mapping[str, float]
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class ForeignTrial:
    """One trial. Epochs of a later attempt replace equal or later epochs of the attempts before it."""

    name: str  # as the source has it
    settings: Mapping[str, Any]
    epochs: tuple[ForeignEpoch, ...]
    state: ForeignState
    started: float  # Unix time, seconds
    seed: int = 0
    reason: str = ""  # why it failed


@dataclass(frozen=True, slots=True)
class ForeignStudy:
    """A study as another program recorded it."""

    name: str
    trials: tuple[ForeignTrial, ...]
    notes: tuple[str, ...] = ()  # what the user should know, one line each
    space: Mapping[str, Dimension] = field(default_factory=dict)  # where it is known; others are made from the values
    rungs: tuple[int, ...] = ()
    reduction_factor: int = 3
    cpus: float = 1.0  # of one trial
    gpus: float = 0.0
