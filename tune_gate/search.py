"""The search itself: which trial starts next, what a report decides, what follows from a failure.

It knows the log and the folds, and neither Ray nor torch: the driver feeds it from a cluster, a test or a replay feeds
it in virtual time. Every answer is in the log before it is given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.event_records import shared_names
from analysis.events import (
    PROBE_VALUE,
    Action,
    AttemptFailed,
    AttemptStarted,
    EndReason,
    EpochReported,
    Event,
    FailureKind,
    MeasuredOnTest,
    ResourcesChosen,
    SessionEnded,
    SessionStarted,
    TrialFailed,
    TrialPromoted,
    TrialRetired,
    TrialSuggested,
    Warned,
)
from analysis.trials import Trial, TrialsFold
from tune_gate.budget import current_budget
from tune_gate.changes import current_spec, version_changes
from tune_gate.deaths import DeathsFold
from tune_gate.errors import Misuse, TuneGateError
from tune_gate.probing import lacks_probe
from tune_gate.recorder import Fold, Journal, Recorder
from tune_gate.samplers import Sampler, build_sampler
from tune_gate.schedulers import Scheduler, build_scheduler
from tune_gate.spec import StudySpec

#: So many trials in a row that cannot use their device end the search: a sick node would devour all others, too.
UNFIT_IN_A_ROW = 5


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial as it is handed to a worker."""

    trial: int
    attempt: int
    settings: Mapping[str, Any]  # the full settings, as plain JSON values
    from_epoch: int  # no checkpoint beyond this epoch counts: what it holds was never reported
    probed: tuple[int, ...] = ()  # epochs after which it is probed


def production_folds(spec: StudySpec) -> tuple[Scheduler, Sampler]:
    """The scheduler and the sampler that `spec` names, which have seen no event yet. Raises as `build_sampler`."""
    return build_scheduler(spec), build_sampler(spec)


class Search:
    """One session of a study. Open it as a context; it says in the log how it ended."""

    def __init__(
        self,
        spec: StudySpec,
        study: Path,
        clock: Callable[[], float] = time.time,
        journal: Callable[[Path, Iterable[Fold]], Journal] = Recorder,
        folds: Callable[[StudySpec], tuple[Scheduler, Sampler]] = production_folds,
    ) -> None:
        self._clock = clock
        self._trials = TrialsFold()
        self._scheduler, self._sampler = folds(spec)
        self._deaths = DeathsFold()
        self._recorder = journal(study, [self._trials, self._scheduler, self._sampler, self._deaths])
        self._spec = current_spec(spec, self._recorder.events)
        self._live: set[int] = set()
        self._stopping = False
        self._unfit = 0  # trials in a row
        self._budget = current_budget(spec, self._recorder.events)
        self._session = 1 + sum(isinstance(event, SessionStarted) for event in self._recorder.events)

    @property
    def spec(self) -> StudySpec:
        """The specification, with what was changed since the launch."""
        return self._spec

    @property
    def history(self) -> Sequence[Event]:
        """The log as this session found it."""
        return self._recorder.events

    @property
    def trials(self) -> Mapping[int, Trial]:
        """The trials so far, by number; not to be changed."""
        return self._trials.trials

    @property
    def events(self) -> Sequence[Event]:
        """The events that the journal holds: of a log, those before this session; not to be changed."""
        return self._recorder.events

    @property
    def live(self) -> int:
        """How many trials are with workers."""
        return len(self._live)

    @property
    def stopping(self) -> bool:
        """Whether the search was asked to stop."""
        return self._stopping

    @property
    def _probed(self) -> tuple[int, ...]:
        return self._spec.scheduler.probed(self._budget.rungs)

    @property
    def finished(self) -> bool:
        """Whether every trial that was asked for has ended."""
        return len(self.trials) >= self._budget.trials and not self._trials.open

    @property
    def unmeasured(self) -> list[Trial]:
        """The completed trials of a confirmation that were not measured on the test split yet; none in a search."""
        if self._spec.confirm is None:
            return []
        return [trial for trial in self.trials.values() if trial.state == "completed" and trial.measured is None]

    def begin(self, host: str, pid: int, versions: Mapping[str, str]) -> None:
        """Say in the log that a driver took hold of the study, and give up the trials that killed those before it."""
        suspects = self._deaths.suspects(self._spec.failures.retries)
        self._recorder.append(SessionStarted(self._clock(), self._session, host, pid, dict(versions)))
        before = next((event for event in reversed(self.history) if isinstance(event, SessionStarted)), None)
        if before is not None and (changed := version_changes(before.versions, versions)):
            self.warn(f"other versions than in session {before.session}: {', '.join(changed)}; results may differ")
        for trial in sorted(suspects):
            if not self.trials[trial].ended:
                reason = f"{self._deaths.in_a_row} drivers in a row died while it ran, and none saw an epoch end"
                self._recorder.append(TrialFailed(self._clock(), trial, reason))

    def end(self, message: str = "") -> None:
        """Say in the log how the session ended, and let go of the log."""
        done = self.finished and not self.unmeasured
        reason: EndReason = "failed" if message else "finished" if done else "interrupted"
        self._recorder.append(SessionEnded(self._clock(), self._session, reason, message))
        self.close()

    def close(self) -> None:
        """Let go of the log without a word, as a session does that fails to write."""
        self._recorder.close()

    def take_resources(
        self, settings: Mapping[str, Any], node: str, reason: str, measured: Sequence[Mapping[str, Any]]
    ) -> None:
        """Record what each trial is given from now on, by dotted key; see `ResourcesChosen`."""
        event = ResourcesChosen(self._clock(), dict(settings), node, reason, tuple(measured))
        self._recorder.append(event)
        self._spec = current_spec(self._spec, [event])

    def request_stop(self) -> None:
        """Let the running epochs finish; start nothing more."""
        self._stopping = True

    def next_assignment(self) -> Assignment | None:
        """The next trial for a worker: first those that were begun, then paused ones that deserve to go on, then new
        ones. None: nothing to start now.
        """
        if self._stopping:
            return None
        trial = self._waiting() or self._promote(self._scheduler.promotion()) or self._suggest() or self._conclude()
        if trial is None:
            return None
        attempt = trial.attempt + 1
        self._recorder.append(AttemptStarted(self._clock(), trial.number, attempt, trial.epoch))
        self._live.add(trial.number)
        return Assignment(
            trial.number,
            attempt,
            self._spec.trial_settings(trial.settings, trial.seed, self._budget.epochs),
            trial.epoch,
            self._probed,
        )

    def report(self, trial: int, attempt: int, epoch: int, metrics: Mapping[str, float]) -> Action:
        """Record a report with the decision on it, and say what the decision is.

        A report of an attempt that was given up (its worker was thought dead) decides nothing: its worker is told to
        stop.

        Raises:
            Misuse: the report lacks the study's metric, or the probe that its rung compares.
        """
        if trial not in self._live or self.trials[trial].attempt != attempt:
            return "stop"
        if self._spec.metric not in metrics:
            raise Misuse(
                f"trial {trial} reports no {self._spec.metric!r}; {self._spec.trainable} must report it each epoch"
            )
        self._unfit = 0
        if lacks_probe(self._probed, epoch, metrics, self._spec.metric):
            raise Misuse(f"trial {trial} reports no {PROBE_VALUE!r} at epoch {epoch}, which the rung there compares")
        metrics = {**metrics, "diverged": metrics.get("diverged", 0.0)}
        decision = self._scheduler.decide(trial, epoch, metrics)
        action: Action = "interrupt" if self._stopping and decision.action == "continue" else decision.action
        self._recorder.append(EpochReported(self._clock(), trial, attempt, epoch, dict(metrics), action, decision.rung))
        if action != "continue":
            self._live.discard(trial)
        return action

    def fail(self, trial: int, attempt: int, failure: FailureKind, message: str, traceback: str = "") -> None:
        """Record that an attempt ended without a decision; give the trial up after too many without progress, or at
        once where it was given a device that it cannot use.

        Raises:
            Misuse: `UNFIT_IN_A_ROW` trials could not use theirs, and none between them could.
        """
        if trial not in self._live or self.trials[trial].attempt != attempt:
            return
        self._live.discard(trial)
        self._recorder.append(AttemptFailed(self._clock(), trial, attempt, failure, message, traceback))
        failures = self.trials[trial].failures
        if failure == "unfit":
            self._recorder.append(TrialFailed(self._clock(), trial, message))
            self._unfit += 1
            if self._unfit >= UNFIT_IN_A_ROW:
                raise Misuse(f"{self._unfit} trials in a row failed at once ({message}); mend the node, then resume")
        elif failures > self._spec.failures.retries:
            reason = f"{failures} attempts in a row failed after epoch {self.trials[trial].epoch}; the last: {message}"
            self._recorder.append(TrialFailed(self._clock(), trial, reason))

    def measured(self, trial: int, metrics: Mapping[str, float]) -> None:
        """Record what the test split says of a completed trial. It is opened once: a second measurement is refused.

        Raises:
            TuneGateError: the study is no confirmation, trials are left to train, or the trial was measured before.
        """
        if not self.finished or all(waiting.number != trial for waiting in self.unmeasured):
            raise TuneGateError(f"trial {trial} is not to be measured on the test split, or not again")
        self._recorder.append(MeasuredOnTest(self._clock(), trial, self.trials[trial].epoch, dict(metrics)))

    def warn(self, message: str, trial: int | None = None) -> None:
        """Record something that a reader of the study should know."""
        self._recorder.append(Warned(self._clock(), message, trial))

    def settle(self) -> None:
        """Make what was recorded so far safe from a power cut; what it makes superfluous may then be deleted.

        Raises:
            LogWriteError: the disk does not take it.
        """
        self._recorder.settle()

    def retire(self, keys: Iterable[str]) -> None:
        """Checkpoints in the study's store that the reports so far make superfluous: they go once these are safe."""
        self._recorder.retire(keys)

    def _waiting(self) -> Trial | None:
        number = min(self._trials.startable - self._live, default=None)
        return None if number is None else self.trials[number]

    def _promote(self, number: int | None) -> Trial | None:
        if number is None:
            return None
        trial = self.trials[number]
        self._recorder.append(TrialPromoted(self._clock(), number, trial.epoch))
        return trial

    def _conclude(self) -> Trial | None:
        """With no new trial left and none running, a last one may go on; those that pause then never do."""
        if self._live:
            return None
        trial = self._promote(self._scheduler.last_promotion())
        if trial is None:
            for paused in self._trials.unfinished:
                self._recorder.append(TrialRetired(self._clock(), paused.number, paused.epoch))
        return trial

    def _suggest(self) -> Trial | None:
        if len(self.trials) >= self._budget.trials:
            return None
        number = 1 + self._trials.newest  # not their count: a log may have lost a number in the middle
        suggestion = self._sampler.suggest(number)
        settings = shared_names(json.loads(json.dumps(suggestion.settings)))  # as a reader of the log will see them
        seed = suggestion.seed_of(number, self._spec.seed)
        self._recorder.append(TrialSuggested(self._clock(), number, settings, seed, suggestion.source))
        return self.trials[number]
