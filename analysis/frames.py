"""The two tidy tables of a study: one row per trial, and one row per trial and epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.columns import LogColumns
from analysis.probes import probe_seconds
from analysis.report_lines import METRIC_PREFIX
from analysis.statistics import wilson_interval
from analysis.trials import Trial

if TYPE_CHECKING:
    from analysis.study import Study

#: Metrics that `epochs_frame` always has, in this order; others that a study recorded follow, by name.
METRICS = (
    "val_acc",
    "val_loss",
    "val_gate_loss",
    "train_loss",
    "train_gate_loss",
    "gate_mean",
    "gate_q05",
    "gate_q25",
    "gate_q50",
    "gate_q75",
    "gate_q95",
    "lr",
    "lr_gate",
    "seconds",
    "images_per_second",
    "diverged",
    "val_images",
)

_RUNG_NUMBERS = ("rung", "rung_rank", "rung_peers")


def epochs_frame(study: Study) -> pd.DataFrame:
    """One row per trial and epoch, sorted by both; an epoch trained again is there once, as last reported.

    Columns:
        trial, epoch, attempt: int64, counted from 1.
        action: continue, stop, complete, diverge or interrupt.
        rung, rung_rank, rung_peers: Int64; the rung's epoch, the trial's rank there (1 is the best) and the
            number of values compared, at the moment of the decision; NA where the epoch is no rung.
        rung_cutoff: float64; the lowest value that went on.
        time: UTC timestamp of the report.
        then `METRICS`, and others by name: float64; NaN where not recorded or not finite. Accuracies are
            fractions, losses nats, `seconds` those of training and validation, gate_* the gate's mean and
            quantiles; probe_val_acc, probe_val_loss, probe_epochs and probe_seconds are those of a cool-down that
            branched off at this epoch, where the study takes probes.

    Raises as `analysis.log.read_log`.
    """
    reports = study.columns.reports
    names = [str(name) for name in reports.columns]
    recorded = {name.removeprefix(METRIC_PREFIX) for name in names if name.startswith(METRIC_PREFIX)}
    columns: dict[str, Any] = {name: reports[name] for name in ("trial", "epoch", "attempt", "action")}
    columns |= {name: reports[name].astype("Int64") for name in _RUNG_NUMBERS}
    columns |= {"rung_cutoff": reports["rung_cutoff"], "time": _utc(reports["time"])}
    columns |= {name: _metric(reports, name) for name in (*METRICS, *sorted(recorded - {*METRICS}))}
    return pd.DataFrame(columns)


def trials_frame(study: Study) -> pd.DataFrame:
    """One row per trial, sorted by number.

    Columns:
        trial: int64, counted from 1.
        state: waiting, running, paused, completed, stopped, diverged or failed.
        source: who suggested it (default, random, tpe, grid, ...).
        attempts: int64; how often it was started.
        epochs: int64; the last epoch reported, 0 before the first.
        redone_epochs: int64; epochs that were trained and had to be trained again.
        best_epoch: Int64; where val_acc was largest (the earliest of equals); NA before the first report.
        val_acc, val_acc_low, val_acc_high: float64; at the best epoch, a fraction, with its 95 % Wilson
            interval (of the validation sample alone; that the best of many epochs was picked is not in it).
        val_loss: float64, nats, at the best epoch.
        last_val_acc: float64, at the last epoch.
        ended_at: Int64; the last epoch of a trial that has ended; NA otherwise, and where it never reported.
        end_reason: "completed", "stopped at rung 3", "diverged", "failed: ..."; NA where it has not ended.
        hours: float64; hours of training, validation and probes, redone epochs included.
        cpu_hours, gpu_hours: float64; hours times the CPUs and GPUs of one trial.
        suggested: UTC timestamp.
        seed: the trial's seed, int64.
        run: of an imported study alone; the trial's name at the source.
        then each searched setting under its own name, in the order of the space; NA where it was not active.

    Raises as `analysis.log.read_log`.
    """
    columns, spec = study.columns, study.spec
    trials = [columns.trials[number] for number in sorted(columns.trials)]
    index = pd.Index([trial.number for trial in trials], dtype="int64")
    frame = pd.DataFrame(
        {
            "trial": index,
            "state": _texts([trial.state for trial in trials]),
            "source": _texts([trial.source for trial in trials]),
            "attempts": np.array([trial.attempt for trial in trials], dtype="int64"),
            "epochs": np.array([trial.epoch for trial in trials], dtype="int64"),
        },
        index=index,
    )
    frame["redone_epochs"] = columns.redone["epochs"].reindex(index).fillna(0).astype("int64")
    _add_results(frame, columns)
    ended = np.array([trial.ended for trial in trials], dtype="bool")
    frame["ended_at"] = frame["epochs"].where(ended & (frame["epochs"] > 0)).astype("Int64")
    rungs = _by_trial(columns.reports.drop_duplicates("trial", keep="last"), "rung").reindex(index)
    reasons = [_end_reason(trial, rung) for trial, rung in zip(trials, rungs, strict=True)]
    frame["end_reason"] = pd.Series(reasons, index=index, dtype="str")
    spent = _metric(columns.reports, "seconds").fillna(0.0) + probe_seconds(columns.reports)
    seconds = spent.groupby(columns.reports["trial"]).sum()
    redone = columns.redone["seconds"].reindex(index).fillna(0.0)
    frame["hours"] = (seconds.reindex(index).fillna(0.0) + redone) / 3600.0
    frame["cpu_hours"] = frame["hours"] * study.devices["cpus"]
    frame["gpu_hours"] = frame["hours"] * study.devices["gpus"]
    frame["suggested"] = _utc(pd.Series([trial.suggested for trial in trials], index=index, dtype="float64"))
    frame["seed"] = np.array([trial.seed for trial in trials], dtype="int64")
    if spec.runs:
        frame["run"] = _texts(spec.runs[number - 1] for number in index)
    settings = {name: _setting([trial.settings.get(name) for trial in trials], index) for name in spec.space}
    return pd.concat([frame, pd.DataFrame(settings, index=index)], axis=1).reset_index(drop=True)


def _add_results(frame: pd.DataFrame, columns: LogColumns) -> None:
    """Add the columns best_epoch to last_val_acc to `frame`, whose index is the trial."""
    reports = columns.reports
    scores = _metric(reports, "val_acc").dropna()
    best = reports.loc[scores.groupby(reports["trial"].loc[scores.index]).idxmax()]
    last = reports.drop_duplicates("trial", keep="last")
    frame["best_epoch"] = _by_trial(best, "epoch").reindex(frame.index).astype("Int64")
    accuracy = _by_trial(best, METRIC_PREFIX + "val_acc").reindex(frame.index)
    images = _by_trial(best, METRIC_PREFIX + "val_images").reindex(frame.index)
    # imported scores need not be fractions; without a number of images they have no interval
    low, high = wilson_interval(accuracy.where(images >= 1.0).to_numpy(), images.to_numpy())
    frame["val_acc"] = accuracy
    frame["val_acc_low"] = low
    frame["val_acc_high"] = high
    frame["val_loss"] = _by_trial(best, METRIC_PREFIX + "val_loss").reindex(frame.index)
    frame["last_val_acc"] = _by_trial(last, METRIC_PREFIX + "val_acc").reindex(frame.index)


def _by_trial(reports: pd.DataFrame, name: str) -> pd.Series[Any]:
    """A column of `reports`, one report per trial, by trial; NaN where it was never recorded."""
    values = reports[name] if name in reports else pd.Series(np.nan, index=reports.index)
    return values.set_axis(pd.Index(reports["trial"]))


def _metric(reports: pd.DataFrame, name: str) -> pd.Series[float]:
    if METRIC_PREFIX + name in reports:
        return reports[METRIC_PREFIX + name]
    return pd.Series(np.nan, index=reports.index, dtype="float64")


def _end_reason(trial: Trial, rung: float) -> str | None:
    match trial.state:
        case "stopped" if not math.isnan(rung):
            return f"stopped at rung {int(rung)}"
        case "failed":
            return f"failed: {trial.reason}" if trial.reason else "failed"
        case "completed" | "stopped" | "diverged":
            return trial.state
        case _:
            return None


def _texts(values: Iterable[str]) -> Any:
    return pd.array(list(values), dtype="str")


def _utc(seconds: pd.Series[float]) -> pd.Series[pd.Timestamp]:
    return pd.to_datetime(seconds, unit="s", utc=True)


def _setting(values: list[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    """A setting of every trial: Int64, float64, boolean or str where all values are so, else objects."""
    kinds = {type(value) for value in values if value is not None}
    dtype = {
        frozenset({bool}): "boolean",
        frozenset({int}): "Int64",
        frozenset({float}): "float64",
        frozenset({int, float}): "float64",
        frozenset({str}): "str",
    }.get(frozenset(kinds), "object")
    return pd.Series(values, index=index, dtype=dtype)
