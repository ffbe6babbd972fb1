"""The fold of the log that finds the trials which take their driver with them."""

from __future__ import annotations

from analysis.events import AttemptStarted, EpochReported, Event, SessionEnded, SessionStarted


class DeathsFold:
    """Counts drivers that died one after another without a single epoch between them.

    An epoch of any trial clears all suspicion: the drivers then died of something else, or of a trial that gets on.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self._open = False  # a session began and has not ended
        self._begun: set[int] = set()  # trials begun in the open session
        self._always: set[int] = set()  # trials begun in every session of the row

    def apply(self, event: Event) -> None:
        """Take one event of the log in."""
        match event:
            case SessionStarted():
                if self._open:
                    self._died()
                self._open, self._begun = True, set()
            case AttemptStarted():
                self._begun.add(event.trial)
            case EpochReported():
                self.in_a_row = 0
                self._always = set()
                self._begun.discard(event.trial)
            case SessionEnded():
                self._open = False
            case _:
                pass

    def suspects(self, retries: int) -> set[int]:
        """The trials that were with a worker at each of more than `retries` deaths, the last session's included."""
        if not self._open:
            return set()
        deaths = self.in_a_row + 1
        always = self._always & self._begun if self.in_a_row else self._begun
        if deaths <= retries:
            return set()
        return set(always)

    def _died(self) -> None:
        self._always = self._always & self._begun if self.in_a_row else set(self._begun)
        self.in_a_row += 1
