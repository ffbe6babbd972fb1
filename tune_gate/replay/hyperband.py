"""Hyperband with synchronous brackets (Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter
Optimization", JMLR 18, 2018, algorithm 1), as a fold of the log.

Its brackets trade many trials judged early against few judged late. With s_max rungs below the end, bracket s (s_max,
…, 1, 0, then s_max again) begins with n = ceil((s_max + 1) / (s + 1) · eta^s) trials, and has its first rung s + 1
stations from the end; of the n trials, the best floor(n / eta) go on from the first rung, the best floor(n / eta²) from
the second, and so on. All wait at a rung until the last of their bracket has come. Trials join brackets in the order
of their numbers. Where all of the brackets begun wait, the next one begins, so no worker idles for want of a trial; a
bracket that the end of a search leaves short of trials judges nobody any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from analysis.events import BudgetExtended, EpochReported, Event, RungEntry, TrialFailed, TrialPromoted, TrialRetired
from tune_gate.pausing_rung import PausingRung
from tune_gate.schedulers import FLOOR, Decision, RungCount, foreign_rung, own_end


def bracket_sizes(rungs: int, reduction_factor: int) -> tuple[int, ...]:
    """With how many trials the brackets begin, that of the earliest rung first; the last has none and never stops one.

    >>> bracket_sizes(4, 3)  # R = 81, eta = 3
    (81, 34, 15, 8, 5)
    """
    return tuple(
        -(-(rungs + 1) * reduction_factor**stages // (stages + 1))  # upwards
        for stages in range(rungs, -1, -1)
    )


@dataclass(slots=True)
class _Bracket:
    """A bracket: its rungs, ascending, and who goes on from those that are full."""

    size: int  # trials that begin
    reduction_factor: int
    rungs: list[PausingRung]
    passing: list[list[int]] = field(default_factory=list)  # by rung that is full, the best first
    diverged: set[int] = field(default_factory=set)
    withdrawn: set[int] = field(default_factory=set)  # they failed, or never go on

    def rung_at(self, milestone: int) -> PausingRung | None:
        return next((rung for rung in self.rungs if rung.milestone == milestone), None)

    def survivors(self, place: int) -> int:
        """How many go on from the rung at `place`; at least one, should rungs be added to a bracket that was planned
        without them.
        """
        parts: int = self.reduction_factor ** (place + 1)
        return max(1, self.size // parts)

    def would_fill(self, rung: PausingRung, trial: int) -> bool:
        """Whether `trial` is the last that `rung` waits for."""
        place = self.rungs.index(rung)
        return place == len(self.passing) and self._is_full(place, {trial})

    def settle(self) -> None:
        """Find who goes on from rungs that became full."""
        while len(self.passing) < len(self.rungs) and self._is_full(len(self.passing), set()):
            rung = self.rungs[len(self.passing)]
            best = rung.ranked[: self.survivors(len(self.passing))]
            self.passing.append([trial for _, trial in best if trial not in self.diverged])

    def deserving(self) -> int | None:
        """The best paused trial that goes on, of the highest rung first."""
        for rung, passing in zip(reversed(self.rungs[: len(self.passing)]), reversed(self.passing), strict=True):
            for trial in passing:
                if rung.has_paused(trial):
                    return trial
        return None

    def _is_full(self, place: int, coming: set[int]) -> bool:
        here = self.rungs[place].entries.keys() | self.withdrawn | coming
        return len(here) >= self.size if place == 0 else here.issuperset(self.passing[place - 1])


class Hyperband:
    """Hyperband, synchronous within a bracket."""

    def __init__(self, metric: str, epochs: int, milestones: tuple[int, ...], reduction_factor: int) -> None:
        self._metric = metric
        self._epochs = epochs
        self._milestones = milestones
        self._reduction_factor = reduction_factor
        self._sizes = bracket_sizes(len(milestones), reduction_factor)
        self._ends = tuple(accumulate(self._sizes))  # the last trial of each bracket of the first round
        self._brackets: dict[int, _Bracket] = {}  # by their order, from 0; those that a trial has reported in
        self._completed = False

    def decide(self, trial: int, epoch: int, metrics: Mapping[str, float]) -> Decision:
        """The decision on a report that is not in the log yet; changes nothing.

        The last of a bracket to come to a rung goes on without a pause where it is among the best. A trial that came
        here before (it was restarted from an earlier checkpoint) is where it was: paused, or past this rung.
        """
        end = own_end(self._metric, metrics, epoch, self._epochs)
        if end is not None:
            return end
        bracket = self._bracket(trial)
        rung = bracket.rung_at(epoch)
        if rung is None:
            return Decision("continue")
        if trial in rung.entries:
            return Decision("pause" if rung.has_paused(trial) else "continue", rung.entries[trial])
        filled = bracket.would_fill(rung, trial)
        survivors = bracket.survivors(bracket.rungs.index(rung)) if filled else 0
        standing = rung.standing(trial, metrics[self._metric], survivors)
        return Decision("continue" if standing.rank <= survivors else "pause", standing)

    def apply(self, event: Event) -> None:
        """Take one event of the log in. A trial that diverged counts at its bracket's next rung with the floor value;
        one that failed counts nowhere, and nobody waits for it.
        """
        match event:
            case BudgetExtended():
                self._extend(event)
            case EpochReported():
                bracket = self._begun(event.trial)
                if event.action == "diverge":
                    _diverge(bracket, event)
                elif event.rung is not None:
                    self._judge(bracket, event, event.rung)
                self._completed |= event.action == "complete"
                bracket.settle()
            case TrialPromoted():
                for rung in self._begun(event.trial).rungs:
                    rung.release(event.trial)
            case TrialFailed() | TrialRetired():
                bracket = self._begun(event.trial)
                for rung in bracket.rungs:
                    rung.release(event.trial)
                bracket.withdrawn.add(event.trial)
                bracket.settle()
            case _:
                pass

    def promotion(self) -> int | None:
        """The paused trial that goes on before a new one begins, of the earliest bracket first."""
        return next((trial for bracket in self._in_order() if (trial := bracket.deserving()) is not None), None)

    def last_promotion(self) -> int | None:
        """The paused trial that goes on when there is nothing else to do: a search ends with one trial trained to the
        end, be it so small that no bracket was full.
        """
        if self._completed:
            return None
        waiting = [rung for bracket in self._in_order() for rung in bracket.rungs if rung.paused]
        return max(waiting, key=lambda rung: rung.milestone).best_paused() if waiting else None

    def counts(self) -> list[RungCount]:
        """What each rung has seen so far, all brackets together, ascending; those that pause count as stopped."""
        parts: dict[int, list[RungCount]] = {milestone: [] for milestone in self._milestones}
        for bracket in self._brackets.values():
            for rung in bracket.rungs:
                parts[rung.milestone].append(rung.count())
        return [
            RungCount(
                milestone,
                sum(count.reached for count in counts),
                sum(count.stopped for count in counts),
                max((count.best for count in counts if count.best is not None), default=None),
                sum(count.paused for count in counts),
            )
            for milestone, counts in parts.items()
        ]

    def _begun(self, trial: int) -> _Bracket:
        """The bracket of `trial`, kept from now on."""
        return self._brackets.setdefault(self._place(trial), self._bracket(trial))

    def _bracket(self, trial: int) -> _Bracket:
        place = self._place(trial)
        if place in self._brackets:
            return self._brackets[place]
        skipped = place % len(self._sizes)
        rungs = [PausingRung(milestone) for milestone in self._milestones[skipped:]]
        return _Bracket(self._sizes[skipped], self._reduction_factor, rungs)

    def _place(self, trial: int) -> int:
        """Which bracket `trial` is in, counted from 0."""
        rounds, number = divmod(trial - 1, self._ends[-1])
        return rounds * len(self._ends) + next(place for place, end in enumerate(self._ends) if number < end)

    def _in_order(self) -> Iterator[_Bracket]:
        return (self._brackets[place] for place in sorted(self._brackets))

    def _extend(self, event: BudgetExtended) -> None:
        """Every bracket gets the rungs above; their sizes stay as they were planned."""
        self._epochs = event.epochs
        added = [milestone for milestone in event.rungs if milestone not in self._milestones]
        self._milestones += tuple(added)
        for bracket in self._brackets.values():
            bracket.rungs += [PausingRung(milestone) for milestone in added]

    def _judge(self, bracket: _Bracket, event: EpochReported, entry: RungEntry) -> None:
        rung = bracket.rung_at(entry.milestone)
        if rung is None:
            raise foreign_rung(event.trial, entry.milestone, (rung.milestone for rung in bracket.rungs))
        if event.trial in rung.entries:
            return
        rung.add(event.trial, entry)
        if event.action == "pause":
            rung.pause(event.trial)


def _diverge(bracket: _Bracket, event: EpochReported) -> None:
    rung = next((rung for rung in bracket.rungs if rung.milestone >= event.epoch), None)
    if rung is not None and event.trial not in rung.entries:
        bracket.diverged.add(event.trial)
        rung.add(event.trial, rung.standing(event.trial, FLOOR, 0))
