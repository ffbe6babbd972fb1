"""What a study's rungs saw: every judgement that its log records, and what each rung would say today."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from analysis.events import BudgetExtended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.study import Study

#: The value with which a trial that diverged counts at the next rung: the worst that an accuracy can be.
FLOOR = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a value stands among those of a rung. Equal values share the better rank."""

    rank: int  # 1 is the best
    peers: int  # values at the rung, this one included
    survivors: int  # how many of them go on
    cutoff: float  # the lowest value that goes on

    @property
    def passes(self) -> bool:
        """Whether the value is among those that go on."""
        return self.rank <= self.survivors


def standing(values: Sequence[float], value: float, reduction_factor: int) -> Standing:
    """Where `value`, one of `values`, stands: the best 1/`reduction_factor` go on, and all while fewer than that
    are there.
    """
    ordered = sorted(values, reverse=True)
    survivors = len(ordered) // reduction_factor or len(ordered)
    rank = 1 + sum(other > value for other in ordered)
    return Standing(rank, len(ordered), survivors, ordered[survivors - 1])


class Judge(Protocol):
    """How a study's scheduler judges at a rung."""

    @property
    def pauses(self) -> bool:
        """Whether those that do not go on pause, and may go on later."""

    def standing(self, values: Mapping[int, float], trial: int) -> Standing:
        """Where `trial` stands among the values of a rung, by trial."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The stopping form of ASHA: see `standing`."""

    reduction_factor: int
    pauses: bool = False

    def standing(self, values: Mapping[int, float], trial: int) -> Standing:
        """Where `trial` stands; equal values share the better rank."""
        return standing(list(values.values()), values[trial], self.reduction_factor)


@dataclass(frozen=True, slots=True)
class Promoting:
    """The promotion form: nobody goes on while a rung has seen fewer values than the reduction factor."""

    reduction_factor: int
    pauses: bool = True

    def standing(self, values: Mapping[int, float], trial: int) -> Standing:
        """Where `trial` stands; of equal values, the earlier trial's is better."""
        ordered = sorted(values, key=lambda each: (-values[each], each))
        survivors = len(ordered) // self.reduction_factor
        return Standing(ordered.index(trial) + 1, len(ordered), survivors, values[ordered[max(survivors, 1) - 1]])


def judge_of(study: Study) -> Judge:
    """How the rungs of `study` judge."""
    factor = study.spec.reduction_factor
    return Promoting(factor) if study.spec.scheduler == "promotion" else Stopping(factor)


def milestones(study: Study) -> tuple[int, ...]:
    """The epochs of the rungs, ascending: the spec's, and those that extensions added."""
    extensions = [event for _, event in study.columns.others if isinstance(event, BudgetExtended)]
    return tuple(sorted({*study.spec.rungs, *(rung for event in extensions for rung in event.rungs)}))


def full_epochs(study: Study) -> int:
    """The epochs of a trial that is never stopped: the spec's, or those of the last extension."""
    extensions = [event for _, event in study.columns.others if isinstance(event, BudgetExtended)]
    return extensions[-1].epochs if extensions else study.spec.epochs


def rung_entries(study: Study) -> pd.DataFrame:
    """One row per trial and rung at which it was judged, in the order of the log.

    A trial that reached a rung twice (it was restarted from an earlier checkpoint) is there once, as first judged. A
    trial that diverged before a rung is there with the floor value and the action `diverge`: it counts as a peer.

    Columns: trial, rung, epoch (int64); action; value, cutoff (float64, of the study's metric); rank, peers, survivors
    (Int64, at the moment of the decision; NA for diverged trials); time (Unix seconds).

    Raises as `analysis.log.read_log`.
    """
    reports = study.columns.all_reports
    judged = reports[reports["rung"].notna()]
    diverged = _diverged(reports[reports["action"] == "diverge"], milestones(study))
    parts = [part for part in (judged, diverged) if len(part)] or [judged]
    rows = pd.concat(parts).sort_values("offset", kind="stable").drop_duplicates(["trial", "rung"])
    frame = pd.DataFrame({name: rows[name].astype("int64") for name in ("trial", "rung", "epoch")})
    frame["action"] = rows["action"]
    frame["value"] = rows["rung_value"].astype("float64")
    frame["cutoff"] = rows["rung_cutoff"].astype("float64")
    for name in ("rank", "peers", "survivors"):
        frame[name] = rows[f"rung_{name}"].astype("Int64")
    frame["time"] = rows["time"]
    return frame.reset_index(drop=True)


def _diverged(reports: pd.DataFrame, rungs: tuple[int, ...]) -> pd.DataFrame:
    """The reports of divergence, each at the first rung that its trial did not reach; without those beyond the last."""
    place = np.searchsorted(np.array(rungs, dtype="int64"), reports["epoch"].to_numpy())
    rung = np.array([*map(float, rungs), math.nan])[place]
    placed: pd.DataFrame = reports.assign(rung=rung, rung_value=FLOOR)
    return placed[placed["rung"].notna()]
