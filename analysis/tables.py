"""The best-config table: the trials of a study, ranked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.confirmed import confirmed_trials
from analysis.errors import AnalysisError
from analysis.names import unknown_name
from analysis.report_lines import METRIC_PREFIX
from analysis.scores import level_key, selected_trials
from analysis.statistics import two_proportion_p

if TYPE_CHECKING:
    from analysis.study import Study

#: The columns of `best_table`; the searched settings stand after `trial`, under their own names.
BEST_TABLE_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "rank": "1 is the best",
        "trial": "the trial's number, counted from 1",
        "val_acc": "validation accuracy at the best epoch, a fraction",
        "val_acc_low": "lower end of its 95 % Wilson interval",
        "val_acc_high": "upper end of its 95 % Wilson interval",
        "tied": "whether the images cannot tell it from the winner; missing where their number is not recorded",
        "best_epoch": "the epoch with the highest validation accuracy (the earliest of equals)",
        "last_epoch": "the last epoch reported",
        "last_val_acc": "validation accuracy at the last epoch, a fraction",
        "late_val_acc": "mean validation accuracy of the last 10 (or `late`) epochs, a fraction",
        "test_acc": "mean test accuracy over the seeds of `confirm`, a fraction; missing where none was measured",
        "test_acc_low": "lower end of its 95 % t interval over seeds; missing below 2 seeds",
        "test_acc_high": "upper end of it",
        "ended": "why and where it ended, or running, paused or waiting",
        "epochs": "epochs trained, those included that had to be trained again",
        "hours": "hours of training and validation, redone epochs included",
    }
)

#: Epochs of which `late_val_acc` is the mean, unless told otherwise.
LATE_EPOCHS = 10

#: States of trials that leave no model that one could keep; they come last.
LOST_STATES = frozenset({"diverged", "failed"})

_TIE_P = 0.05


def best_table(
    study: Study,
    top: int | None = None,
    by: str | None = None,
    late: int = LATE_EPOCHS,
    where: Iterable[str] = (),
) -> pd.DataFrame:
    """The trials that reported, best first; the `top` first ones where `top` is given.

    Ranked by validation accuracy at the best epoch, ties by the earlier best epoch and then by the number;
    diverged and failed trials come after all others. Columns: `BEST_TABLE_COLUMNS` and the searched settings.
    A trial that ASHA stopped had fewer epochs than others: compare with `last_epoch` in view.

    `tied` follows one rule: a trial cannot be told from the winner where the two-sided test of two proportions, with
    pooled variance, gives p >= 0.05 for their accuracies on so many images. It takes the two samples of images as
    independent; they are the same images, on which two models err alike, so the rule rather ties too many than too
    few. Neither the noise of training nor the choice of the best epoch is in it; see `analysis.noise`.

    Args:
        study: any study.
        top: how many trials, in each group.
        by: a searched setting; then every value of it has its own ranks, winner and ties, the group with the best
            winner first.
        late: of so many last epochs `late_val_acc` is the mean.
        where: only trials that meet these conditions NAME=VALUE, see `analysis.scores.selected_trials`.

    Raises:
        UnknownName: `by` is no searched setting, or `where` names none.
        AnalysisError: `top` or `late` is less than 1, or no trial is left by `where`; and as `analysis.log.read_log`.
    """
    if by is not None and by not in study.spec.space:
        raise unknown_name("setting", by, study.spec.space)
    if top is not None and top < 1:
        raise AnalysisError(f"a table of at least 1 trial is wanted, not of {top}")
    if late < 1:
        raise AnalysisError(f"the mean of at least 1 last epoch is wanted, not of {late}")
    trials = study.trials
    conditions = tuple(where)
    if conditions:
        trials = trials[trials["trial"].isin(selected_trials(study, conditions, states=None).index)]
    ranked = (
        trials[trials["best_epoch"].notna()]
        .assign(_last=lambda frame: frame["state"].isin(LOST_STATES))
        .sort_values(["_last", "val_acc", "best_epoch", "trial"], ascending=[True, False, True, True])
        .reset_index(drop=True)
    )
    groups = _groups(ranked, by)
    ranks = groups.groupby(groups).cumcount() + 1
    ranked = ranked.assign(_rank=ranks, _tied=_tied(study, ranked, groups))
    # stable: groups in the order of their winners, and within each the order above
    ranked = ranked.iloc[groups.argsort(kind="stable")]
    if top is not None:
        ranked = ranked[ranked["_rank"] <= top]
    return _table(study, ranked.reset_index(drop=True), late)


def chosen_columns(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The columns of those names, in that order, each with the ends of its interval where it has one.

    Raises:
        UnknownName: there is no such column.
    """
    for name in names:
        if name not in table:
            raise unknown_name("column", name, [str(column) for column in table])
    wanted = [column for name in names for column in (name, f"{name}_low", f"{name}_high") if column in table]
    return table[list(dict.fromkeys(wanted))]


def _table(study: Study, ranked: pd.DataFrame, late: int) -> pd.DataFrame:
    columns: dict[str, Any] = {"rank": ranked["_rank"].astype("int64"), "trial": ranked["trial"]}
    columns |= {name: ranked[name] for name in study.spec.space}
    columns |= {name: ranked[name] for name in ("val_acc", "val_acc_low", "val_acc_high")}
    columns |= {"tied": ranked["_tied"], "best_epoch": ranked["best_epoch"]}
    columns |= {"last_epoch": ranked["epochs"], "last_val_acc": ranked["last_val_acc"]}
    columns |= {"late_val_acc": _late(study, ranked, late), **_test(study, ranked)}
    columns |= {"ended": _ended(ranked)}
    columns |= {"epochs": ranked["epochs"] + ranked["redone_epochs"], "hours": ranked["hours"]}
    return pd.DataFrame(columns).astype({"best_epoch": "int64"})


def _groups(ranked: pd.DataFrame, by: str | None) -> pd.Series[int]:
    """The number of each trial's group, in the order of the groups' winners; all 0 without one."""
    if by is None:
        return pd.Series(0, index=ranked.index)
    numbers: dict[object, int] = {}
    keys = [level_key(value) for value in ranked[by].tolist()]
    return pd.Series([numbers.setdefault(key, len(numbers)) for key in keys], index=ranked.index, dtype="int64")


def _tied(study: Study, ranked: pd.DataFrame, groups: pd.Series[int]) -> pd.Series[Any]:
    images = _images(study).reindex(ranked["trial"]).to_numpy(dtype=np.float64)
    accuracy = ranked["val_acc"].to_numpy(dtype=np.float64)
    first = (~groups.duplicated()).to_numpy()
    winner = np.flatnonzero(first)[groups.to_numpy(dtype=np.int64)] if len(ranked) else np.zeros(0, dtype=np.int64)
    p = two_proportion_p(accuracy[winner], images[winner], accuracy, images)
    good = ~ranked["_last"].to_numpy(dtype=np.bool_)
    tied = pd.array((p >= _TIE_P) & good & good[winner], dtype="boolean")
    tied[np.isnan(p)] = pd.NA
    return pd.Series(tied, index=ranked.index)


def _images(study: Study) -> pd.Series[float]:
    """Validation images of each trial."""
    reports = study.columns.reports
    name = METRIC_PREFIX + "val_images"
    if name not in reports:
        return pd.Series(dtype="float64")
    return reports.drop_duplicates("trial", keep="last").set_index("trial")[name]


def _late(study: Study, ranked: pd.DataFrame, epochs: int) -> pd.Series[float]:
    reports = study.columns.reports
    name = METRIC_PREFIX + "val_acc"
    if name not in reports:
        return pd.Series(np.nan, index=ranked.index)
    # reports stand by trial and epoch, so the last ones of a trial are those that so many later ones do not follow
    trial = reports["trial"].to_numpy()
    late = np.ones(len(trial), dtype=np.bool_)
    late[:-epochs] = trial[:-epochs] != trial[epochs:]
    means = reports.loc[late, name].groupby(reports["trial"][late]).mean()
    return means.reindex(ranked["trial"]).set_axis(ranked.index)


def _test(study: Study, ranked: pd.DataFrame) -> dict[str, pd.Series[float]]:
    confirmed = confirmed_trials(study)
    found = [confirmed.get(trial) for trial in ranked["trial"].tolist()]
    columns = {
        "test_acc": [each.test_acc if each else math.nan for each in found],
        "test_acc_low": [each.low if each else math.nan for each in found],
        "test_acc_high": [each.high if each else math.nan for each in found],
    }
    return {name: pd.Series(values, index=ranked.index, dtype="float64") for name, values in columns.items()}


def best_trial(study: Study) -> int:
    """The number of the trial with rank 1.

    Raises:
        AnalysisError: no trial has reported, or all that did diverged or failed; or as `read_log`.
    """
    first = best_table(study, top=1)
    number = int(first["trial"].iloc[0]) if len(first) else None
    if number is None or study.columns.trials[number].state in LOST_STATES:
        raise AnalysisError(
            f"study {study.name!r} has no best trial yet: none has reported without diverging or failing"
        )
    return number


def _ended(trials: pd.DataFrame) -> pd.Series[str]:
    """The end in words: "completed at epoch 27", "stopped at rung 3", "diverged at epoch 4", "running"."""
    reason, at = trials["end_reason"], trials["ended_at"].astype("str")
    with_epoch = reason + " at epoch " + at
    words = with_epoch.where(trials["state"].isin(("completed", "diverged")) | (reason == "stopped"), reason)
    return words.where(reason.notna(), trials["state"])
