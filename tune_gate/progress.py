"""Where a search stands: the same folds as the driver's, over the log as it grows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.copies import local_copy, refresh
from analysis.events import (
    AttemptFailed,
    AttemptStarted,
    BudgetExtended,
    EpochReported,
    Event,
    MeasuredOnTest,
    ResourcesChosen,
    SessionEnded,
    SessionStarted,
    SpecChanged,
    TrialFailed,
    TrialInherited,
    TrialSuggested,
    Warned,
)
from analysis.log import LOG_FILE, LogPosition, read_log_from
from analysis.statistics import wilson_interval
from analysis.trials import ENDED, Trial, TrialsFold
from tune_gate.budget import current_budget
from tune_gate.changes import current_spec
from tune_gate.expectation import epochs_left, stretches
from tune_gate.schedulers import RungCount, build_scheduler
from tune_gate.spec import StudySpec
from tune_gate.study_dir import read_spec

SECONDS_PER_HOUR = 3600.0

#: Trials that have come to the first rung, or ended before it, before time is estimated from them.
_JUDGED = 3


@dataclass(frozen=True, slots=True)
class Best:
    """The best validation accuracy so far."""

    trial: int
    epoch: int
    val_acc: float
    low: float  # of its 95 % interval; NaN where the number of images is not known
    high: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands."""

    name: str
    wanted: int  # trials
    epochs: int  # of a full trial
    states: dict[str, int]  # trials by state
    running: tuple[Trial, ...]
    rungs: tuple[RungCount, ...]
    best: Best | None
    hours: float  # of trials' work, times the devices that each has
    device: str  # CPU or GPU
    seconds_left: float | None  # an estimate; None while there is too little to go by
    inherited: int  # trials of earlier studies that the sampler was told of
    session: str  # running, finished, interrupted, failed, or died

    @property
    def ended(self) -> int:
        """Trials that are done for good."""
        return sum(count for state, count in self.states.items() if state in ENDED)

    def to_record(self) -> dict[str, object]:
        """The form of `status --json`."""
        return {
            "name": self.name,
            "session": self.session,
            "inherited": self.inherited,
            "trials": {"wanted": self.wanted, "ended": self.ended, **self.states},
            "running": [
                {"trial": trial.number, "attempt": trial.attempt, "epoch": trial.epoch, "of": self.epochs}
                for trial in self.running
            ],
            "rungs": [
                {
                    "epoch": rung.milestone,
                    "reached": rung.reached,
                    "paused": rung.paused,
                    "stopped": rung.stopped,
                    "best": rung.best,
                }
                for rung in self.rungs
            ],
            "best": None
            if self.best is None
            else {"trial": self.best.trial, "epoch": self.best.epoch, "val_acc": self.best.val_acc},
            f"{self.device.lower()}_hours": round(self.hours, 6),
            "seconds_left": self.seconds_left,
        }


class ProgressReader:
    """Follows the log of a study, which may be the URL of one in an object store.

    Raises as `read_spec` and `read_log`.
    """

    def __init__(self, study: Path) -> None:
        self._study = local_copy(study)
        self.spec: StudySpec = read_spec(self._study)
        self._position = LogPosition()
        self._trials = TrialsFold()
        self._scheduler = build_scheduler(self.spec)
        self._inherited = 0
        self._session: SessionStarted | SessionEnded | None = None
        self.budget = current_budget(self.spec, ())

    def read(self) -> list[Event]:
        """Take in what was appended since the last call, and return it."""
        refresh(self._study)
        events, self._position = read_log_from(self._study / LOG_FILE, self._position)
        for event in events:
            self._trials.apply(event)
            self._scheduler.apply(event)
            if isinstance(event, SessionStarted | SessionEnded):
                self._session = event
            if isinstance(event, BudgetExtended):
                self.budget = current_budget(self.spec, [event])
            self._inherited += isinstance(event, TrialInherited)
            if isinstance(event, SpecChanged | ResourcesChosen):
                self.spec = current_spec(self.spec, [event])
        return events

    def progress(self, alive: bool) -> Progress:  # noqa: FBT001  a fact, not a choice of behaviour
        """Where the search stands; `alive` says whether a driver holds the study."""
        trials = self._trials.trials.values()
        states: dict[str, int] = {}
        for trial in trials:
            state = "waiting" if trial.state == "running" and not alive else trial.state
            states[state] = states.get(state, 0) + 1
        resources = self.spec.resources
        worked = sum(
            trial.redone_seconds + sum(r.metrics.get("seconds", 0.0) for r in trial.reports.values())
            for trial in trials
        )
        return Progress(
            name=self.spec.name,
            wanted=self.budget.trials,
            epochs=self.budget.epochs,
            states=states,
            running=tuple(trial for trial in trials if trial.state == "running") if alive else (),
            rungs=tuple(self._scheduler.counts()),
            best=self._best(),
            hours=worked * (resources.gpus or resources.cpus) / SECONDS_PER_HOUR,
            device="GPU" if resources.gpus else "CPU",
            seconds_left=self._seconds_left(worked) if alive else None,
            inherited=self._inherited,
            session=self._session_state(alive),
        )

    @property
    def done(self) -> bool:
        """Whether nothing is left to do: all trials ended, and those of a confirmation measured."""
        trials = self._trials.trials.values()
        if sum(trial.ended for trial in trials) < self.budget.trials:
            return False
        measured = all(trial.measured is not None for trial in trials if trial.state == "completed")
        return self.spec.confirm is None or measured

    def describe(self, event: Event) -> str | None:
        """One line about an event that a person would want to hear of; None for the rest."""
        match event:
            case TrialSuggested():
                return f"trial {event.trial} suggested ({event.source}): {_listed(event.settings)}"
            case AttemptStarted(attempt=attempt) if attempt > 1:
                return f"trial {event.trial} goes on after epoch {event.from_epoch} (attempt {attempt})"
            case EpochReported():
                return _decided(event, self.spec.metric)
            case AttemptFailed():
                return f"trial {event.trial}, attempt {event.attempt} {event.failure}: {event.message}"
            case MeasuredOnTest():
                return f"trial {event.trial} measured on the test split"
            case BudgetExtended():
                return f"the budget is now {event.trials} trials of up to {event.epochs} epochs"
            case SpecChanged():
                return f"changed since the launch: {_listed(event.settings)}"
            case ResourcesChosen():
                return f"resources: {event.reason}"
            case TrialFailed():
                return f"trial {event.trial} given up: {event.reason}"
            case Warned():
                return f"warning: {event.message}"
            case _:
                return None

    def _best(self) -> Best | None:
        reports = [
            (report.metrics[self.spec.metric], -report.epoch, -trial.number, report)
            for trial in self._trials.trials.values()
            if (report := trial.best(self.spec.metric)) is not None and trial.state not in ("diverged", "failed")
        ]
        if not reports:
            return None
        value, epoch, number, report = max(reports, key=lambda entry: entry[:3])
        low, high = wilson_interval(value, report.metrics.get("val_images", float("nan")))
        return Best(-number, -epoch, value, float(low), float(high))

    def _seconds_left(self, worked: float) -> float | None:
        """The epochs that are expected to come, at the pace of this search and of those that run now; None before three
        trials have come to the first rung.
        """
        trials = self._trials.trials.values()
        epochs = sum(trial.epoch for trial in trials)
        running = sum(trial.state == "running" for trial in trials)
        expected = stretches(self.spec.scheduler, self.budget)
        judged = sum(trial.ended or trial.epoch >= expected[0].to_epoch for trial in trials)
        if judged < _JUDGED or not epochs or not running:
            return None
        return epochs_left(expected, trials, self.budget.trials) * (worked / epochs) / running

    def _session_state(self, alive: bool) -> str:  # noqa: FBT001  a fact
        if alive:
            return "running"
        if isinstance(self._session, SessionEnded):
            return self._session.reason
        return "not started" if self._session is None else "died"


def _decided(event: EpochReported, metric: str) -> str | None:
    """One line about a report after which something happens to its trial."""
    match event:
        case EpochReported(action="stop" | "pause" as action, rung=rung) if rung is not None:
            held = "stopped" if action == "stop" else "paused"
            who = f"best {rung.survivors} go on, from {rung.cutoff:.4f}" if rung.survivors else "none goes on yet"
            return (
                f"trial {event.trial} {held} at rung {rung.milestone}: {rung.value:.4f}, rank {rung.rank} "
                f"of {rung.peers} ({who})"
            )
        case EpochReported(action="complete"):
            return f"trial {event.trial} completed {event.epoch} epochs: {event.metrics[metric]:.4f}"
        case EpochReported(action="diverge"):
            return f"trial {event.trial} diverged at epoch {event.epoch}"
        case EpochReported(action="interrupt"):
            return f"trial {event.trial} saved at epoch {event.epoch}"
        case _:
            return None


def _listed(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {short(value)}" for name, value in settings.items())


def duration(seconds: float) -> str:
    """A time span in words, to two units."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def clock(timestamp: float) -> str:
    """A Unix time as the time of day here."""
    return time.strftime("%H:%M:%S", time.localtime(timestamp))


def short(value: object) -> str:
    """A setting in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
