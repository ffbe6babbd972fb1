"""ASHA in its promotion form: a trial pauses at each rung, and the best of those that pause go on.

Asynchronous successive halving as Li et al. give it ("A System for Massively Parallel Hyperparameter Tuning", 2020,
algorithm 2). Where the stopping form judges a trial once, against those that came before it, this one judges it anew
whenever a worker is free: a trial that came early among good ones is not lost, and one that came early among bad ones
does not go on for want of peers. A paused trial holds a checkpoint and no worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from analysis.events import BudgetExtended, EpochReported, Event, RungEntry, TrialFailed, TrialPromoted, TrialRetired
from tune_gate.pausing_rung import PausingRung
from tune_gate.schedulers import FLOOR, Decision, HalvingSettings, RungCount, foreign_rung, own_end, rung_value


@dataclass(slots=True)
class _Rung(PausingRung):
    reduction_factor: int = field(kw_only=True)

    def judged(self, trial: int, value: float) -> RungEntry:
        """Where `trial` would stand here with `value`: the best 1/eta of those that came go on."""
        return self.standing(trial, value, (len(self.ranked) + 1) // self.reduction_factor)

    def deserving(self) -> int | None:
        """The best trial that is paused here although it is among the best 1/eta of those that came."""
        promoted = len(self.ranked) // self.reduction_factor
        if not promoted or not self.paused or self.paused[0] > self.ranked[promoted - 1]:
            return None
        return self.paused[0][1]


class PromotingHalving:
    """ASHA, promotion form."""

    def __init__(self, settings: HalvingSettings) -> None:
        self._settings = settings
        self._epochs = settings.epochs
        self._rungs = {milestone: self._rung(milestone) for milestone in settings.milestones}
        self._completed = False

    def decide(self, trial: int, epoch: int, metrics: Mapping[str, float]) -> Decision:
        """The decision on a report that is not in the log yet; changes nothing.

        A trial that would be promoted at once goes on without a pause. One that came here before (it was restarted
        from an earlier checkpoint) is where it was: paused, or past this rung.
        """
        end = own_end(self._settings.metric, metrics, epoch, self._epochs)
        if end is not None:
            return end
        rung = self._rungs.get(epoch)
        if rung is None:
            return Decision("continue")
        if trial in rung.entries:
            return Decision("pause" if rung.has_paused(trial) else "continue", rung.entries[trial])
        standing = rung.judged(trial, rung_value(metrics, self._settings.rung_metric))
        return Decision("continue" if standing.rank <= standing.survivors else "pause", standing)

    def apply(self, event: Event) -> None:
        """Take one event of the log in. A trial that diverged counts at the next rung with the floor value."""
        match event:
            case BudgetExtended():
                self._epochs = event.epochs
                for milestone in event.rungs:
                    self._rungs.setdefault(milestone, self._rung(milestone))
            case EpochReported(action="diverge"):
                self._diverge(event)
            case EpochReported(rung=RungEntry() as entry):
                self._judge(event, entry)
            case EpochReported(action="complete"):
                self._completed = True
            case TrialRetired():
                for rung in self._rungs.values():
                    rung.retire(event.trial)
            case TrialPromoted() | TrialFailed():
                for rung in self._rungs.values():
                    rung.release(event.trial)
            case _:
                pass

    def promotion(self) -> int | None:
        """The paused trial that goes on before a new one begins, of the highest rung first; None: none deserves it."""
        return next((trial for rung in self._downwards() if (trial := rung.deserving()) is not None), None)

    def last_promotion(self) -> int | None:
        """The paused trial that goes on when there is nothing else to do: a search ends with one trial trained to the
        end, be it so small that no rung has seen eta values.
        """
        if self._completed:
            return None
        return next((trial for rung in self._downwards() if (trial := rung.best_paused()) is not None), None)

    def counts(self) -> list[RungCount]:
        """What each rung has seen so far, ascending; those that pause are stopped once the search has ended."""
        return [rung.count() for rung in self._rungs.values()]

    def _rung(self, milestone: int) -> _Rung:
        return _Rung(milestone, reduction_factor=self._settings.reduction_factor)

    def _downwards(self) -> Iterator[_Rung]:
        return reversed(self._rungs.values())

    def _diverge(self, event: EpochReported) -> None:
        rung = next((rung for rung in self._rungs.values() if rung.milestone >= event.epoch), None)
        if rung is not None and event.trial not in rung.entries:
            rung.add(event.trial, rung.judged(event.trial, FLOOR))

    def _judge(self, event: EpochReported, entry: RungEntry) -> None:
        rung = self._rungs.get(entry.milestone)
        if rung is None:
            raise foreign_rung(event.trial, entry.milestone, self._rungs)
        if event.trial in rung.entries:
            return
        rung.add(event.trial, entry)
        if event.action == "pause":
            rung.pause(event.trial)
