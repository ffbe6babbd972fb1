"""Accuracy against compute at inference: how the models of a study could be used, and the uses that none beats."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.display import column_values
from analysis.errors import AnalysisError
from analysis.scores import shown_settings
from analysis.statistics import wilson_interval
from analysis.tables import LOST_STATES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analysis.study import Study

#: The columns of `operating_points`; the searched settings stand after `trial`, under their own names.
OPERATING_POINT_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "trial": "the trial's number, counted from 1",
        "epoch": "its best epoch, whose model is the one that is kept",
        "skipped": "share of the validation images that skip layers: those with the smallest g",
        "macs": "multiply-accumulates of one image, forward, on average over the images",
        "val_acc": "validation accuracy, a fraction",
        "val_acc_low": "lower end of its 95 % Wilson interval",
        "val_acc_high": "upper end of it",
        "on_front": "whether no other point is as accurate and as cheap, and better in one of both",
    }
)

#: Shares of images that skip, by the metric that holds the accuracy then.
_SHARES = (
    ("val_acc", 0.0),
    ("val_acc_skip25", 0.25),
    ("val_acc_skip50", 0.5),
    ("val_acc_skip75", 0.75),
    ("val_acc_shallow", 1.0),
)

_NEEDED = (*(metric for metric, _ in _SHARES), "macs", "macs_skipping", "val_images")


def operating_points(study: Study) -> pd.DataFrame:
    """How each trial's best model could be used, cheapest first: with all its layers, or skipping some for easy images.

    A model without an early gate has one point. Diverged and failed trials have none, nor have epochs that did not
    record their compute. Columns: `OPERATING_POINT_COLUMNS` and the searched settings.

    The front is what was measured, not what is true: each point on it is the luckiest of its neighbours, and its
    interval says by how much luck may count. Raises as `analysis.log.read_log`.
    """
    trials = study.trials[study.trials["best_epoch"].notna() & ~study.trials["state"].isin(LOST_STATES)]
    epochs = study.epochs.reindex(columns=["trial", "epoch", *_NEEDED])
    best = trials.merge(epochs, left_on=["trial", "best_epoch"], right_on=["trial", "epoch"], suffixes=("", "_then"))
    best = best[best["macs"].notna()]
    points = [_points(best, metric, share, study) for metric, share in _SHARES]
    table = pd.concat([each for each in points if len(each)] or points[:1], ignore_index=True)
    table["on_front"] = on_front(table["macs"].to_numpy(np.float64), table["val_acc"].to_numpy(np.float64))
    return table.sort_values(["macs", "val_acc", "trial"], ascending=[True, False, True], ignore_index=True)


def on_front(costs: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no other dominates: none has at most the cost and at least the value, and is better in one.

    Arrays of shape (n,). Points that are equal in both are on the front together.
    """
    if not len(costs):
        return np.zeros(0, dtype=np.bool_)
    order = np.lexsort((-values, costs))  # by cost, the best of equal costs first
    best_before = np.r_[-np.inf, np.maximum.accumulate(values[order])[:-1]]
    kept = values[order] > best_before
    front = set(zip(costs[order][kept].tolist(), values[order][kept].tolist(), strict=True))
    return np.array([point in front for point in zip(costs.tolist(), values.tolist(), strict=True)], dtype=np.bool_)


def front_lines(study: Study) -> list[str]:
    """The front in words, the cheapest point first.

    Raises:
        AnalysisError: no trial recorded what an image costs; and as `analysis.log.read_log`.
    """
    points = operating_points(study)
    if points.empty:
        raise AnalysisError(
            f"no trial of {study.path} recorded the compute of its model: the study is older, or its trainable does "
            "not report `macs`"
        )
    front = points[points["on_front"]]
    lines = [
        f"{len(points)} ways to use the models of {points['trial'].nunique()} trials; {len(front)} of them are beaten "
        "by none in both accuracy and compute:"
    ]
    most = points["macs"].max()
    columns = {str(name): column_values(front[name]) for name in front}
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        settings = {name: row[name] for name in study.spec.space if row[name] is not None}
        lines.append(f"  {_accuracy(row)} for {_cost(row, most)}; {shown_settings(settings)}")
    if points["macs"].nunique() == 1:
        lines.append("all cost the same: search `depth`, or set `gate_input: early`, whose gate can skip layers")
    return lines


def _accuracy(row: Mapping[str, Any]) -> str:
    accuracy = f"{100.0 * row['val_acc']:.2f} %"
    if row["val_acc_low"] is None:
        return accuracy
    return f"{accuracy} [{100.0 * row['val_acc_low']:.2f}, {100.0 * row['val_acc_high']:.2f}]"


def _cost(row: Mapping[str, Any], most: float) -> str:
    skips = f", {row['skipped']:.0%} of the images skip layers" if row["skipped"] else ""
    return (
        f"{row['macs'] / 1e6:.4g} M multiply-accumulates ({row['macs'] / most:.0%} of the most): "
        f"trial {row['trial']} at epoch {row['epoch']}{skips}"
    )


def _points(best: pd.DataFrame, metric: str, share: float, study: Study) -> pd.DataFrame:
    """A point for each row of `best` whose model was measured with that share of the images skipping layers."""
    value = best[metric] if share == 0.0 else best[metric].where(best["macs_skipping"].notna())
    rows = best[value.notna()]
    accuracy = rows[metric].to_numpy(np.float64)
    low, high = wilson_interval(accuracy, rows["val_images"].to_numpy(np.float64))
    skipping = rows["macs_skipping"].fillna(rows["macs"])
    return pd.DataFrame(
        {
            "trial": rows["trial"],
            **{name: rows[name] for name in study.spec.space},
            "epoch": rows["best_epoch"].astype("int64"),
            "skipped": share,
            "macs": (1.0 - share) * rows["macs"] + share * skipping,
            "val_acc": accuracy,
            "val_acc_low": low,
            "val_acc_high": high,
        }
    )
