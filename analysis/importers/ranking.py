"""From a metric of another program to `val_acc`, by which trials are ranked here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from analysis.importers.foreign import ForeignEpoch, ForeignTrial, ImportFailed, ImportOptions
from analysis.importers.units import UNITS, guess_metric, guess_unit


@dataclass(frozen=True, slots=True)
class Ranking:
    """Which metric is the accuracy, and in which unit."""

    metric: str
    unit: str
    val_images: int | None = None

    def of_epoch(self, epoch: ForeignEpoch) -> ForeignEpoch:
        """`epoch` with `val_acc` (and `val_images`, where known) beside the metrics that it has."""
        metrics = {**epoch.metrics}
        if self.metric in metrics:
            metrics["val_acc"] = UNITS[self.unit](metrics[self.metric])
        if self.val_images:
            metrics["val_images"] = float(self.val_images)
        return replace(epoch, metrics=metrics)

    @property
    def note(self) -> str:
        """What was taken for what, in one line."""
        return f"val_acc is {self.metric!r}, read as {self.unit}; say --metric or --unit if that is wrong"


def chosen_ranking(trials: Iterable[ForeignTrial], options: ImportOptions, known: str | None = None) -> Ranking:
    """The ranking that `options` ask for; else by `known`, the metric that the source names; else by its name.

    Raises:
        ImportFailed: there is no such metric, or none is an accuracy by its name.
    """
    found = list(trials)
    names = sorted({name for trial in found for epoch in trial.epochs for name in epoch.metrics})
    metric = options.metric or known or guess_metric(names)
    if names and metric not in names:
        raise ImportFailed(f"which value is the validation accuracy? Say --metric, one of: {', '.join(names)}")
    values = (epoch.metrics.get(metric or "", math.nan) for trial in found for epoch in trial.epochs)
    return Ranking(metric or "val_acc", options.unit or guess_unit(values), options.val_images)


def ranked(trials: Iterable[ForeignTrial], ranking: Ranking) -> Iterator[ForeignTrial]:
    """`trials` with `val_acc` in every epoch that has one; a completed trial whose last one is not finite diverged."""
    for trial in trials:
        epochs = tuple(ranking.of_epoch(epoch) for epoch in trial.epochs)
        last = epochs[-1].metrics.get("val_acc", 0.0) if epochs else 0.0  # not recorded: nothing is known
        diverged = trial.state in ("completed", "stopped") and not math.isfinite(last)
        yield replace(trial, epochs=epochs, state="diverged" if diverged else trial.state)
