"""A rung at which trials pause, and from which some of them go on: of the schedulers that promote."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from analysis.events import RungEntry
from tune_gate.schedulers import RungCount, cutoff_with


@dataclass(slots=True)
class PausingRung:
    """The trials that reached a milestone, the best first. The first value of a trial stands."""

    milestone: int
    ranked: list[tuple[float, int]] = field(default_factory=list)  # (-value, trial), ascending; of equals, the earlier
    entries: dict[int, RungEntry] = field(default_factory=dict)  # by trial: its standing when it came
    paused: list[tuple[float, int]] = field(default_factory=list)  # those of `ranked` that pause
    retired: set[int] = field(default_factory=set)  # those that paused and never go on

    def standing(self, trial: int, value: float, survivors: int) -> RungEntry:
        """Where `trial` would stand here with `value`, were so many to go on; of equal values, the earlier trial's is
        better. Where none goes on, the cutoff is the best value.
        """
        place = bisect_left(self.ranked, (-value, trial))
        cutoff = cutoff_with(value, max(survivors, 1), len(self.ranked), lambda best: -self.ranked[best - 1][0])
        return RungEntry(self.milestone, value, cutoff, place + 1, len(self.ranked) + 1, survivors)

    def add(self, trial: int, entry: RungEntry) -> None:
        """`trial` came here."""
        insort(self.ranked, (-entry.value, trial))
        self.entries[trial] = entry

    def pause(self, trial: int) -> None:
        """`trial`, which came here, pauses."""
        insort(self.paused, (-self.entries[trial].value, trial))

    def release(self, trial: int) -> None:
        """`trial` does not pause here, or no longer."""
        if trial in self.entries and self.has_paused(trial):
            del self.paused[self._place(trial)]

    def retire(self, trial: int) -> None:
        """`trial`, if it pauses here, never goes on."""
        if trial in self.entries and self.has_paused(trial):
            self.retired.add(trial)
            self.release(trial)

    def has_paused(self, trial: int) -> bool:
        """Whether `trial`, which came here, pauses."""
        place = self._place(trial)
        return place < len(self.paused) and self.paused[place][1] == trial

    def best_paused(self) -> int | None:
        """The best trial that pauses here."""
        return self.paused[0][1] if self.paused else None

    def count(self) -> RungCount:
        """What it has seen so far."""
        best = -self.ranked[0][0] if self.ranked else None
        return RungCount(self.milestone, len(self.entries), len(self.retired), best, len(self.paused))

    def _place(self, trial: int) -> int:
        return bisect_left(self.paused, (-self.entries[trial].value, trial))
