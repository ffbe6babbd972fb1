"""What a search is expected to train: from its rungs before it begins, and from where its trials are later."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from analysis.trials import Trial
from tune_gate.budget import Budget
from tune_gate.schedulers import survivors_of
from tune_gate.sections import SchedulerSettings

#: Random orders of arrival over which a number of promotions is averaged.
_ORDERS = 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """How many trials train from one rung to the next."""

    from_epoch: int  # exclusive
    to_epoch: int  # inclusive
    trials: float  # expected
    probe: float = 0.0  # epochs of each trial's cool-downs in it

    @property
    def length(self) -> int:
        """Epochs of one trial, without its probes."""
        return self.to_epoch - self.from_epoch

    @property
    def epochs(self) -> float:
        """Epochs that these trials train in this stretch, together, their probes included."""
        return self.trials * (self.length + self.probe)


def stretches(scheduler: SchedulerSettings, budget: Budget) -> list[Stretch]:
    """The stretches between rungs, with the trials expected on each.

    A share 1/eta of the trials passes a rung, if they arrive in random order; asynchronous halving lets early arrivals
    pass more easily, so a short search passes somewhat more.
    """
    survivors = _expected_promotions if scheduler.kind == "promotion" else _expected_survivors
    probed = scheduler.probed(budget.rungs)
    share = 0.0 if scheduler.probe is None else scheduler.probe.share
    found = []
    trials, start = float(budget.trials), 0
    for milestone in (*budget.rungs, budget.epochs):
        probes = sum(epoch for epoch in probed if start < epoch <= milestone)
        found.append(Stretch(start, milestone, trials, share * probes))
        trials, start = survivors(round(trials), scheduler.reduction_factor), milestone
    return found


def epochs_left(expected: Sequence[Stretch], trials: Collection[Trial], wanted: int) -> float:
    """How many epochs are expected to come, of the `wanted` trials of which `trials` have begun.

    A trial that runs goes on to the end of its stretch. Into each stretch come as many more as are expected and have
    not come yet, if there are so many that may: those that pause, and those further down.
    """
    left = 0.0
    candidates = wanted - len(trials)  # that may yet come into this stretch
    for stretch in expected:
        here = [trial for trial in trials if _stretch_begun(trial, stretch)]
        left += sum(
            stretch.to_epoch - max(trial.epoch, stretch.from_epoch) for trial in here if _goes_on(trial, stretch)
        )
        candidates += sum(trial.state == "paused" and trial.epoch == stretch.from_epoch for trial in trials)
        left += stretch.length * min(max(0.0, stretch.trials - len(here)), candidates)
        candidates += sum(_goes_on(trial, stretch) for trial in here)
    return left


def _stretch_begun(trial: Trial, stretch: Stretch) -> bool:
    if trial.epoch == stretch.from_epoch > 0:
        return trial.state in ("running", "waiting")
    return trial.epoch >= stretch.from_epoch


def _goes_on(trial: Trial, stretch: Stretch) -> bool:
    return trial.state in ("running", "waiting") and trial.epoch < stretch.to_epoch


@cache
def _expected_survivors(trials: int, reduction_factor: int) -> float:
    """Of `trials` that arrive in random order, how many pass: the n-th with the share of survivors among n."""
    return sum(survivors_of(n, reduction_factor) / n for n in range(1, trials + 1))


@cache
def _expected_promotions(trials: int, reduction_factor: int) -> float:
    """Of `trials` that arrive in random order, how many are promoted: those that are among the best 1/eta of the
    arrived at some time, the mean over random orders; and at least one, which a search trains on at its end.
    """
    orders = (random.Random(order).sample(range(trials), trials) for order in range(_ORDERS))  # noqa: S311
    return max(1.0, sum(_promotions(ranks, reduction_factor) for ranks in orders) / _ORDERS)


def _promotions(ranks: Iterable[int], reduction_factor: int) -> int:
    """How many of those that arrive with these ranks (0 is the best) are ever among the best 1/eta of the arrived.

    With each arrival at most two come into the best: the one that arrives, and the one that is the last of them when
    there is room for one more.
    """
    arrived: list[int] = []
    promoted: set[int] = set()
    for rank in ranks:
        place = bisect_left(arrived, rank)
        arrived.insert(place, rank)
        room = len(arrived) // reduction_factor
        if place < room:
            promoted.add(rank)
        if room:
            promoted.add(arrived[room - 1])
    return len(promoted)
