"""The median stopping rule (Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section
3.1.2), as a fold of the log.

A trial stops at epoch s if its best value by s is strictly below the median of the running averages, over the epochs
up to s, of all trials that have ended and were reported up to s. A trial that was stopped at s or later has ended, too;
one that stopped before s was not reported up to s. A trial that diverged counts with the floor value from there on; one
that failed does not count.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping

from analysis.events import Action, BudgetExtended, EpochReported, Event, RungEntry
from tune_gate.schedulers import FLOOR, Decision, RungCount, foreign_rung, own_end

#: So many trials must have been reported up to an epoch before one is stopped there. Vizier's authors name no number;
#: Ray's form of the rule has three.
FEWEST = 3


class MedianStopping:
    """The median stopping rule; `milestones` are the epochs at which trials are judged."""

    def __init__(self, metric: str, epochs: int, milestones: tuple[int, ...]) -> None:
        self._metric = metric
        self._epochs = epochs
        self._curves: dict[int, dict[int, float]] = {}  # trial -> epoch -> value; the first of an epoch stands
        self._averages: dict[int, list[float]] = {at: [] for at in milestones}  # of trials that have ended, ascending
        self._bests: dict[int, tuple[int, float]] = {}  # trial -> its last epoch, and the best value by then
        self._decided: dict[int, dict[int, tuple[Action, RungEntry]]] = {at: {} for at in milestones}  # by trial
        self._averaged: dict[int, int] = {}  # trial -> the last epoch at which its average is in
        self._diverged: dict[int, int] = {}  # trial -> epoch

    def decide(self, trial: int, epoch: int, metrics: Mapping[str, float]) -> Decision:
        """The decision on a report that is not in the log yet; changes nothing. A trial that was judged at this epoch
        before (it was restarted from an earlier checkpoint) is not judged anew.
        """
        end = own_end(self._metric, metrics, epoch, self._epochs)
        if end is not None:
            return end
        decided = self._decided.get(epoch)
        if decided is None:
            return Decision("continue")
        if trial in decided:
            return Decision(*decided[trial])
        standing = self._standing(trial, epoch, metrics[self._metric])
        return Decision("continue" if standing.rank <= standing.survivors else "stop", standing)

    def apply(self, event: Event) -> None:
        """Take one event of the log in."""
        match event:
            case BudgetExtended():
                self._extend(event)
            case EpochReported(action="diverge"):
                self._diverge(event)
            case EpochReported():
                self._see(event.trial, event.epoch, event.metrics[self._metric])
                if event.rung is not None:
                    self._judge(event, event.rung)
                if event.action in ("stop", "complete"):
                    self._average(event.trial)
            case _:
                pass

    def promotion(self) -> int | None:
        """None: nothing ever pauses."""
        return None

    def last_promotion(self) -> int | None:
        """None: nothing ever pauses."""
        return None

    def counts(self) -> list[RungCount]:
        """What was seen at each epoch at which trials are judged, ascending."""
        return [
            RungCount(
                milestone,
                len(decided),
                sum(action == "stop" for action, _ in decided.values()),
                max((entry.value for _, entry in decided.values()), default=None),
            )
            for milestone, decided in self._decided.items()
        ]

    def _standing(self, trial: int, epoch: int, value: float) -> RungEntry:
        """The best value of `trial` by `epoch` among the running averages there: its rank is 1 plus how many of them
        are better, and those go on that are not below their median.
        """
        averages = self._averages[epoch]
        best = max(value, self._best_before(trial, epoch))
        peers = len(averages) + 1
        rank = peers - bisect_right(averages, best)
        if len(averages) < FEWEST:
            return RungEntry(epoch, value, min([best, *averages]), rank, peers, peers)
        half = len(averages) // 2
        median = (averages[half] + averages[-1 - half]) / 2
        survivors = len(averages) - bisect_left(averages, median) + (best >= median)
        return RungEntry(epoch, value, median, rank, peers, survivors)

    def _best_before(self, trial: int, epoch: int) -> float:
        last, best = self._bests.get(trial, (0, -math.inf))
        if epoch > last:
            return best
        return max((value for at, value in self._curves[trial].items() if at < epoch), default=-math.inf)

    def _see(self, trial: int, epoch: int, value: float) -> None:
        curve = self._curves.setdefault(trial, {})
        if epoch not in curve:
            curve[epoch] = value
            last, best = self._bests.get(trial, (0, -math.inf))
            self._bests[trial] = (max(last, epoch), max(best, value))

    def _average(self, trial: int) -> None:
        """Take in the running averages of `trial`, which has ended, where they are not in yet."""
        total = 0.0
        for seen, (epoch, value) in enumerate(sorted(self._curves.get(trial, {}).items()), start=1):
            total += value
            if epoch in self._averages and epoch > self._averaged.get(trial, 0):
                insort(self._averages[epoch], total / seen)
                self._averaged[trial] = epoch

    def _judge(self, event: EpochReported, entry: RungEntry) -> None:
        if entry.milestone not in self._decided:
            raise foreign_rung(event.trial, entry.milestone, self._decided)
        action: Action = "stop" if event.action == "stop" else "continue"
        self._decided[entry.milestone].setdefault(event.trial, (action, entry))

    def _diverge(self, event: EpochReported) -> None:
        if event.trial in self._diverged:
            return
        self._average(event.trial)
        self._diverged[event.trial] = event.epoch
        for milestone, averages in self._averages.items():
            if milestone >= event.epoch:
                insort(averages, FLOOR)

    def _extend(self, event: BudgetExtended) -> None:
        """Trials are judged at the new milestones, too; those that diverged have the floor value there."""
        self._epochs = event.epochs
        for milestone in event.rungs:
            if milestone not in self._averages:
                self._averages[milestone] = [FLOOR] * len(self._diverged)
                self._decided[milestone] = {}
