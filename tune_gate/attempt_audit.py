"""The rule of attempts: who may report, which epoch comes next, and that nothing follows a trial's end."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.events import AttemptFailed, AttemptStarted, EpochReported, Event, SessionStarted, TrialFailed
from analysis.trials import Trial
from tune_gate.audits import Trials
from tune_gate.changes import current_spec
from tune_gate.deaths import DeathsFold
from tune_gate.spec import StudySpec

#: The events that an attempt, or the want of one, gives rise to.
OfAttempt = AttemptStarted | EpochReported | AttemptFailed | TrialFailed


class AttemptAudit:
    """A report comes from the attempt that is running; epochs follow one another; nothing follows a trial's end."""

    name = "attempts"

    def __init__(self, spec: StudySpec, trials: Trials) -> None:
        self._trials = trials
        self._spec = spec
        self._deaths = DeathsFold()
        self._suspects: set[int] = set()  # trials that the running session may give up
        self._live: dict[int, int] = {}  # trials with a worker -> the last epoch of this attempt; 0 before the first

    def see(self, event: Event) -> Iterator[str]:
        """Say what is wrong with `event`, and take it in."""
        match event:
            case SessionStarted():
                self._suspects = self._deaths.suspects(self._spec.failures.retries)
                self._live = {}
            case AttemptStarted() | EpochReported() | AttemptFailed() | TrialFailed():
                trial = self._trials.get(event.trial)
                if trial is None:
                    yield f"a {event.kind!r} event of trial {event.trial}, which was never suggested"
                elif trial.ended:
                    yield f"a {event.kind!r} event of trial {event.trial}, which had ended ({trial.state})"
                else:
                    yield from self._of_trial(event, trial)
            case _:
                pass
        self._spec = current_spec(self._spec, [event])
        self._deaths.apply(event)

    def _of_trial(self, event: OfAttempt, trial: Trial) -> Iterator[str]:
        match event:
            case AttemptStarted():
                yield from self._started(event, trial)
            case EpochReported():
                yield from self._unlike_running(event, trial)
                yield from self._reported(event, trial)
            case AttemptFailed():
                yield from self._unlike_running(event, trial)
                self._live.pop(trial.number, None)
            case TrialFailed():
                hopeless = trial.unfit or trial.number in self._suspects
                if trial.failures <= self._spec.failures.retries and not hopeless:
                    yield (
                        f"trial {trial.number} was given up after {trial.failures} failures in a row; "
                        f"{self._spec.failures.retries} retries were allowed"
                    )
                self._live.pop(trial.number, None)

    def _started(self, event: AttemptStarted, trial: Trial) -> Iterator[str]:
        if trial.number in self._live:
            yield f"trial {trial.number} is begun while its attempt {trial.attempt} runs"
        if trial.state == "paused":
            yield f"trial {trial.number} is begun, which paused and was not promoted"
        if event.attempt != trial.attempt + 1:
            yield f"attempt {event.attempt} of trial {trial.number} follows attempt {trial.attempt}"
        if event.from_epoch != trial.epoch:
            yield (
                f"attempt {event.attempt} of trial {trial.number} goes on from epoch {event.from_epoch}; "
                f"the last reported is {trial.epoch}"
            )
        self._live[trial.number] = 0

    def _unlike_running(self, event: EpochReported | AttemptFailed, trial: Trial) -> Iterator[str]:
        if trial.number not in self._live:
            yield f"a {event.kind!r} event of trial {trial.number}, of which no attempt was running"
        elif event.attempt != trial.attempt:
            yield (
                f"a {event.kind!r} event of attempt {event.attempt} of trial {trial.number}, "
                f"while attempt {trial.attempt} was running"
            )

    def _reported(self, event: EpochReported, trial: Trial) -> Iterator[str]:
        """An attempt may begin at an older checkpoint than the newest epoch, and goes on from there epoch by epoch."""
        before = self._live.get(trial.number, 0)
        if before and event.epoch != before + 1:
            yield f"trial {trial.number} reports epoch {event.epoch} after epoch {before}"
        elif not 1 <= event.epoch <= trial.epoch + 1:
            yield f"trial {trial.number} reports epoch {event.epoch}; the last was {trial.epoch}"
        if event.action == "continue":
            self._live[trial.number] = event.epoch
        else:
            self._live.pop(trial.number, None)
