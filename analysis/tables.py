"""The best-config table: the trials of a study, ranked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError

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
        "best_epoch": "the epoch with the highest validation accuracy (the earliest of equals)",
        "last_epoch": "the last epoch reported",
        "last_val_acc": "validation accuracy at the last epoch, a fraction",
        "ended": "why and where it ended, or running, or waiting",
        "epochs": "epochs trained, those included that had to be trained again",
        "hours": "hours of training and validation, redone epochs included",
    }
)

_LAST = frozenset({"diverged", "failed"})


def best_table(study: Study, top: int | None = None) -> pd.DataFrame:
    """The trials that reported, best first; the `top` first ones where `top` is given.

    Ranked by validation accuracy at the best epoch, ties by the earlier best epoch and then by the number;
    diverged and failed trials come after all others. Columns: `BEST_TABLE_COLUMNS` and the searched settings.
    A trial that ASHA stopped had fewer epochs than others: compare with `last_epoch` in view.

    Raises:
        AnalysisError: `top` is less than 1; and as `analysis.log.read_log`.
    """
    if top is not None and top < 1:
        raise AnalysisError(f"a table of at least 1 trial is wanted, not of {top}")
    trials = study.trials
    ranked = (
        trials[trials["best_epoch"].notna()]
        .assign(_last=lambda frame: frame["state"].isin(_LAST))
        .sort_values(["_last", "val_acc", "best_epoch", "trial"], ascending=[True, False, True, True])
        .head(len(trials) if top is None else top)
        .reset_index(drop=True)
    )
    columns: dict[str, Any] = {"rank": np.arange(1, len(ranked) + 1), "trial": ranked["trial"]}
    columns |= {name: ranked[name] for name in study.spec.space}
    columns |= {name: ranked[name] for name in ("val_acc", "val_acc_low", "val_acc_high", "best_epoch")}
    columns |= {"last_epoch": ranked["epochs"], "last_val_acc": ranked["last_val_acc"]}
    columns |= {"ended": _ended(ranked)}
    columns |= {"epochs": ranked["epochs"] + ranked["redone_epochs"], "hours": ranked["hours"]}
    return pd.DataFrame(columns).astype({"best_epoch": "int64"})


def best_trial(study: Study) -> int:
    """The number of the trial with rank 1.

    Raises:
        AnalysisError: no trial has reported, or all that did diverged or failed; or as `read_log`.
    """
    first = best_table(study, top=1)
    number = int(first["trial"].iloc[0]) if len(first) else None
    if number is None or study.columns.trials[number].state in _LAST:
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
