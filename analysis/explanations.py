"""Why a trial ended where it did: the rung, its peers, the cutoff then and now, its failures, and what it cost."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from analysis.events import AttemptFailed
from analysis.names import unknown_name
from analysis.rungs import Standing, full_epochs, rung_entries, standing

if TYPE_CHECKING:
    import pandas as pd

    from analysis.study import Study
    from analysis.trials import Trial

#: Peers that the words name; the record has them all.
_NAMED = 8

_VERDICTS = {"stop": "stopped", "interrupt": "let pass, as the search was being interrupted"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """A trial at a rung: what was decided, against whom, and what the rung would say with all that it knows today."""

    rung: int  # epochs
    action: str  # continue, stop, ...
    value: float
    then: Standing
    now: Standing
    peers: tuple[tuple[int, float], ...]  # (trial, value) of those that came before it, best first
    gap_errors: float  # (value - cutoff) in standard errors of the difference; NaN where images are not recorded


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
            lines.extend(_judgement_lines(judgement, self.metric, went_beyond=self.epoch > judgement.rung))
        lines.extend(_failure_line(failure) for failure in self.failures)
        lines.append(_spent_line(self.spent))
        return lines

    def _end(self) -> str:
        at = f"epoch {self.epoch} of {self.full_epochs}"
        match self.state:
            case "completed":
                return f"completed, all {self.epoch} epochs"
            case "stopped":
                return f"stopped at {at}, at the rung there" if self._judged_here() else f"stopped at {at}"
            case "diverged":
                return f"diverged at {at}: its loss was not finite or exploded; it counts as the worst value there is"
            case "failed":
                return f"failed after {at}: {self.reason or 'given up'}"
            case "running":
                return f"running, {at}"
            case "paused":
                return f"paused at {at}: it goes on once it is among the best of its rung"
            case _:
                return f"waiting, {at}: it {'goes' if self.epoch else 'starts'} on with `tune-gate resume`"

    def _judged_here(self) -> bool:
        return any(judgement.rung == self.epoch for judgement in self.judgements)


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
        spent=Spent(
            attempts=record.attempt,
            epochs=int(row["epochs"] + row["redone_epochs"]),
            redone_epochs=int(row["redone_epochs"]),
            hours=float(row["hours"]),
            cpu_hours=float(row["cpu_hours"]),
            gpu_hours=float(row["gpu_hours"]),
        ),
    )


def _judgements(study: Study, trial: int) -> tuple[Judgement, ...]:
    entries = rung_entries(study)
    own = entries[(entries["trial"] == trial) & entries["rank"].notna()]
    reports = study.epochs
    images = reports.loc[reports["trial"] == trial, "val_images"].max()
    return tuple(_judgement(entries, row, images, study.spec.reduction_factor) for _, row in own.iterrows())


def _judgement(entries: pd.DataFrame, row: pd.Series[Any], images: float, reduction_factor: int) -> Judgement:
    rung = entries[entries["rung"] == row["rung"]]
    before = rung[rung.index < row.name].sort_values("value", ascending=False, kind="stable")
    value, cutoff = float(row["value"]), float(row["cutoff"])
    return Judgement(
        rung=int(row["rung"]),
        action=str(row["action"]),
        value=value,
        then=Standing(int(row["rank"]), int(row["peers"]), int(row["survivors"]), cutoff),
        now=standing(rung["value"].tolist(), value, reduction_factor),
        peers=tuple(zip(before["trial"].tolist(), before["value"].tolist(), strict=True)),
        gap_errors=_gap(value, cutoff, images),
    )


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


_VERDICTS = {"stop": "stopped", "interrupt": "let pass as the search was interrupted", "pause": "paused"}


def _judgement_lines(judgement: Judgement, metric: str, *, went_beyond: bool) -> list[str]:
    then, now = judgement.then, judgement.now
    verdict = _VERDICTS.get(judgement.action, "went on")
    if judgement.action == "pause" and went_beyond:
        verdict = "paused, and promoted later"
    if then.survivors == 0:
        rule = "too few values to promote anybody"
    elif then.survivors == then.peers:
        rule = "too few values to stop anybody"
    else:
        rule = f"the best {then.survivors} went on, cutoff {then.cutoff:.4f}{_gap_words(judgement)}"
    lines = [
        f"rung {judgement.rung}: {metric} {judgement.value:.4f}, rank {then.rank} of {then.peers}; {rule}: {verdict}",
        *_peer_lines(judgement),
    ]
    if now.peers > then.peers:
        would = "go on" if now.passes else "be stopped"
        lines.append(
            f"  the same rung now: rank {now.rank} of {now.peers}; the best {now.survivors} go on, cutoff "
            f"{now.cutoff:.4f}: it would {would}"
        )
    else:
        lines.append("  the same rung now: as then, no other trial has reached it since")
    return lines


def _gap_words(judgement: Judgement) -> str:
    gap = judgement.value - judgement.then.cutoff
    if not gap:
        return " (its own)"
    words = f"{abs(gap):.4f} {'above' if gap > 0 else 'below'} it"
    if math.isnan(judgement.gap_errors):
        return f", {words}"
    return f", {words} or {abs(judgement.gap_errors):.1f} standard errors of the difference"


def _peer_lines(judgement: Judgement) -> list[str]:
    lines = []
    better = [(trial, value) for trial, value in judgement.peers if value > judgement.value]
    others = [(trial, value) for trial, value in judgement.peers if value <= judgement.value]
    for words, peers in (("better", better), ("not better", others)):
        if peers:
            named = ", ".join(f"trial {trial} ({value:.4f})" for trial, value in peers[:_NAMED])
            more = f" and {len(peers) - _NAMED} more" if len(peers) > _NAMED else ""
            lines.append(f"  {words} there before it: {named}{more}")
    return lines


_FAILED = {"lost": "was lost", "preempted": "lost its node", "unfit": "could not use its device"}


def _failure_line(failure: Failure) -> str:
    what = {"lost": "was lost", "preempted": "lost its node", "unfit": "could not use its device"}.get(
        failure.kind, "failed"
    )
    return f"attempt {failure.attempt} {what} after epoch {failure.after_epoch}: {failure.message}"


def _spent_line(spent: Spent) -> str:
    redone = f" ({spent.redone_epochs} of them done over)" if spent.redone_epochs else ""
    times = "1 attempt" if spent.attempts == 1 else f"{spent.attempts} attempts"
    device = f"{spent.gpu_hours:.3g} GPU-hours" if spent.gpu_hours else f"{spent.cpu_hours:.3g} CPU-hours"
    return f"spent: {spent.epochs} epochs{redone} in {times}, {spent.hours:.3g} h of training, {device}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
