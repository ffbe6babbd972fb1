"""Figures of the course of a search: the best value so far, and every learning curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.plots.chart import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RUNG_COLOURS,
    SKY,
    STATE_COLOURS,
    VERMILLION,
    Axis,
    Chart,
    Dash,
    Lines,
    NothingToShow,
    Panel,
    Points,
    joined,
)
from analysis.tables import best_trial
from analysis.wording import counted

if TYPE_CHECKING:
    from analysis.study import Study

ACCURACY = Axis("Validation accuracy (%)")

#: Points of all learning curves together; longer curves are thinned to fit.
MOST_POINTS = 60_000


def history(study: Study) -> Chart:
    """The best value of each trial in the order in which they ended, and the best so far."""
    trials = study.trials[study.trials["val_acc"].notna()]
    if trials.empty:
        raise NothingToShow("no trial has reported yet")
    last = study.epochs.groupby("trial")["time"].max()
    ordered = trials.assign(ended_time=trials["trial"].map(last)).sort_values(["ended_time", "trial"])
    place = np.arange(1, len(ordered) + 1, dtype=np.float64)
    values = 100.0 * ordered["val_acc"].to_numpy()
    counts = ~ordered["state"].isin(("diverged", "failed")).to_numpy()
    best = np.fmax.accumulate(np.where(counts, values, np.nan))
    marks: list[Any] = []
    for state, colour in STATE_COLOURS.items():
        of_state = (ordered["state"] == state).to_numpy()
        if of_state.any():
            labels = tuple(f"trial {trial}" for trial in ordered["trial"][of_state])
            marks.append(Points(state, colour, place[of_state], values[of_state], labels, symbol=_symbol(state)))
    marks.append(Lines("best so far", BLACK, place, best, steps=True))
    caption = f"Best validation accuracy of each of {counted(len(ordered), 'trial')} in the order of their last report."
    return Chart(
        "history", "Best so far", caption, (Panel(Axis("Trials, by their last report"), ACCURACY, tuple(marks)),)
    )


def curves(study: Study) -> Chart:
    """Every learning curve, coloured by the rung that stopped it, and the best trial's on top."""
    epochs = study.epochs
    if epochs["val_acc"].notna().sum() == 0:
        raise NothingToShow("no trial has reported yet")
    groups = _groups(study)
    most = max(8, MOST_POINTS // max(1, epochs["trial"].nunique()))
    by_trial = {
        int(str(trial)): _thinned(frame["epoch"].to_numpy(), 100.0 * frame["val_acc"].to_numpy(), most)
        for trial, frame in epochs.groupby("trial")
    }
    opacity = 0.7 if len(by_trial) <= 50 else 0.5 if len(by_trial) <= 300 else 0.3
    marks: list[Any] = []
    for (name, colour), members in groups.items():
        own = [by_trial[trial] for trial in members if trial in by_trial]
        if own:
            label = f"{name} ({len(own)})"
            marks.append(Lines(label, colour, *joined(own), width=0.8, opacity=opacity))
    try:
        best = best_trial(study)
    except AnalysisError:
        best = 0
    if best in by_trial:
        marks.append(Lines(f"best: trial {best}", BLACK, *by_trial[best], width=2.0))
    caption = f"Validation accuracy by epoch of {counted(len(by_trial), 'trial')}, by where they ended."
    return Chart("curves", "Learning curves", caption, (Panel(Axis("Epoch"), ACCURACY, tuple(marks)),))


#: What the figure `gate` shows of each epoch: name, column, colour, width, dash. Equal names stand once in the legend.
_GATE_LINES: tuple[tuple[str, str, str, float, Dash], ...] = (
    ("5, 25, 75, 95 % quantiles", "gate_q05", GREY, 0.8, "solid"),
    ("5, 25, 75, 95 % quantiles", "gate_q25", GREY, 0.8, "solid"),
    ("5, 25, 75, 95 % quantiles", "gate_q75", GREY, 0.8, "solid"),
    ("5, 25, 75, 95 % quantiles", "gate_q95", GREY, 0.8, "solid"),
    ("median", "gate_q50", VERMILLION, 1.4, "dot"),
    ("predicted rightly", "gate_mean_right", SKY, 1.4, "dash"),
    ("predicted wrongly", "gate_mean_wrong", ORANGE, 1.4, "dashdot"),
    ("falsely labelled (training)", "gate_mean_noisy", PURPLE, 1.4, "solid"),
    ("mean", "gate_mean", BLUE, 2.0, "solid"),
)

#: What the figure `exits` shows: name, column, colour, dash.
_EXIT_LINES: tuple[tuple[str, str, str, Dash], ...] = (
    ("shallow exit", "val_acc_shallow", ORANGE, "dot"),
    ("deep exit", "val_acc_deep", GREEN, "dash"),
    ("mix", "val_acc", BLUE, "solid"),
)


def gate(study: Study) -> Chart:
    """How the best trial's gate opened: its mean, quantiles and means of groups of images, by epoch."""
    best, epochs = _of_best(study)
    if epochs["gate_mean"].notna().sum() == 0:
        raise NothingToShow("no gate was recorded: its trials are plain, or did not log it")
    x = epochs["epoch"].to_numpy(dtype=np.float64)
    marks = tuple(
        Lines(name, colour, x, epochs[column].to_numpy(dtype=np.float64), width, in_legend=column != "gate_q25"
              and not column.endswith(("75", "95")), dash=dash)
        for name, column, colour, width, dash in _GATE_LINES if column in epochs and epochs[column].notna().any()
    )  # fmt: skip
    caption = (
        f"The gate of trial {best} on the validation images: 1 takes the deep exit alone, 0 the shallow one. "
        "Lines of groups of images are their means."
    )
    return Chart("gate", "Gate of the best trial", caption, (Panel(Axis("Epoch"), Axis("Gate"), marks),))


def exits(study: Study) -> Chart:
    """Accuracy of the best trial's exits, and of their mix, by epoch."""
    best, epochs = _of_best(study)
    if "val_acc_shallow" not in epochs or epochs["val_acc_shallow"].isna().all():
        raise NothingToShow("the accuracy of the exits was not recorded: there is no gate, or the study is older")
    x = epochs["epoch"].to_numpy(dtype=np.float64)
    marks = tuple(
        Lines(name, colour, x, 100.0 * epochs[column].to_numpy(dtype=np.float64), dash=dash)
        for name, column, colour, dash in _EXIT_LINES
    )
    caption = f"The exits of trial {best} on the validation images, each by itself, and as the gate mixes them."
    return Chart("exits", "Exits of the best trial", caption, (Panel(Axis("Epoch"), ACCURACY, marks),))


def _of_best(study: Study) -> tuple[int, pd.DataFrame]:
    """The best trial and its epochs; `NothingToShow` where there is none."""
    try:
        best = best_trial(study)
    except AnalysisError as error:
        raise NothingToShow(str(error)) from None
    return best, study.epochs[study.epochs["trial"] == best]


def _groups(study: Study) -> dict[tuple[str, str], list[int]]:
    """The trials by how they ended, each with its colour; stopped ones by rung."""
    trials = study.trials
    stopped = trials[trials["state"] == "stopped"]
    groups: dict[tuple[str, str], list[int]] = {}
    for place, epoch in enumerate(sorted(stopped["epochs"].unique())):
        colour = RUNG_COLOURS[place % len(RUNG_COLOURS)]
        groups[f"stopped at {epoch}", colour] = stopped.loc[stopped["epochs"] == epoch, "trial"].tolist()
    for state, colour in STATE_COLOURS.items():
        if state != "stopped":
            groups[state, colour] = trials.loc[trials["state"] == state, "trial"].tolist()
    return groups


def _thinned(epochs: Any, values: Any, most: int) -> tuple[Any, Any]:
    """A curve of at most `most` points, its ends included."""
    if len(epochs) <= most:
        return epochs, values
    kept = np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int))
    return epochs[kept], values[kept]


def _symbol(state: str) -> Any:
    return {"completed": "circle", "stopped": "diamond"}.get(state, "x")


def comparable(study: Study) -> tuple[int, pd.Series[float]]:
    """An epoch that at least half of the trials reached, the last such, and the best accuracy up to it of those that
    did, by trial: trials are compared at equal epochs only. Diverged trials are left out.

    Raises:
        NothingToShow: no trial has reported.
    """
    epochs = study.epochs[["trial", "epoch", "val_acc"]].dropna()
    diverged = study.trials.loc[study.trials["state"] == "diverged", "trial"]
    epochs = epochs[~epochs["trial"].isin(diverged)]
    if epochs.empty:
        raise NothingToShow("no trial has reported yet")
    reached = epochs.groupby("trial")["epoch"].max()
    epoch = int(np.sort(reached.to_numpy())[(len(reached) - 1) // 2])
    within = epochs[(epochs["epoch"] <= epoch) & epochs["trial"].isin(reached.index[reached >= epoch])]
    return epoch, within.groupby("trial")["val_acc"].max()
