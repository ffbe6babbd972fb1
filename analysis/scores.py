"""One number per trial, and which trials are looked at: what effects, noise and ties are computed from."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from analysis.errors import AnalysisError
from analysis.names import unknown_name

if TYPE_CHECKING:
    from analysis.study import Study

#: States of trials whose result says something about their settings at the full length.
FULL = ("completed",)


@dataclass(frozen=True, slots=True)
class Measure:
    """What a trial is measured by: a metric at the epoch with the best validation accuracy, or late in training."""

    metric: str = "val_acc"
    at: Literal["best", "last"] = "best"
    last: int = 10  # of so many last epochs, the mean is taken where `at` is last

    def __post_init__(self) -> None:
        if self.at not in ("best", "last"):
            raise unknown_name("place of a measure", self.at, ("best", "last"))
        if self.last < 1:
            raise AnalysisError(f"the mean of at least 1 last epoch is wanted, not of {self.last}")

    def __str__(self) -> str:
        where = "at the best epoch" if self.at == "best" else f"mean of the last {self.last} epochs"
        return f"{self.metric}, {where}"


def scores(study: Study, measure: Measure | None = None) -> pd.Series[float]:
    """The measure of every trial that has reported, by trial; NaN where it is not recorded.

    Raises:
        UnknownName: no epoch has such a metric.
    """
    wanted = measure or Measure()
    epochs = study.epochs
    if wanted.metric not in epochs:
        raise unknown_name("metric", wanted.metric, epochs.columns[9:])
    if wanted.at == "last":
        return epochs.groupby("trial").tail(wanted.last).groupby("trial")[wanted.metric].mean()
    best = epochs.loc[epochs["val_acc"].dropna().groupby(epochs["trial"]).idxmax()]
    return best.set_index("trial")[wanted.metric]


def selected_trials(study: Study, where: Iterable[str] = (), states: Iterable[str] | None = FULL) -> pd.DataFrame:
    """The trials, indexed by number, in one of `states` (None: in any) and for which every condition holds.

    A condition is NAME=VALUE, of a column of `trials_frame` or a setting that all trials share. A text may hold the
    wildcards * and ?.

    Raises:
        UnknownName: there is no such column.
        AnalysisError: a condition has no `=`, or none of the trials is left.
    """
    trials = study.trials.set_index("trial")
    if states is not None:
        trials = trials[trials["state"].isin(list(states))]
    conditions = list(where)
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals:
            raise AnalysisError(f"the condition {condition!r} is not of the form NAME=VALUE")
        if name in trials:
            trials = trials[[_is(found, value) for found in trials[name].tolist()]]
        elif name in study.spec.config:
            trials = trials if _is(study.spec.config[name], value) else trials.head(0)
        else:
            raise unknown_name("setting", name, [*trials.columns, *study.spec.config])
    if trials.empty and conditions:
        kind = "trial" if states is None else "trial that ended in full"
        raise AnalysisError(f"no {kind} is left by: {', '.join(conditions)}")
    return trials


def part_where(study: Study, where: Iterable[str] = ()) -> Study:
    """The part of `study` whose trials meet every condition; the study itself where there are none.

    Conditions and errors are those of `selected_trials`.
    """
    conditions = tuple(where)
    return study.part(selected_trials(study, conditions, states=None).index, conditions) if conditions else study


def level_key(value: Any) -> Hashable:
    """A value of a setting as a key: equal for equal values, lists included; None for a missing one."""
    if isinstance(value, list | tuple):
        return json.dumps(value)
    return None if value is None or value is pd.NA or value != value else value  # noqa: PLR0124  NaN


def level_keys(trials: pd.DataFrame, settings: Iterable[str]) -> pd.DataFrame:
    """The settings of `trials` as keys."""
    return pd.DataFrame(
        {name: [level_key(v) for v in trials[name].tolist()] for name in settings}, index=trials.index, dtype=object
    )


def varied(trials: pd.DataFrame, settings: Iterable[str]) -> list[str]:
    """Those of the settings that take more than one value among `trials`."""
    keys = level_keys(trials, settings)
    return [str(name) for name in keys if keys[name].nunique(dropna=False) > 1]


def shown_settings(settings: Mapping[str, Any]) -> str:
    """Settings in one line: lr=0.1, gate=none."""
    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in settings.items()}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


#: Settings on which accuracies can be compared only where they are equal.
DATA_SETTINGS = ("data", "split", "split_seed", "val_fraction", "label_noise")


def mixed_data(study: Study) -> list[str]:
    """Those of `DATA_SETTINGS` that differ among the study's trials that reported."""
    trials = study.trials
    searched = [name for name in DATA_SETTINGS if name in study.spec.space]
    return varied(trials[trials["best_epoch"].notna()], searched)


def mixing_note(settings: Sequence[str]) -> str:
    """What to say of a ranking in which these settings, of `DATA_SETTINGS`, differ."""
    return (
        f"These trials differ in {', '.join(settings)}: accuracies on different images cannot be compared. Rank them "
        f"apart, with `tune-gate export DIR --by {settings[0]}` or `--where {settings[0]}=VALUE`."
    )


@dataclass(frozen=True, slots=True)
class Unit:
    """How numbers of a measure are shown: accuracies in percent, others as they are."""

    factor: float
    words: str
    decimals: int

    def plain(self, value: float) -> str:
        """One value."""
        return f"{self.factor * value:.{self.decimals}f}"

    def signed(self, value: float, se: float) -> str:
        """A difference, with its standard error where there is one."""
        shown = f"{self.factor * value:+.{self.decimals}f}"
        return shown if math.isnan(se) else f"{shown} ± {self.plain(se)}"


def percent_of(measure: str) -> Unit:
    """The unit in which a measure, given in words that begin with its metric, is shown."""
    return Unit(100.0, " (%)", 2) if measure.split(",", maxsplit=1)[0].endswith("_acc") else Unit(1.0, "", 4)


def _is(found: Any, wanted: str) -> bool:
    key = level_key(found)
    if isinstance(key, str):
        return fnmatchcase(key, wanted) or key.replace(" ", "") == wanted.replace(" ", "")
    try:
        value = json.loads(wanted)
    except ValueError:
        return key is None and wanted == ""
    return isinstance(key, bool) == isinstance(value, bool) and key == value
