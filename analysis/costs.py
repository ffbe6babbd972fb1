"""Where a study's machine time went: a ledger whose entries add up to what was allocated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.attempts import attempts_frame, study_sessions
from analysis.report_lines import METRIC_PREFIX
from analysis.rungs import full_epochs
from analysis.statistics import wilson_interval
from analysis.wording import counted

if TYPE_CHECKING:
    from analysis.study import Study

#: What time was spent on; `idle` belongs to the study alone, the others also to its trials.
LEDGER_PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "useful": "epochs of trials that completed",
        "stopped": "epochs of trials that a rung stopped",
        "diverged": "epochs of trials that diverged",
        "failed": "epochs, and parts of epochs, of trials that were given up",
        "unfinished": "epochs of trials that have not ended: waiting, running or paused",
        "probes": "cool-downs that a rung judged by, redone ones included",
        "redone": "epochs that had to be trained again, and parts of epochs lost with their worker",
        "overhead": "held by a trial, but not trained: start, saving, waiting for the driver",
        "idle": "slots of a running search that no trial held",
    }
)

_OF_STATE = {"completed": "useful", "stopped": "stopped", "diverged": "diverged", "failed": "failed"}
_OF_TRIALS = [purpose for purpose in LEDGER_PURPOSES if purpose != "idle"]


@dataclass(frozen=True, slots=True)
class Saved:
    """What the same trials would have cost beyond what they did, had no rung stopped them; a range, for two things are
    not known: how fast the missing epochs would have been (between the 10th and the 90th percentile of the trial's own
    epochs), and how many of these trials would have diverged or failed instead (from none, up to the upper 95 % Wilson
    bound of that share among the trials that went beyond the first rung).
    """

    stopped: int  # trials
    epochs: int  # that these did not train
    low: float  # in the ledger's unit
    high: float
    unknown: int  # stopped trials without a recorded pace; they are in neither end


@dataclass(frozen=True, slots=True)
class Ledger:
    """The hours of a study, in `unit`: those of one trial's processors times how many of them a trial holds."""

    study: str
    unit: str  # GPU-hours, or CPU-hours where trials hold no GPU
    allocated: float
    totals: Mapping[str, float]  # by purpose, see LEDGER_PURPOSES
    trials: pd.DataFrame  # trial, state, each purpose but idle, total
    saved: Saved

    def to_record(self) -> dict[str, Any]:
        """The ledger as JSON has it."""
        saved = {name: getattr(self.saved, name) for name in ("stopped", "epochs", "low", "high", "unknown")}
        return {
            "study": self.study,
            "unit": self.unit,
            "allocated": self.allocated,
            "totals": dict(self.totals),
            "saved": saved,
            "trials": self.trials.to_dict("records"),
        }

    def lines(self) -> list[str]:
        """The ledger in words, a line for each purpose."""
        lines = [f"{self.study}: {self.allocated:.3g} {self.unit} allocated"]
        for purpose, spent in self.totals.items():
            share = spent / self.allocated if self.allocated else 0.0
            lines.append(f"  {purpose:10} {spent:10.4f}  {100 * share:5.1f} %  {LEDGER_PURPOSES[purpose]}")
        return [*lines, self._saved_line()]

    def _saved_line(self) -> str:
        saved = self.saved
        if not saved.stopped:
            return "no trial was stopped early: nothing was saved by it"
        trained = sum(self.totals[purpose] for purpose in ("useful", "stopped", "diverged", "failed", "unfinished"))
        unknown = f"; {saved.unknown} of them have no recorded pace and are not in it" if saved.unknown else ""
        return (
            f"early stopping spared {counted(saved.epochs, 'epoch')} of {counted(saved.stopped, 'trial')}: "
            f"{saved.low:.3g} to {saved.high:.3g} {self.unit} beside the {trained:.3g} trained{unknown}"
        )


def ledger(study: Study) -> Ledger:
    """Where the study's time went. `sum(totals.values()) == allocated`, up to rounding.

    A trial holds its processors from the start of an attempt to its last word (for one that died with its driver: to
    the last event of that session). What is allocated to a session is its duration times its slots, which are the most
    trials that it held at once; so a slot that no trial ever used is not in it. Of an imported study nothing is known
    of idle slots, and they are nobody's share in a part of one: what is allocated there is what the trials held.

    Raises as `analysis.log.read_log`.
    """
    attempts, of_trial = attempts_frame(study), study.devices
    unit, devices = ("GPU-hours", of_trial["gpus"]) if of_trial["gpus"] else ("CPU-hours", of_trial["cpus"])
    factor = devices / 3600.0
    trials = _by_trial(study, attempts, factor)
    totals = {purpose: float(trials[purpose].sum()) for purpose in _OF_TRIALS}
    totals["idle"] = _idle_seconds(study, attempts) * factor
    return Ledger(study.name, unit, sum(totals.values()), MappingProxyType(totals), trials, _saved(study, factor))


def _by_trial(study: Study, attempts: pd.DataFrame, factor: float) -> pd.DataFrame:
    records = study.columns.trials
    numbers = sorted(records)
    spent = (
        attempts.groupby("trial")[["standing", "replaced", "probes", "lost", "overhead"]]
        .sum()
        .reindex(numbers, fill_value=0.0)
    )
    states = pd.Series([records[number].state for number in numbers], index=spent.index, dtype="str")
    purpose = states.map(_OF_STATE).fillna("unfinished")
    columns: dict[str, Any] = {name: np.where(purpose == name, spent["standing"], 0.0) for name in _OF_TRIALS}
    failed = states == "failed"
    columns["failed"] = columns["failed"] + spent["lost"].where(failed, 0.0)
    columns["redone"] = spent["replaced"] + spent["lost"].where(~failed, 0.0)
    columns["probes"] = spent["probes"]
    columns["overhead"] = spent["overhead"]
    hours = pd.DataFrame(columns, index=spent.index).astype("float64") * factor
    frame = pd.DataFrame({"trial": numbers, "state": states.to_numpy()}, index=spent.index)
    return pd.concat([frame, hours, hours.sum(axis=1).rename("total")], axis=1).reset_index(drop=True)


def _idle_seconds(study: Study, attempts: pd.DataFrame) -> float:
    idle = 0.0
    if study.spec.runs or study.whole is not None:
        return idle
    for number, session in enumerate(study_sessions(study), start=1):
        own = attempts[attempts["session"] == number]
        slots = _most_at_once(own["begin"].to_numpy(), own["end"].to_numpy())
        idle += max(0.0, slots * (session.end - session.begin) - float(own["held"].sum()))
    return idle


def _most_at_once(begins: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]) -> int:
    """The largest number of intervals that hold a moment; one that ends as another begins does not overlap it."""
    times = np.concatenate((ends, begins))
    steps = np.concatenate((np.full(len(ends), -1), np.full(len(begins), 1)))
    order = np.lexsort((steps, times))
    at_once = int(np.cumsum(steps[order]).max(initial=0))
    return max(at_once, min(1, len(begins)))  # an interval of no length ends before it begins


def _saved(study: Study, factor: float) -> Saved:
    trials, full = study.trials, full_epochs(study)
    stopped = trials[trials["state"] == "stopped"]
    missing = (full - stopped["epochs"]).clip(lower=0)
    low, high = _pace(study, stopped["trial"])
    known = low.notna().to_numpy()
    ended_otherwise = _share_that_ends_otherwise(trials, int(stopped["epochs"].min()) if len(stopped) else 0)
    epochs = missing.to_numpy()[known]
    return Saved(
        stopped=len(stopped),
        epochs=int(missing.sum()),
        low=float((epochs * low.to_numpy()[known]).sum() * factor * (1.0 - ended_otherwise)),
        high=float((epochs * high.to_numpy()[known]).sum() * factor),
        unknown=int((~known).sum()),
    )


def _pace(study: Study, trials: pd.Series[int]) -> tuple[pd.Series[float], pd.Series[float]]:
    """Seconds of an epoch of each of `trials`: the 10th and the 90th percentile; NaN where none was recorded."""
    reports, name = study.columns.reports, METRIC_PREFIX + "seconds"
    if name not in reports or trials.empty:
        empty = pd.Series(np.nan, index=pd.Index(trials), dtype="float64")
        return empty, empty
    seconds = reports[reports["trial"].isin(trials)].groupby("trial")[name]
    return seconds.quantile(0.1).reindex(trials), seconds.quantile(0.9).reindex(trials)


def _share_that_ends_otherwise(trials: pd.DataFrame, epoch: int) -> float:
    """The largest credible share of trials beyond `epoch` that diverge or fail; 1 where none went beyond it."""
    beyond = trials[(trials["epochs"] > epoch) & trials["state"].isin(("completed", "diverged", "failed"))]
    if beyond.empty:
        return 1.0
    _, high = wilson_interval(float((beyond["state"] != "completed").mean()), len(beyond))
    return float(high)
