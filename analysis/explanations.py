"""Why a trial ended where it did: the rung, its peers, the cutoff then and now, its failures, and what it cost."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from analysis.costs import ledger
from analysis.events import AttemptFailed, TrialPromoted, TrialRetired
from analysis.explanation_words import failure_line, judgement_lines, spent_line
from analysis.names import unknown_name
from analysis.report_lines import METRIC_PREFIX
from analysis.rungs import Judge, Standing, full_epochs, judge_of, rung_entries
from analysis.wording import counted

if TYPE_CHECKING:
    import pandas as pd

    from analysis.study import Study
    from analysis.trials import Trial


@dataclass(frozen=True, slots=True)
class Turn:
    """What the search decided later on a trial that paused at a rung, and where it stood there at that moment."""

    kind: Literal["promoted", "retired"]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Judgement:
    """A trial at a rung: what was decided, against whom, and what the rung would say with all that it knows today."""

    rung: int  # epochs
    action: str  # continue, stop, ...
    value: float
    then: Standing
    now: Standing
    peers: tuple[tuple[int, float], ...]  # (trial, value) of those that came before it, best first
    plain: float  # the metric of the epoch itself, where `value` is that of a probe; NaN otherwise
    gap_errors: float  # (value - cutoff) in standard errors of the difference; NaN where images are not recorded
    pauses: bool  # whether the rung lets the others pause, and does not stop them
    turn: Turn | None  # what became of it where it paused; None: nothing yet, or it did not pause


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that ended without a decision."""

    attempt: int
    after_epoch: int  # the last epoch that it had reported
    kind: str  # error, lost or preempted
    message: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What a trial cost."""

    attempts: int
    epochs: int  # trained, redone ones included
    redone_epochs: int
    hours: float  # training and validation, redone epochs included
    cpu_hours: float
    gpu_hours: float
    held: float  # all that it kept from others, in `unit`: starts, saving, waiting and lost parts of epochs, too
    unit: str  # GPU-hours, or CPU-hours where trials hold no GPU


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a trial ended, or has not."""

    study: str
    trial: int
    state: str
    epoch: int  # the last one reported
    full_epochs: int  # of a trial that is never stopped
    metric: str
    reason: str  # why it failed; "" otherwise
    best: tuple[int, float] | None  # epoch and value
    judgements: tuple[Judgement, ...]
    failures: tuple[Failure, ...]
    spent: Spent
    interrupted: float | None  # Unix time of the log's last line, where no driver holds the study; None otherwise

    def to_record(self) -> dict[str, Any]:
        """The explanation as JSON has it; a number that is not finite is None."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain

    def lines(self) -> list[str]:
        """The explanation in words, a line for each fact."""
        lines = [f"trial {self.trial} of {self.study}: {self._end()}"]
        if self.best is not None:
            lines.append(f"best {self.metric}: {self.best[1]:.4f} at epoch {self.best[0]}")
        for judgement in self.judgements:
            lines.extend(judgement_lines(judgement, self.metric))
        lines.extend(failure_line(failure) for failure in self.failures)
        lines.append(spent_line(self.spent))
        return lines

    def _end(self) -> str:
        at = f"epoch {self.epoch} of {self.full_epochs}"
        match self.state:
            case "completed":
                return f"completed, all {counted(self.epoch, 'epoch')}"
            case "stopped":
                return f"stopped at {at}{self._where_stopped()}"
            case "diverged":
                return f"diverged at {at}: its loss was not finite or exploded; it counts as the worst value there is"
            case "failed":
                return f"failed after {at}: {self.reason or 'given up'}"
            case "running":
                return f"running, {at}"
            case "paused":
                best = "it goes on once it is among the best of its rung"
                return f"paused at {at}: {self._interruption('with `tune-gate resume` ')}{best}"
            case _:
                goes_on = f"it {'goes on' if self.epoch else 'starts'} with `tune-gate resume`"
                return f"waiting, {at}" + (f": {self._interruption()}{goes_on}" if self.interrupted else "")

    def _interruption(self, resumed: str = "") -> str:
        """When the search was interrupted; empty where a driver is at it."""
        if self.interrupted is None:
            return ""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.interrupted))
        return f"the search was interrupted at {when}; {resumed}"

    def _where_stopped(self) -> str:
        here = [judgement for judgement in self.judgements if judgement.rung == self.epoch]
        if not here:
            return ""
        if here[-1].turn is not None:
            return ": it paused at the rung there, and others were better when the search ended"
        return ", at the rung there"


def why(study: Study, trial: int) -> Explanation:
    """Why the trial of that number ended where it did, or where it stands.

    Raises:
        UnknownName: the study has no such trial; and as `analysis.log.read_log`.
    """
    records = study.columns.trials
    if trial not in records:
        raise unknown_name("trial", trial, records)
    record = records[trial]
    row = study.trials[study.trials["trial"] == trial].to_dict("records")[0]
    best = None if math.isnan(row["val_acc"]) else (int(row["best_epoch"]), float(row["val_acc"]))
    return Explanation(
        study=study.name,
        trial=trial,
        state=record.state,
        epoch=record.epoch,
        full_epochs=full_epochs(study),
        metric=study.spec.metric,
        reason=record.reason,
        best=best,
        judgements=_judgements(study, trial),
        failures=_failures(study, record),
        spent=_spent(study, record, row),
        interrupted=_last_line(study) if study.abandoned else None,
    )


def _last_line(study: Study) -> float:
    """When the log was last written to, Unix time; it names a trial."""
    last, reports = study.columns.others[-1][1].time, study.columns.reports
    return last if reports.empty else max(last, float(reports["time"].max()))


def _spent(study: Study, record: Trial, row: Mapping[Any, Any]) -> Spent:
    folded = ledger(study)
    return Spent(
        attempts=record.attempt,
        epochs=int(row["epochs"] + row["redone_epochs"]),
        redone_epochs=int(row["redone_epochs"]),
        hours=float(row["hours"]),
        cpu_hours=float(row["cpu_hours"]),
        gpu_hours=float(row["gpu_hours"]),
        held=float(folded.trials.loc[folded.trials["trial"] == record.number, "total"].iloc[0]),
        unit=folded.unit,
    )


def _judgements(study: Study, trial: int) -> tuple[Judgement, ...]:
    entries = rung_entries(study)
    own = entries[(entries["trial"] == trial) & entries["rank"].notna()]
    reports = study.epochs
    images = reports.loc[reports["trial"] == trial, "val_images"].max()
    judge = judge_of(study)
    turns = {
        event.milestone: event
        for _, event in study.columns.others
        if isinstance(event, TrialPromoted | TrialRetired) and event.trial == trial
    }
    plain = {} if not study.spec.probe_share else _plain_values(study, trial)
    return tuple(
        _judgement(entries, row, images, judge, turns, plain.get(int(row["rung"]), math.nan))
        for _, row in own.iterrows()
    )


def _plain_values(study: Study, trial: int) -> dict[int, float]:
    """The metric of each epoch of the trial as first reported: what a rung judged stands."""
    reports = study.columns.all_reports
    first = reports[reports["trial"] == trial].drop_duplicates("epoch")
    return dict(zip(first["epoch"].tolist(), first[METRIC_PREFIX + study.spec.metric].tolist(), strict=True))


def _judgement(
    entries: pd.DataFrame,
    row: pd.Series[Any],
    images: float,
    judge: Judge,
    turns: Mapping[int, TrialPromoted | TrialRetired],
    plain: float,
) -> Judgement:
    rung, trial = entries[entries["rung"] == row["rung"]], int(row["trial"])
    before = rung[rung.index < row.name].sort_values("value", ascending=False, kind="stable")
    value, cutoff = float(row["value"]), float(row["cutoff"])
    paused, event = row["action"] == "pause", turns.get(int(row["rung"]))
    turn = None
    if paused and event is not None:
        kind: Literal["promoted", "retired"] = "promoted" if isinstance(event, TrialPromoted) else "retired"
        turn = Turn(kind, judge.standing(_values(rung[rung["time"] <= event.time]), trial))
    return Judgement(
        rung=int(row["rung"]),
        action=str(row["action"]),
        value=value,
        then=Standing(int(row["rank"]), int(row["peers"]), int(row["survivors"]), cutoff),
        now=judge.standing(_values(rung), trial),
        peers=tuple(zip(before["trial"].tolist(), before["value"].tolist(), strict=True)),
        plain=plain,
        gap_errors=_gap(value, cutoff, images),
        pauses=judge.pauses,
        turn=turn,
    )


def _values(rung: pd.DataFrame) -> dict[int, float]:
    return dict(zip(rung["trial"].tolist(), rung["value"].tolist(), strict=True))


def _gap(value: float, cutoff: float, images: float) -> float:
    """The difference of two accuracies in its binomial standard errors, each measured on so many images."""
    variance = value * (1.0 - value) + cutoff * (1.0 - cutoff)
    if not images >= 1.0 or not 0.0 <= value <= 1.0 or not 0.0 <= cutoff <= 1.0:
        return math.nan
    return (value - cutoff) / math.sqrt(variance / images) if variance else math.nan


def _failures(study: Study, record: Trial) -> tuple[Failure, ...]:
    reports = study.columns.all_reports
    reports = reports[reports["trial"] == record.number]
    return tuple(
        Failure(event.attempt, _last_epoch(reports[reports["offset"] < offset]), event.failure, event.message)
        for offset, event in study.columns.others
        if isinstance(event, AttemptFailed) and event.trial == record.number
    )


def _last_epoch(reports: pd.DataFrame) -> int:
    return 0 if reports.empty else int(reports["epoch"].iloc[-1])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
