"""Recorded learning curves: of a study of ours, or of a table of another search."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.curve_tables import TableUnreadable, read_curve_table
from analysis.events import PROBE_SECONDS, PROBE_VALUE
from analysis.log import LOG_FILE, read_log
from analysis.study import STUDY_FILE, open_study
from analysis.trials import Trial, fold_trials
from search_spaces import SearchSpace, space_from_mapping, space_to_mapping
from tune_gate.errors import Misuse
from tune_gate.schedulers import FLOOR
from tune_gate.unit_cube import UnitCube

Matrix = NDArray[np.float64]

#: Settings of a study that are about its machines and files; a replay has neither.
_NOT_REPLAYED = ("resources", "checkpoints", "failures", "trainable", "trials")

#: Who suggested the trials of an imported study is not known; what they were is.
_OF_IMPORTED: Mapping[str, Any] = {"sampler": {"kind": "recorded"}}


@dataclass(frozen=True)
class RecordedProbes:
    """The probes that were taken along the curves. Matrices are configurations x epochs; NaN where there was none."""

    share: float  # length of each, of the epochs before it
    values: Matrix  # validation at the end of the cool-down
    seconds: Matrix


@dataclass(frozen=True)
class RecordedCurves:
    """Configurations, and how each of them trained. Matrices are configurations x epochs."""

    name: str
    space: SearchSpace
    points: tuple[Mapping[str, Any], ...]
    values: Matrix  # validation; larger is better; NaN after a curve's end
    tests: Matrix  # NaN where not known
    seconds: Matrix  # of each epoch; NaN where not known
    diverged: NDArray[np.bool_]  # (configurations,): the curve ends because the trial diverged
    settings: Mapping[str, Any]  # those of the search that recorded them, as a study's; none: it was no study
    images: int = 0  # of the validation set; 0 where not known
    gpus: float = 0.0  # that a trial had
    probes: RecordedProbes | None = None

    @property
    def epochs(self) -> int:
        """Epochs of a configuration that is trained to the end."""
        return int(self.values.shape[1])

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Of each configuration, the last epoch that is known."""
        return np.asarray(self.epochs - np.argmax(~np.isnan(self.values[:, ::-1]), axis=1), dtype=np.int64)

    @cached_property
    def peaks(self) -> Matrix:
        """Of each configuration, the best value that is known, of shape (configurations,)."""
        return np.asarray(np.nanmax(self.values, axis=1))

    @property
    def best(self) -> float:
        """The best value known."""
        return float(self.peaks.max())

    @property
    def typical(self) -> float:
        """The best value of the median configuration, of those trained to the end where there are any."""
        whole = self.lengths == self.epochs
        return float(np.median(self.peaks[whole] if whole.any() else self.peaks))

    @cached_property
    def cube(self) -> UnitCube:
        """The space as a cube."""
        return UnitCube(self.space)

    @cached_property
    def vectors(self) -> Matrix:
        """The configurations as vectors, of shape (configurations, axes)."""
        return np.array([self.cube.encode(point) for point in self.points])

    @property
    def standard_error(self) -> float:
        """The binomial standard error of the best value, a share or percentage of images; 0 where not known."""
        scale = 100.0 if self.best > 1 else 1.0
        share = self.best / scale
        return scale * math.sqrt(share * (1 - share) / self.images) if self.images and 0 < share < 1 else 0.0

    @property
    def timed(self) -> bool:
        """Whether it is known how long an epoch took."""
        return not bool(np.isnan(self.seconds).all())

    @property
    def trials(self) -> int:
        """How many trials the search that recorded them had."""
        return len(self.points)


def load_curves(path: Path) -> RecordedCurves:
    """The curves at `path`: a study's folder, or an `.npz` table of another search.

    Raises:
        Misuse: there is no such file, it is no such table, or the study has no report yet.
        StudyNotFound, SchemaUnknown, AnalysisError, LogCorrupt: there is no study that can be read.
        SpaceError: its space is ill-formed.
    """
    return curves_of_table(path) if path.suffix == ".npz" else curves_of_study(path)


def curves_of_study(folder: Path) -> RecordedCurves:
    """The curves of the study in `folder`; raises as `load_curves`.

    A trial that the search stopped has a curve that ends there: nobody knows how it would have gone on.
    """
    header = open_study(folder).spec
    record = json.loads((folder / STUDY_FILE).read_bytes())
    spec = record["spec"]
    trials = [trial for trial in fold_trials(read_log(folder / LOG_FILE)).values() if trial.reports]
    if not trials:
        raise Misuse(f"{folder} has no trial with an epoch yet, so there is nothing to replay")
    epochs = max(header.epochs, *(trial.epoch for trial in trials))
    return RecordedCurves(
        name=header.name,
        space=space_from_mapping(spec["space"], header.name),
        points=tuple(trial.settings for trial in trials),
        values=_to_the_end(trials, _metric(trials, epochs, header.metric)),
        tests=_metric(trials, epochs, "test_acc"),
        seconds=_metric(trials, epochs, "seconds"),
        diverged=np.array([trial.state == "diverged" for trial in trials]),
        settings={
            **{key: value for key, value in spec.items() if key not in _NOT_REPLAYED},
            **(_OF_IMPORTED if "imported" in record else {}),
        },
        images=_images(trials),
        gpus=header.gpus,
        probes=_probes(trials, epochs, header.probe_share),
    )


def curves_of_table(path: Path) -> RecordedCurves:
    """The curves in an `.npz` file, whose form `analysis.curve_tables` describes. Raises as `load_curves`."""
    try:
        table = read_curve_table(path)
    except TableUnreadable as error:
        raise Misuse(str(error)) from None
    return RecordedCurves(
        name=table.name,
        space=space_from_mapping(table.space, table.name),
        points=table.points,
        values=table.values,
        tests=table.tests,
        seconds=np.full_like(table.values, np.nan),
        diverged=np.zeros(len(table.values), dtype=bool),
        settings={},
    )


def space_record(curves: RecordedCurves) -> dict[str, Any]:
    """The space as a study's specification writes it."""
    return dict(space_to_mapping(curves.space))


def _metric(trials: Sequence[Trial], epochs: int, name: str) -> Matrix:
    matrix = np.full((len(trials), epochs), np.nan)
    for row, trial in enumerate(trials):
        for epoch, report in trial.reports.items():
            matrix[row, epoch - 1] = report.metrics.get(name, np.nan)
    return matrix


def _to_the_end(trials: Sequence[Trial], values: Matrix) -> Matrix:
    """`values` in which a trial that diverged has one at its last epoch, too, where none could be recorded: no better
    than any other.
    """
    worst = values[np.isfinite(values)].min(initial=FLOOR)
    for row, trial in enumerate(trials):
        if trial.state == "diverged" and not math.isfinite(values[row, trial.epoch - 1]):
            values[row, trial.epoch - 1] = worst
    return values


def _probes(trials: Sequence[Trial], epochs: int, share: float) -> RecordedProbes | None:
    if not share:
        return None
    return RecordedProbes(share, _metric(trials, epochs, PROBE_VALUE), _metric(trials, epochs, PROBE_SECONDS))


def _images(trials: Sequence[Trial]) -> int:
    """Validation images, as the last report says."""
    last = trials[-1].last
    count = math.nan if last is None else last.metrics.get("val_images", math.nan)
    return 0 if math.isnan(count) else int(count)
