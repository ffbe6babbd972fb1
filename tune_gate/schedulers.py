"""Schedulers as folds of the log: who may go on after a report.

A scheduler holds nothing but what the log says, and its decision is a pure function of that; so it is rebuilt exactly
after a crash, replayed in virtual time, and audited.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from analysis.events import Action, BudgetExtended, EpochReported, Event, RungEntry
from tune_gate.errors import LogUnfit
from tune_gate.spec import StudySpec

#: The metric of a trial that diverged: the worst that a validation accuracy can be.
FLOOR = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a trial after a report, and its standing at the rung where the report reached one."""

    action: Action
    rung: RungEntry | None = None


@dataclass(frozen=True, slots=True)
class RungCount:
    """A rung in a line of the display."""

    milestone: int  # epochs
    reached: int  # trials judged here, those that diverged on the way included
    stopped: int  # for good
    best: float | None
    paused: int = 0  # that may go on later


class Scheduler(Protocol):
    """The contract of a scheduler; its conformance suite is tests/tune_gate/test_schedulers.py."""

    def decide(self, trial: int, epoch: int, metrics: Mapping[str, float]) -> Decision:
        """The decision on a report that is not in the log yet; changes nothing."""

    def apply(self, event: Event) -> None:
        """Take one event of the log in.

        Raises:
            LogUnfit: it cannot be of the study that this scheduler was built for.
        """

    def promotion(self) -> int | None:
        """The paused trial that goes on before a new one begins; None: none deserves it now. Changes nothing."""

    def last_promotion(self) -> int | None:
        """The paused trial that goes on when nothing runs and no new trial is left to begin. Changes nothing."""

    def counts(self) -> list[RungCount]:
        """What each rung has seen so far, ascending."""


@dataclass(slots=True)
class _Rung:
    """The values of the trials that reached a milestone. The first value of a trial stands: what it decided is done."""

    milestone: int
    reduction_factor: int
    ascending: list[float] = field(default_factory=list)
    decided: dict[int, tuple[Action, RungEntry]] = field(default_factory=dict)  # by trial

    def add(self, trial: int, action: Action, entry: RungEntry) -> None:
        insort(self.ascending, entry.value)
        self.decided[trial] = (action, entry)

    def standing(self, value: float) -> RungEntry:
        """Where `value` would stand among the values here; equal values share the better rank.

        The best 1/eta go on: asynchronous successive halving (Li et al., "A System for Massively Parallel
        Hyperparameter Tuning", 2020) in its stopping form, where a trial is judged once, against those that came before
        it. Until a rung has seen eta values there is no best 1/eta, and all go on: to stop the second trial because the
        first was luckier by a hair would be to toss a coin.
        """
        peers = len(self.ascending) + 1
        survivors = survivors_of(peers, self.reduction_factor)
        rank = peers - bisect_right(self.ascending, value)
        cutoff = cutoff_with(value, survivors, len(self.ascending), lambda place: self.ascending[-place])
        return RungEntry(self.milestone, value, cutoff, rank, peers, survivors)


def cutoff_with(value: float, survivors: int, count: int, best: Callable[[int], float]) -> float:
    """The `survivors`-th best of `value` and `count` others, whose n-th best (from 1) `best` gives; without sorting
    them, for there may be 100,000.
    """
    worst_kept = best(survivors) if survivors <= count else -math.inf
    above = best(survivors - 1) if survivors > 1 else math.inf
    return max(worst_kept, min(value, above))


def foreign_rung(trial: int, milestone: int, rungs: Iterable[int]) -> LogUnfit:
    """The error of a log that has `trial` judged at a rung that the study has not."""
    return LogUnfit(
        f"the log has trial {trial} judged at rung {milestone}, and the study's rungs are "
        f"{', '.join(map(str, rungs)) or 'none'}; is it the log of another study? `tune-gate verify DIR` tells more"
    )


def rung_value(metrics: Mapping[str, float], name: str) -> float:
    """What a rung compares of a report; of a probe that diverged, the worst there is."""
    return metrics[name] if math.isfinite(metrics[name]) else FLOOR


def survivors_of(peers: int, reduction_factor: int) -> int:
    """How many of so many trials at a rung go on."""
    return peers // reduction_factor or peers


def own_end(metric: str, metrics: Mapping[str, float], epoch: int, epochs: int) -> Decision | None:
    """What a report decides whatever other trials did: that its trial diverged, or has trained all of its `epochs`.

    A metric that is no finite number is a divergence, whether or not the trainable calls it one.
    """
    if metrics["diverged"] or not math.isfinite(metrics[metric]):
        return Decision("diverge")
    return Decision("complete") if epoch >= epochs else None


@dataclass(frozen=True, slots=True)
class HalvingSettings:
    """What both forms of ASHA are built from."""

    metric: str  # maximised
    rung_metric: str  # what the rungs compare: the metric, or that of a probe
    epochs: int  # of a trial that is never stopped
    milestones: tuple[int, ...]  # epochs at which trials are judged, ascending
    reduction_factor: int


def halving_settings(spec: StudySpec) -> HalvingSettings:
    """The settings that `spec` gives."""
    return HalvingSettings(spec.metric, spec.rung_metric, spec.epochs, spec.milestones, spec.scheduler.reduction_factor)


class SuccessiveHalving:
    """ASHA, stopping form. Without rungs, every trial runs to the end."""

    def __init__(self, settings: HalvingSettings) -> None:
        self._settings = settings
        self._epochs = settings.epochs
        self._rungs = {milestone: _Rung(milestone, settings.reduction_factor) for milestone in settings.milestones}

    def decide(self, trial: int, epoch: int, metrics: Mapping[str, float]) -> Decision:
        """The decision on a report that is not in the log yet; changes nothing.

        A trial that was judged at this rung before (it was restarted from an earlier checkpoint) is not judged anew:
        its peers have changed since, and the first decision was acted on.
        """
        end = own_end(self._settings.metric, metrics, epoch, self._epochs)
        if end is not None:
            return end
        rung = self._rungs.get(epoch)
        if rung is None:
            return Decision("continue")
        if trial in rung.decided:
            return Decision(*rung.decided[trial])
        standing = rung.standing(rung_value(metrics, self._settings.rung_metric))
        return Decision("continue" if standing.rank <= standing.survivors else "stop", standing)

    def apply(self, event: Event) -> None:
        """Take one event of the log in.

        A trial that diverged counts at the next rung with the floor value: it is a trial that this rung would have
        seen, and its peers did better.
        """
        if isinstance(event, BudgetExtended):
            self._extend(event)
        if not isinstance(event, EpochReported):
            return
        if event.action == "diverge":
            rung = next((rung for rung in self._rungs.values() if rung.milestone >= event.epoch), None)
            if rung is not None and event.trial not in rung.decided:
                rung.add(event.trial, "diverge", rung.standing(FLOOR))
        elif event.rung is not None:
            rung = self._rung_of(event.trial, event.rung.milestone)
            if event.trial not in rung.decided:
                # A search that was interrupted here has let the trial pass: it goes on when the search does.
                rung.add(event.trial, "stop" if event.action == "stop" else "continue", event.rung)

    def promotion(self) -> int | None:
        """None: nothing ever pauses."""
        return None

    def last_promotion(self) -> int | None:
        """None: nothing ever pauses."""
        return None

    def _rung_of(self, trial: int, milestone: int) -> _Rung:
        try:
            return self._rungs[milestone]
        except KeyError:
            raise foreign_rung(trial, milestone, self._rungs) from None

    def _extend(self, event: BudgetExtended) -> None:
        self._epochs = event.epochs
        for milestone in event.rungs:
            self._rungs.setdefault(milestone, _Rung(milestone, self._settings.reduction_factor))

    def counts(self) -> list[RungCount]:
        """What each rung has seen so far, ascending."""
        return [
            RungCount(
                rung.milestone,
                len(rung.decided),
                sum(action == "stop" for action, _ in rung.decided.values()),
                rung.ascending[-1] if rung.ascending else None,
            )
            for rung in self._rungs.values()
        ]


def _successive_halving(spec: StudySpec) -> Scheduler:
    return SuccessiveHalving(halving_settings(spec))


def _promoting_halving(spec: StudySpec) -> Scheduler:
    from tune_gate.promotion import PromotingHalving  # noqa: PLC0415  it builds on this module

    return PromotingHalving(halving_settings(spec))


#: Builders of schedulers, by the spec's `scheduler.kind`; `full` has no milestones.
SCHEDULERS: Mapping[str, Callable[[StudySpec], Scheduler]] = {
    "asha": _successive_halving,
    "promotion": _promoting_halving,
    "full": _successive_halving,
}


def build_scheduler(spec: StudySpec) -> Scheduler:
    """A scheduler that has seen no event yet."""
    return SCHEDULERS[spec.scheduler.kind](spec)
