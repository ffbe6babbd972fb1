"""The fold of the log that gives the trials: what is done, stopped, unfinished, and what each epoch said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from analysis.events import (
    AttemptFailed,
    AttemptStarted,
    BudgetExtended,
    EpochReported,
    Event,
    MeasuredOnTest,
    SessionStarted,
    TrialFailed,
    TrialPromoted,
    TrialRetired,
    TrialSuggested,
)

TrialState = Literal["waiting", "running", "paused", "completed", "stopped", "diverged", "failed"]

#: States from which a trial does not go on by itself.
ENDED: frozenset[TrialState] = frozenset({"completed", "stopped", "diverged", "failed"})

_STATE_AFTER: Mapping[str, TrialState] = {
    "continue": "running",
    "interrupt": "waiting",
    "pause": "paused",
    "stop": "stopped",
    "complete": "completed",
    "diverge": "diverged",
}


@dataclass(slots=True)
class Trial:
    """One trial as the log tells it."""

    number: int
    settings: Mapping[str, Any]
    seed: int
    source: str
    suggested: float  # Unix time
    state: TrialState = "waiting"
    attempt: int = 0  # attempts begun
    failures: int = 0  # attempts since the last new epoch that failed or were lost
    unfit: bool = False  # its last attempt was given a device that it cannot use
    furthest: int = 0  # the last epoch ever reported; beyond `epoch` while epochs are done over
    reports: dict[int, EpochReported] = field(default_factory=dict)  # by epoch, ascending
    redone_seconds: float = 0.0  # spent on epochs that had to be trained again
    reason: str = ""  # why it failed
    measured: MeasuredOnTest | None = None  # on the test split; the first measurement stands

    @property
    def epoch(self) -> int:
        """The last reported epoch; 0 before the first."""
        return next(reversed(self.reports), 0)

    @property
    def ended(self) -> bool:
        """Whether the trial is done for good."""
        return self.state in ENDED

    @property
    def last(self) -> EpochReported | None:
        """The last report."""
        return self.reports.get(self.epoch)

    def best(self, metric: str) -> EpochReported | None:
        """The report with the largest value of `metric` (the earliest of equals); reports without one do not count."""
        measured = [report for report in self.reports.values() if not math.isnan(report.metrics.get(metric, math.nan))]
        return max(measured, key=lambda report: report.metrics[metric], default=None)


class TrialsFold:
    """Folds events into trials. A report for epoch e replaces the trial's reports of epoch >= e: a trial that was
    restarted from an earlier checkpoint reports again.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.trials: dict[int, Trial] = {}
        self.newest = 0  # the highest number of a trial
        self.startable: set[int] = set()  # the trials that go on by themselves: few, however long the search
        self._paused: set[int] = set()
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take one event in; events about an unknown trial are ignored (the log began elsewhere)."""
        self._take(event)
        touched = self.trials if isinstance(event, BudgetExtended) else (getattr(event, "trial", None),)
        for number in touched:
            if number in self.trials:
                self._sort(self.trials[number])

    def _sort(self, trial: Trial) -> None:
        self.startable.discard(trial.number)
        self._paused.discard(trial.number)
        if trial.state == "paused":
            self._paused.add(trial.number)
        elif not trial.ended:
            self.startable.add(trial.number)

    def _take(self, event: Event) -> None:
        match event:
            case TrialSuggested():
                self.trials[event.trial] = Trial(event.trial, event.settings, event.seed, event.source, event.time)
                self.newest = max(self.newest, event.trial)
            case AttemptStarted(trial=number) if number in self.trials:
                trial = self.trials[number]
                trial.attempt = event.attempt
                trial.unfit = False
                if not trial.ended:
                    trial.state = "running"
            case EpochReported(trial=number) if number in self.trials:
                self._report(self.trials[number], event)
            case AttemptFailed(trial=number) if number in self.trials:
                trial = self.trials[number]
                if not trial.ended:  # a worker that is lost after its last word takes nothing back
                    trial.failures += event.failure != "preempted"
                    trial.unfit = event.failure == "unfit"
                    trial.state = "waiting"
            case TrialFailed() | TrialPromoted() | TrialRetired() if event.trial in self.trials:
                _turn(self.trials[event.trial], event)
            case MeasuredOnTest(trial=number) if number in self.trials:
                trial = self.trials[number]
                trial.measured = trial.measured or event
            case SessionStarted() | BudgetExtended():
                _turn_all(self.trials.values(), event)
            case _:
                pass

    def _report(self, trial: Trial, report: EpochReported) -> None:
        if report.epoch > trial.furthest:
            trial.failures = 0  # it got further than ever before: the next failure is a new one
            trial.furthest = report.epoch
        if report.epoch <= trial.epoch:
            _rewind(trial, report)
        trial.reports[report.epoch] = report
        trial.state = _STATE_AFTER[report.action]

    @property
    def open(self) -> bool:
        """Whether any trial has not ended."""
        return bool(self.startable or self._paused)

    @property
    def unfinished(self) -> list[Trial]:
        """The trials that have not ended, in the order in which they were suggested."""
        return [self.trials[number] for number in sorted(self.startable | self._paused)]


def _turn_all(trials: Iterable[Trial], event: SessionStarted | BudgetExtended) -> None:
    """What a new session, or a larger budget, means for all trials."""
    if isinstance(event, SessionStarted):
        abandon(trials)  # its workers are none of those that ran before
        return
    for trial in trials:
        if trial.state == "completed" and trial.epoch < event.epochs:
            trial.state = "waiting"


def abandon(trials: Iterable[Trial]) -> None:
    """Nobody drives the study any more: the trials that ran wait for the next session."""
    for trial in trials:
        if trial.state == "running":
            trial.state = "waiting"


def _turn(trial: Trial, event: TrialFailed | TrialPromoted | TrialRetired) -> None:
    """What the search decided on a trial that is not running."""
    match event:
        case TrialFailed():
            trial.state, trial.reason = "failed", event.reason
        case TrialPromoted():
            trial.state = "waiting"
        case TrialRetired():
            trial.state = "stopped"


def _rewind(trial: Trial, report: EpochReported) -> None:
    """Take back the reports that `report` replaces."""
    for epoch in [epoch for epoch in trial.reports if epoch >= report.epoch]:
        trial.redone_seconds += trial.reports.pop(epoch).metrics.get("seconds", 0.0)


def fold_trials(events: Iterable[Event]) -> dict[int, Trial]:
    """The trials of a log, by number."""
    return TrialsFold(events).trials
