"""The rules of a log, each a fold that says of every event whether it may follow those before it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from analysis.events import (
    PROBE_VALUE,
    BudgetExtended,
    CodeAccepted,
    EpochReported,
    Event,
    ResourcesChosen,
    RungEntry,
    SessionEnded,
    SessionStarted,
    SpecChanged,
    TrialInherited,
    TrialPromoted,
    TrialRetired,
    TrialSuggested,
    Warned,
)
from analysis.trials import Trial
from tune_gate.budget import Budget, current_budget
from tune_gate.probing import lacks_probe
from tune_gate.samplers import build_sampler
from tune_gate.schedulers import Decision, build_scheduler
from tune_gate.spec import StudySpec
from tune_gate.study_dir import versions

#: What can change the draws of a sampler.
_SAMPLING = ("optuna", "numpy", "python")

#: The trials before the event that is looked at; another fold moves them on.
Trials = Mapping[int, Trial]


class Audit(Protocol):
    """One rule."""

    name: str  # in words, for an event that the rule cannot make sense of

    def see(self, event: Event) -> Iterator[str]:
        """Say what is wrong with `event` after the events seen so far, and take it in."""


class SessionAudit:
    """Sessions are counted from 1; each event of a trial lies in one; how one ended agrees with the trials."""

    name = "sessions"

    def __init__(self, spec: StudySpec, trials: Trials) -> None:
        self._trials = trials
        self._budget = current_budget(spec, ())
        self._confirms = spec.confirm is not None
        self._last = 0
        self._open = False

    def see(self, event: Event) -> Iterator[str]:
        """Say what is wrong with `event`, and take it in."""
        match event:
            case SessionStarted():
                if event.session != self._last + 1:
                    yield f"session {event.session} begins after session {self._last}"
                self._last, self._open = event.session, True
            case SessionEnded():
                yield from self._end(event)
                self._open = False
            case BudgetExtended():
                self._budget = _extended(event)
            case TrialInherited():
                if self._last:
                    yield f"trial {event.source_trial} of {event.study} is inherited after session {self._last} began"
            case Warned() | SpecChanged() | ResourcesChosen() | CodeAccepted():
                pass
            case _ if not self._open:
                yield f"a {event.kind!r} event of trial {event.trial} outside of any session"
                self._open = True  # said once
            case _:
                pass

    def _end(self, event: SessionEnded) -> Iterator[str]:
        if not self._open or event.session != self._last:
            yield f"session {event.session} ends, which was not running"
        ended = sum(trial.ended for trial in self._trials.values())
        finished = len(self._trials) >= self._budget.trials and ended == len(self._trials)
        if self._confirms and finished:
            finished = not any(t.state == "completed" and t.measured is None for t in self._trials.values())
        if event.reason == ("interrupted" if finished else "finished"):
            yield (
                f"session {event.session} ended as {event.reason!r} with {ended} trials ended of "
                f"{len(self._trials)} begun and {self._budget.trials} asked for"
            )


class BudgetAudit:
    """A budget only grows, and rungs that were judged at stay."""

    name = "the budget"

    def __init__(self, spec: StudySpec, trials: Trials) -> None:  # noqa: ARG002  the signature of every audit
        self._budget = current_budget(spec, ())

    def see(self, event: Event) -> Iterator[str]:
        """Say what is wrong with `event`, and take it in."""
        if not isinstance(event, BudgetExtended):
            return
        old, self._budget = self._budget, _extended(event)
        if event.trials < old.trials or event.epochs < old.epochs:
            yield (
                f"the budget shrinks from {old.trials} trials of {old.epochs} epochs "
                f"to {event.trials} of {event.epochs}"
            )
        if event.rungs[: len(old.rungs)] != old.rungs:
            yield f"the rungs {_listed(old.rungs)} become {_listed(event.rungs)}; old ones must stay"


class SuggestionAudit:
    """Trials are numbered without gaps, no more of them than asked for, each as the sampler gives it there."""

    name = "suggestions"

    def __init__(self, spec: StudySpec, trials: Trials) -> None:
        self._spec = spec
        self._trials = trials
        self._budget = current_budget(spec, ())
        self._sampler = build_sampler(spec)
        self._last = 0
        self._lost = False  # the sampler could not follow the log

    def see(self, event: Event) -> Iterator[str]:
        """Say what is wrong with `event`, and take it in."""
        if isinstance(event, BudgetExtended):
            self._budget = _extended(event)
        if isinstance(event, TrialSuggested):
            yield from self._suggestion(event)
        if self._lost:
            return
        try:
            self._sampler.apply(event)
        except Exception as error:  # noqa: BLE001  what Optuna says to settings that are outside of the space is its own
            self._lost = True
            yield (
                f"the sampler cannot take in this {event.kind!r} event ({type(error).__name__}: {error}); "
                "suggestions after it were not compared"
            )

    def _suggestion(self, event: TrialSuggested) -> Iterator[str]:
        if event.trial in self._trials:
            yield f"trial {event.trial} is suggested a second time"
            return
        if event.trial != self._last + 1:
            yield f"trial {event.trial} follows trial {self._last}"
        self._last = event.trial
        if event.trial > self._budget.trials:
            yield f"trial {event.trial} is more than the {self._budget.trials} asked for"
        wanted = self._sampler.suggest(event.trial)
        seed = wanted.seed_of(event.trial, self._spec.seed)
        if event.seed != seed:
            yield f"trial {event.trial} has seed {event.seed}; the study's seed gives {seed}"
        if self._lost:
            return
        settings = json.loads(json.dumps(wanted.settings))
        if dict(event.settings) != settings:
            yield f"trial {event.trial} was suggested with {_differing(event.settings, settings)}"
        elif event.source != wanted.source:
            yield f"trial {event.trial} has source {event.source!r}; its suggestion comes from {wanted.source!r}"


class DecisionAudit:
    """Each decision, and the standing at a rung that it rests on, is the scheduler's; so is who goes on after a
    pause.
    """

    name = "decisions"

    def __init__(self, spec: StudySpec, trials: Trials) -> None:
        self._trials = trials
        self._spec = spec
        self._budget = current_budget(spec, ())
        self._scheduler = build_scheduler(spec)

    def see(self, event: Event) -> Iterator[str]:
        """Say what is wrong with `event`, and take it in."""
        if isinstance(event, EpochReported):
            yield from self._judged(event)
        elif isinstance(event, TrialPromoted | TrialRetired):
            yield from self._after_pause(event)
        elif isinstance(event, TrialSuggested):
            promoted = self._scheduler.promotion()
            if promoted is not None:
                yield f"trial {event.trial} was begun; the scheduler lets paused trial {promoted} go on first"
        elif isinstance(event, BudgetExtended):
            self._budget = _extended(event)
        self._scheduler.apply(event)

    def _judged(self, event: EpochReported) -> Iterator[str]:
        probed = self._spec.scheduler.probed(self._budget.rungs)
        if lacks_probe(probed, event.epoch, event.metrics, self._spec.metric):
            yield f"trial {event.trial}, epoch {event.epoch}: there is no {PROBE_VALUE!r}, which the rung here compares"
        else:
            yield from _unlike(event, self._scheduler.decide(event.trial, event.epoch, event.metrics))

    def _after_pause(self, event: TrialPromoted | TrialRetired) -> Iterator[str]:
        trial = self._trials.get(event.trial)
        if trial is None or trial.state != "paused":
            yield f"a {event.kind!r} event of trial {event.trial}, which was not paused"
            return
        if event.milestone != trial.epoch:
            yield f"trial {event.trial} paused at epoch {trial.epoch}, not at {event.milestone}"
        wanted = self._scheduler.promotion()
        if wanted is None and self._nothing_else_to_do():
            wanted = self._scheduler.last_promotion()
        elif wanted is None and isinstance(event, TrialRetired):
            yield f"trial {event.trial} is retired while others run or wait to begin"
        granted = event.trial if isinstance(event, TrialPromoted) else None
        if granted != wanted:
            yield f"{_going_on(granted)} after a pause; the scheduler has it that {_going_on(wanted)}"

    def _nothing_else_to_do(self) -> bool:
        busy = any(trial.state in ("running", "waiting") for trial in self._trials.values())
        return not busy and len(self._trials) >= self._budget.trials


def sampling_changes(event: SessionStarted) -> Iterator[tuple[str, str, str]]:
    """What may make a session's suggestions differ from those drawn here: name, version there, version here."""
    here = versions()
    for name in _SAMPLING:
        there = event.versions.get(name)
        if there is not None and there != here.get(name, "none"):
            yield name, there, here.get(name, "none")


def _extended(event: BudgetExtended) -> Budget:
    return Budget(event.trials, event.epochs, event.rungs)


def _unlike(event: EpochReported, decision: Decision) -> Iterator[str]:
    where = f"trial {event.trial}, epoch {event.epoch}"
    # A search that is stopping lets a trial rest that would have gone on.
    action = "continue" if event.action == "interrupt" else event.action
    if action != decision.action:
        yield f"{where}: {event.action!r} was decided; the scheduler decides {decision.action!r}"
    if event.rung != decision.rung:
        yield f"{where}: {_rung_text(event.rung)} was recorded; the scheduler gives {_rung_text(decision.rung)}"


def _going_on(trial: int | None) -> str:
    return "nobody goes on" if trial is None else f"trial {trial} goes on"


def _rung_text(rung: RungEntry | None) -> str:
    if rung is None:
        return "no rung"
    return (
        f"rung {rung.milestone} with value {rung.value!r}, cutoff {rung.cutoff!r}, rank {rung.rank} of {rung.peers}, "
        f"{rung.survivors} going on"
    )


def _differing(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {recorded.get(name)!r} (the sampler gives {wanted.get(name)!r})"
        for name in [*wanted, *(name for name in recorded if name not in wanted)]
        if (name in recorded) != (name in wanted) or recorded.get(name) != wanted.get(name)
    ]
    return ", ".join(parts)


def _listed(rungs: tuple[int, ...]) -> str:
    return ", ".join(map(str, rungs)) or "none"
