"""Auditing a study: its log is folded anew, and everything recorded is compared with what the folds give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.copies import local_copy, origin_of
from analysis.events import EpochReported, Event, SessionStarted, TrialSuggested
from analysis.log import LOG_FILE, LogPosition, decode_lines
from analysis.trials import TrialsFold
from tune_gate.attempt_audit import AttemptAudit
from tune_gate.audits import Audit, BudgetAudit, DecisionAudit, SessionAudit, SuggestionAudit, Trials, sampling_changes
from tune_gate.errors import LogUnfit
from tune_gate.lock import current_holder
from tune_gate.measurement_audit import MeasurementAudit
from tune_gate.spec import StudySpec
from tune_gate.storage import fetch_checkpoints
from tune_gate.study_dir import read_spec

#: The rules, in the order in which their findings about one event are told.
AUDITS: tuple[Callable[[StudySpec, Trials], Audit], ...] = (
    SessionAudit,
    BudgetAudit,
    SuggestionAudit,
    AttemptAudit,
    DecisionAudit,
    MeasurementAudit,
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Something recorded that is not as the log and its folds say it must be."""

    line: int | None  # of the log, counted from 1, the header; None: it is not about an event
    message: str

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What an audit found."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]  # what could not be checked, and what is missing but may be
    events: int
    trials: int
    reports: int
    checkpoints: int  # files that were loaded

    @property
    def summary(self) -> str:
        """The closing line."""
        checked = (
            f"checked {self.events:,} events: {self.trials:,} suggestions, {self.reports:,} reports with their "
            f"decisions, {self.checkpoints:,} checkpoints"
        )
        count = len(self.differences)
        found = "nothing differs" if not count else "1 difference" if count == 1 else f"{count:,} differences"
        return f"{checked}; {found}"


def verify_study(study: Path) -> Verification:
    """Audit the study in `study`, a folder or a URL: its log, and the checkpoints it counts on. Changes nothing.

    Raises:
        StudyNotFound, SchemaUnknown, LogCorrupt, AnalysisError: there is no study that can be read.
        SpecError, SpaceError: its specification is not one of this version.
    """
    from tune_gate.verify_checkpoints import verify_checkpoints  # noqa: PLC0415  may import torch

    study = local_copy(origin_of(study) or study)  # never the copy in which a driver may begin to work
    spec = read_spec(study)
    running = current_holder(study)  # asked first: a search that begins now writes after what is read next
    numbered = list(_numbered_events(study / LOG_FILE))
    events = [event for _, event in numbered]
    differences = verify_log(spec, events, [line for line, _ in numbered])
    notes = list(_version_notes(events))
    loaded = 0
    if running is None:
        fetch_checkpoints(study)
        found = verify_checkpoints(spec, study, events)
        differences += [Difference(None, message) for message in found.differences]
        notes += found.notes
        loaded = found.loaded
    else:
        notes.append(f"checkpoints were not checked: {running} is at work on them")
    kinds = Counter(type(event) for event in events)
    return Verification(
        tuple(differences), tuple(notes), len(events), kinds[TrialSuggested], kinds[EpochReported], loaded
    )


def verify_log(spec: StudySpec, events: Sequence[Event], lines: Sequence[int] | None = None) -> list[Difference]:
    """Everything in the log of a study of `spec` that is not as its folds give it, in the log's order. Pure.

    `lines` are the events' lines in the log; without them, every line behind the header is taken for one event.
    """
    folds = TrialsFold()
    audits = [audit(spec, folds.trials) for audit in AUDITS]
    found = []
    for line, event in zip(lines or range(2, len(events) + 2), events, strict=True):
        found += [Difference(line, message) for audit in audits for message in _see(audit, event)]
        folds.apply(event)
    return found


def _see(audit: Audit, event: Event) -> Iterator[str]:
    """What `audit` says of `event`. A log that was tampered with can hold anything, and it must not end the audit."""
    try:
        yield from audit.see(event)
    except LogUnfit as error:
        yield str(error)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        yield f"{audit.name}: this {event.kind!r} event makes no sense ({type(error).__name__}: {error})"


def _numbered_events(path: Path) -> Iterator[tuple[int, Event]]:
    """The events of the log at `path`, each with its line, counted from 1."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    line, counted = 1, 0
    for offset, event in decode_lines(path, data[: data.rfind(b"\n") + 1], LogPosition()):
        line += data.count(b"\n", counted, offset)
        counted = offset
        yield line, event


def _version_notes(events: Iterable[Event]) -> Iterator[str]:
    told = set()
    for event in events:
        if not isinstance(event, SessionStarted):
            continue
        for name, there, here in sampling_changes(event):
            if (name, there) not in told:
                told.add((name, there))
                yield (
                    f"session {event.session} ran with {name} {there}, and this is {here}: suggestions may differ for "
                    "that reason alone"
                )
