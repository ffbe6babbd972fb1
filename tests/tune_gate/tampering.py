"""Every kind of tampering with the log of a finished study, and what an audit says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from analysis.events import (
    AttemptFailed,
    AttemptStarted,
    BudgetExtended,
    EpochReported,
    Event,
    SessionEnded,
    SessionStarted,
    TrialSuggested,
)

Tampering = Callable[[list[Event]], list[Event]]


def first(events: list[Event], fits: Callable[[Event], bool]) -> int:
    return next(index for index, event in enumerate(events) if fits(event))


def is_report(event: Event, **wanted: Any) -> bool:
    return isinstance(event, EpochReported) and all(getattr(event, name) == value for name, value in wanted.items())


def at_rung(event: Event) -> bool:
    return isinstance(event, EpochReported) and event.rung is not None and event.rung.peers > 3


def changed(fits: Callable[[Event], bool], **changes: Any) -> Tampering:
    def tamper(events: list[Event]) -> list[Event]:
        index = first(events, fits)
        event: Any = events[index]
        values = {name: value(event) if callable(value) else value for name, value in changes.items()}
        return [*events[:index], replace(event, **values), *events[index + 1 :]]

    return tamper


def without(fits: Callable[[Event], bool]) -> Tampering:
    def tamper(events: list[Event]) -> list[Event]:
        index = first(events, fits)
        return events[:index] + events[index + 1 :]

    return tamper


def doubled(fits: Callable[[Event], bool]) -> Tampering:
    def tamper(events: list[Event]) -> list[Event]:
        index = first(events, fits)
        return events[: index + 1] + events[index:]

    return tamper


def after_end(make: Callable[[EpochReported], Event]) -> Tampering:
    def tamper(events: list[Event]) -> list[Event]:
        index = first(events, lambda event: is_report(event, action="stop"))
        report = events[index]
        assert isinstance(report, EpochReported)
        return [*events[: index + 1], make(report), *events[index + 1 :]]

    return tamper


def suggestion_of(number: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, TrialSuggested) and event.trial == number


def drawn_by_tpe(event: Event) -> bool:
    return isinstance(event, TrialSuggested) and event.source == "tpe"


def is_a(*kinds: type[Event]) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, kinds)


def continues(event: Event) -> bool:
    return is_report(event, action="continue", rung=None)


TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    "a metric at a rung": (
        changed(at_rung, metrics=lambda e: {**e.metrics, "val_acc": 0.5}),
        "the scheduler gives rung",
    ),
    "a metric that says diverged": (
        changed(continues, metrics=lambda e: {**e.metrics, "diverged": 1.0}),
        "the scheduler decides 'diverge'",
    ),
    "a missing metric": (changed(at_rung, metrics={"diverged": 0.0}), "makes no sense .KeyError"),
    "an action": (changed(lambda e: is_report(e, action="stop"), action="continue"), "the scheduler decides 'stop'"),
    "an early end": (changed(continues, action="complete"), "'complete' was decided"),
    "a cutoff": (changed(at_rung, rung=lambda e: replace(e.rung, cutoff=0.123)), "cutoff 0.123"),
    "a rank": (changed(at_rung, rung=lambda e: replace(e.rung, rank=e.rung.rank + 1)), "the scheduler gives rung"),
    "an unknown rung": (changed(at_rung, rung=lambda e: replace(e.rung, milestone=7)), "rung 7"),
    "a rung left out": (changed(at_rung, rung=None), "no rung was recorded"),
    "a removed report": (without(continues), "reports epoch"),
    "a removed suggestion": (without(suggestion_of(5)), "trial 5, which was never suggested"),
    "a removed attempt": (without(is_a(AttemptStarted)), "of which no attempt was running"),
    "a removed session": (without(is_a(SessionStarted)), "outside of any session"),
    "a doubled trial": (doubled(suggestion_of(4)), "trial 4 is suggested a second time"),
    "a doubled report": (doubled(continues), "reports epoch"),
    "a doubled attempt": (doubled(is_a(AttemptStarted)), "is begun while its attempt 1 runs"),
    "a doubled session": (doubled(is_a(SessionStarted)), "session 1 begins after session 1"),
    "settings of a given point": (changed(suggestion_of(1), settings=lambda e: {**e.settings, "lr": 0.05}), "lr 0.05"),
    "settings drawn by TPE": (changed(drawn_by_tpe, settings=lambda e: {**e.settings, "lr": 0.05}), "lr 0.05"),
    "settings outside of the space": (
        changed(suggestion_of(5), settings=lambda e: {**e.settings, "lr": "x"}),
        "cannot take in",
    ),
    "a source": (changed(drawn_by_tpe, source="random"), "its suggestion comes from 'tpe'"),
    "a seed": (changed(suggestion_of(3), seed=1), "trial 3 has seed 1"),
    "a trial's number": (changed(suggestion_of(6), trial=60), "trial 60 follows trial 5"),
    "an attempt's number": (changed(is_a(AttemptStarted), attempt=3), "attempt 3 of trial 1 follows attempt 0"),
    "where an attempt begins": (changed(is_a(AttemptStarted), from_epoch=2), "goes on from epoch 2"),
    "a report's attempt": (changed(continues, attempt=9), "while attempt 1 was running"),
    "an epoch": (changed(lambda e: is_report(e, epoch=2), epoch=3), "reports epoch 3"),
    "a report after the end": (after_end(lambda e: replace(e, epoch=e.epoch + 1)), "which had ended .stopped"),
    "an attempt after the end": (after_end(lambda e: AttemptStarted(0.0, e.trial, 2, e.epoch)), "which had ended"),
    "a failure after the end": (after_end(lambda e: AttemptFailed(0.0, e.trial, 1, "lost", "")), "which had ended"),
    "a trial that was not asked for": (
        lambda events: [*events[:-1], TrialSuggested(0.0, 13, {}, 1, "random"), events[-1]],
        "more than the 12 asked for",
    ),
    "a study that ended too early": (
        lambda events: [*events[: len(events) // 2], events[-1]],
        "ended as 'finished' with",
    ),
    "a session's end": (changed(is_a(SessionEnded), session=8), "session 8 ends, which was not running"),
    "a reason to end": (
        lambda events: [*events[:-1], replace(events[-1], reason="interrupted")],
        "'interrupted' with 12",
    ),
    "a smaller budget": (lambda events: [*events, BudgetExtended(0.0, 3, 9, (1, 3))], "the budget shrinks"),
    "other rungs": (lambda events: [*events, BudgetExtended(0.0, 12, 27, (2, 9))], "old ones must stay"),
}
