"""What is left of a log of which lines cannot be read: the events that still make sense, and what they lack."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.errors import LogCorrupt
from analysis.events import Event, SessionStarted, TrialFailed, TrialSuggested
from analysis.log import LogPosition, decode_lines, event_line
from analysis.trials import TrialsFold
from tune_gate.audits import sampling_changes
from tune_gate.deaths import DeathsFold
from tune_gate.recorder import Fold
from tune_gate.samplers import Sampler, build_sampler
from tune_gate.schedulers import build_scheduler
from tune_gate.spec import StudySpec

#: Byte offsets or trials that one message names, at most.
_NAMED = 20

#: A suggestion's line cannot be longer than that of the same suggestion drawn again, but for the digits of its time.
_TIME_DIGITS = 24


@dataclass(frozen=True, slots=True)
class Line:
    """A whole line of a log that may be damaged."""

    offset: int  # bytes
    data: bytes
    event: Event | None = None  # None: damaged, or an event that this version does not know
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Mended:
    """A log that can be read again, and what became of the old one's lines."""

    lines: tuple[Line, ...]
    unreadable: tuple[int, ...]  # offsets of lines that were passed over
    senseless: tuple[int, ...]  # offsets of events that make no sense without those
    redrawn: tuple[int, ...]  # trials whose lost suggestion was drawn again, the same
    given_up: tuple[int, ...]  # trials whose settings are lost

    @property
    def whole(self) -> bool:
        """Whether there was nothing to mend."""
        return not (self.unreadable or self.senseless or self.redrawn or self.given_up)

    def __str__(self) -> str:
        """In one line, for the log and the screen."""
        parts = []
        if self.unreadable:
            parts.append(f"{_count(self.unreadable, 'unreadable line')} passed over, at byte {_few(self.unreadable)}")
        if self.senseless:
            parts.append(f"{_count(self.senseless, 'event')} without sense left out, at byte {_few(self.senseless)}")
        if self.redrawn:
            parts.append(f"the lost suggestion of trial {_few(self.redrawn)} drawn again from the log before it")
        if self.given_up:
            parts.append(f"trial {_few(self.given_up)} given up, since its settings are lost")
        return "; ".join(parts)


def read_lines(path: Path) -> list[Line]:
    """The whole lines of the log at `path` but for its header; a torn last line is left out, as readers do.

    Raises:
        SchemaUnknown: the log was written by a version that this one does not know.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    found, offset = [], 0
    for number, text in enumerate(data.split(b"\n")[:-1]):
        line = _line(path, number, offset, text + b"\n")
        if line is not None:
            found.append(line)
        offset += len(text) + 1
    return found


def mend(spec: StudySpec, lines: Sequence[Line]) -> Mended:
    """The log of a study of `spec` without the damaged ones of `lines`, such that every fold can take it in. Pure.

    A lost suggestion leaves a gap in the trials' numbers, into which the search would put another trial. Where it is
    all that was lost, the sampler gives it again from the log before it. Else nobody knows the trial's settings:
    its place is kept by a trial that failed, and its results, which belong to no settings, are left out.
    """
    unreadable = tuple(line.offset for line in lines if line.damaged)
    refused: set[int] = set()
    while True:  # a fold that refused an event may be the worse for it, so all begin again without that event
        mending = _Mending(spec, lines, refused)
        mending.run()
        if mending.refused == refused:
            break
        refused = mending.refused
    left_out = tuple(sorted({*refused, *mending.senseless}))
    return Mended(tuple(mending.kept), unreadable, left_out, tuple(mending.redrawn), tuple(mending.lost))


class _Mending:
    """One pass over the lines."""

    def __init__(self, spec: StudySpec, lines: Sequence[Line], refused: Iterable[int]) -> None:
        self._spec = spec
        self._lines = lines
        self._suggested = {line.event.trial for line in lines if isinstance(line.event, TrialSuggested)}
        self._mentioned = {trial for line in lines if (trial := _trial_of(line)) is not None}
        self._redrawable = sum(line.damaged for line in lines) == 1 and not any(
            any(sampling_changes(line.event)) for line in lines if isinstance(line.event, SessionStarted)
        )
        self._trials = TrialsFold()
        self._sampler: Sampler = build_sampler(spec)
        self._folds: list[Fold] = [self._trials, self._sampler, build_scheduler(spec), DeathsFold()]
        self._time = 0.0  # of the last event
        self.kept: list[Line] = []
        self.refused = set(refused)  # offsets of events that a fold cannot take in
        self.senseless: list[int] = []  # offsets of events of no trial, or of one that is lost
        self.redrawn: list[int] = []
        self.lost: list[int] = []

    def run(self) -> None:
        """Go through the lines."""
        for line in self._lines:
            if line.damaged:
                self._damaged(line)
            elif line.event is None:
                self.kept.append(line)  # of a later version, and not ours to drop
            elif line.offset not in self.refused:
                self._event(line, line.event)

    @property
    def _next(self) -> int:
        return len(self._trials.trials) + 1

    def _damaged(self, line: Line) -> None:
        """Where the lost line was a suggestion, which the gap in the numbers tells, put it there again."""
        missing = self._next not in self._suggested and max(self._mentioned, default=0) >= self._next
        if not missing or not self._redrawable:
            return
        suggestion = self._suggestion()
        if len(line.data) <= len(event_line(suggestion)) + _TIME_DIGITS:  # else there was more in it than this
            self._keep(line.offset, suggestion)
            self.redrawn.append(suggestion.trial)

    def _event(self, line: Line, event: Event) -> None:
        trial = _trial_of(line)
        if isinstance(event, TrialSuggested):
            self._fill(event.trial - 1, line.offset)
            sensible = event.trial == self._next
        elif trial is not None:
            self._fill(trial, line.offset)
            sensible = trial in self._trials.trials and trial not in self.lost
        else:
            sensible = True
        if not sensible:
            self.senseless.append(line.offset)
        elif not self._taken(event):
            self.refused.add(line.offset)
        else:
            self._time = event.time
            self.kept.append(line)

    def _fill(self, up_to: int, offset: int) -> None:
        """Keep the places of trials whose suggestions are lost. No number is larger than the log has lines: it is wrong
        in a way that left the line readable.
        """
        while self._next <= up_to <= len(self._lines):
            suggestion = self._suggestion()
            self.lost.append(suggestion.trial)
            self._keep(offset, suggestion)
            self._keep(
                offset, TrialFailed(self._time, suggestion.trial, "the line of the log with its settings is lost")
            )

    def _suggestion(self) -> TrialSuggested:
        suggestion = self._sampler.suggest(self._next)
        settings = json.loads(json.dumps(suggestion.settings))
        seed = suggestion.seed_of(self._next, self._spec.seed)
        return TrialSuggested(self._time, self._next, settings, seed, suggestion.source)

    def _keep(self, offset: int, event: Event) -> None:
        for fold in self._folds:
            fold.apply(event)
        self.kept.append(Line(offset, event_line(event), event))

    def _taken(self, event: Event) -> bool:
        try:
            for fold in self._folds:
                fold.apply(event)
        except Exception:  # noqa: BLE001  a search could not go on from a log that a fold refuses, whatever the reason
            return False
        return True


def _line(path: Path, number: int, offset: int, data: bytes) -> Line | None:
    """The line of that number, from 0; None for a header. A damaged header is replaced, so it is damage."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an event of a later version is kept, so nobody need know
            events = [event for _, event in decode_lines(path, data, LogPosition(offset, number))]
    except LogCorrupt:
        return Line(offset, data, damaged=True)
    return None if number == 0 else Line(offset, data, events[0] if events else None)


def _trial_of(line: Line) -> int | None:
    """The trial that a line's event is about, where it is one that only a suggested trial can have."""
    if line.event is None or line.event.kind == "warned":
        return None
    return getattr(line.event, "trial", None)


def _count(numbers: Sequence[int], what: str) -> str:
    return f"{len(numbers)} {what}" + ("" if len(numbers) == 1 else "s")


def _few(numbers: Sequence[int]) -> str:
    more = len(numbers) - _NAMED
    return ", ".join(map(str, numbers[:_NAMED])) + (f" and {more} more" if more > 0 else "")
