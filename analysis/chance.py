"""How much results differ by chance: images, replicates, and the choice of the best epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.scores import Measure, level_keys, percent_of, scores, selected_trials, shown_settings, varied

if TYPE_CHECKING:
    from analysis.study import Study


@dataclass(frozen=True)
class Noise:
    """What chance alone does to a measure. Accuracies are fractions; what is not known is NaN."""

    measure: str  # in words
    trials: int
    best_trial: int
    best: float  # the largest measure
    images: float  # of the validation split; NaN where not recorded
    binomial_se: float  # of the best trial's measure, from the number of images
    within_1_se: int  # trials not more than one binomial SE below the best, the best included
    within_2_se: int
    replicated: int  # configurations with several trials
    replicate_sd: float  # standard deviation of trials of one configuration, pooled
    degrees: int  # of freedom of that deviation
    groups: pd.DataFrame  # one row per replicated configuration: settings, trials, mean, deviation, values
    test_flattery: float  # mean over trials: best test accuracy of any epoch less that at the best validation epoch
    test_flattery_most: float

    def lines(self) -> list[str]:
        """The noise in words, one line each; accuracies in percent."""
        if not self.trials:
            return [f"{self.measure}: no trial ended in full, so nothing is known of the noise"]
        unit = percent_of(self.measure)
        lines = [
            f"{self.measure}{unit.words}: {self.trials} trials; the best is trial {self.best_trial} "
            f"with {unit.plain(self.best)}"
        ]
        if not math.isnan(self.binomial_se):
            lines.append(
                f"binomial standard error on {self.images:.0f} images: {unit.plain(self.binomial_se)}; within 1 of "
                f"the best: {self.within_1_se} of {self.trials} trials, within 2: {self.within_2_se}"
            )
        if not self.replicated:
            lines.append("replicates: no configuration was trained twice, so the noise of training is not known")
        else:
            lines.append(
                f"replicates: standard deviation {unit.plain(self.replicate_sd)} "
                f"({self.replicated} configurations, {self.degrees} degrees of freedom)"
            )
        for row in self.groups.to_dict("records"):
            values = ", ".join(unit.plain(value) for value in row["values"])
            lines.append(f"  {row['settings'] or 'all settings alike'}: {values}")
        if not math.isnan(self.test_flattery):
            lines.append(
                f"choosing the epoch on test would have flattered by {100.0 * self.test_flattery:.2f} points on "
                f"average, up to {100.0 * self.test_flattery_most:.2f}"
            )
        return lines


def noise(study: Study, measure: Measure | None = None, where: Iterable[str] = (), ignore: Sequence[str] = ()) -> Noise:
    """How much the completed trials that meet `where` differ by chance.

    Args:
        study: any study.
        measure: validation accuracy at the best epoch without one.
        where: conditions NAME=VALUE, see `analysis.scores.selected_trials`.
        ignore: settings that are known to do nothing, such as one that a bug left without effect: trials that differ
            in them alone are replicates.

    Raises:
        UnknownName: there is no such setting or metric.
        AnalysisError: no trial is left.
    """
    wanted = measure or Measure()
    trials = selected_trials(study, where)
    values = scores(study, wanted).reindex(trials.index).dropna()
    trials = trials.loc[values.index]
    names = [name for name in varied(trials, study.spec.space) if name not in ignore]
    groups = _replicates(trials, names, values)
    degrees = int((groups["trials"] - 1).sum()) if len(groups) else 0
    within = float(((groups["trials"] - 1) * groups["deviation"] ** 2).sum()) if len(groups) else 0.0
    best = int(values.index[int(values.argmax())]) if len(values) else 0
    images, se = _binomial(study, best, float(values.max())) if len(values) else (math.nan, math.nan)
    flattery = _test_flattery(study, values.index)
    return Noise(
        measure=str(wanted),
        trials=len(values),
        best_trial=best,
        best=float(values.max()) if len(values) else math.nan,
        images=images,
        binomial_se=se,
        within_1_se=_within(values, se),
        within_2_se=_within(values, 2.0 * se),
        replicated=len(groups),
        replicate_sd=math.sqrt(within / degrees) if degrees else math.nan,
        degrees=degrees,
        groups=groups,
        test_flattery=float(flattery.mean()) if len(flattery) else math.nan,
        test_flattery_most=float(flattery.max()) if len(flattery) else math.nan,
    )


def _replicates(trials: pd.DataFrame, names: Sequence[str], values: pd.Series[float]) -> pd.DataFrame:
    keys = level_keys(trials, names)
    groups: dict[tuple[Any, ...], list[float]] = {}
    for key, value in zip(keys.itertuples(index=False, name=None), values.tolist(), strict=True):
        groups.setdefault(key, []).append(value)
    rows = [
        {
            "settings": shown_settings(dict(zip(names, key, strict=True))),
            "trials": len(found),
            "mean": float(np.mean(found)),
            "deviation": float(np.std(found, ddof=1)),
            "values": sorted(found, reverse=True),
        }
        for key, found in groups.items()
        if len(found) > 1
    ]
    return pd.DataFrame(rows, columns=["settings", "trials", "mean", "deviation", "values"])


def _binomial(study: Study, trial: int, value: float) -> tuple[float, float]:
    images = study.epochs.loc[study.epochs["trial"] == trial, "val_images"].iloc[-1]
    if not images >= 1.0 or not 0.0 <= value <= 1.0:
        return math.nan, math.nan
    return float(images), math.sqrt(value * (1.0 - value) / images)


def _within(values: pd.Series[float], distance: float) -> int:
    if math.isnan(distance):
        return 0
    return int((values >= values.max() - distance - 1e-12).sum())


def _test_flattery(study: Study, trials: pd.Index[int]) -> pd.Series[float]:
    """By trial, how much better test accuracy looks at its own best epoch; empty where test was never recorded."""
    if "test_acc" not in study.epochs:
        return pd.Series(dtype="float64")
    largest = study.epochs.groupby("trial")["test_acc"].max()
    return (largest - scores(study, Measure("test_acc"))).reindex(trials).dropna()
