"""The attempts of a study's trials, and its sessions: who held processors, from when to when."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import pandas as pd

from analysis.events import AttemptFailed, AttemptStarted, BudgetExtended, SessionEnded, SessionStarted
from analysis.probes import probe_seconds
from analysis.report_lines import METRIC_PREFIX

if TYPE_CHECKING:
    from analysis.study import Study

#: Actions after which the trial still holds its processors.
_HOLDING = frozenset({"continue"})


@dataclass(slots=True)
class Session:
    """A driver's hold on the study; one that was killed, or still runs, ends with its last event."""

    begin: float  # Unix seconds
    end: float
    ended: bool = False  # in good order


@dataclass(slots=True)
class Attempt:
    """A trial's hold on its processors. `held` is the sum of the five parts after it."""

    trial: int
    attempt: int
    session: int = 0  # counted from 1; 0 where the log tells of none
    begin: float = 0.0  # Unix seconds
    end: float = 0.0
    held: float = 0.0  # seconds; so the rest
    standing: float = 0.0  # training and validation of epochs that stand
    replaced: float = 0.0  # of epochs that were trained again
    probes: float = 0.0  # of cool-downs before a rung's judgement
    lost: float = 0.0  # after the last report of an attempt that failed or died
    overhead: float = 0.0  # what is left: start, saving, waiting


def study_sessions(study: Study) -> list[Session]:
    """The sessions, in the order of the log."""
    sessions, _ = _scan(study)
    return sessions


def attempts_frame(study: Study) -> pd.DataFrame:
    """One row per trial and attempt, sorted by both; the columns are the fields of `Attempt`.

    Where clocks say less than the epochs took (a study from elsewhere), `held` is what the epochs took.
    """
    sessions, marks = _scan(study.whole or study)  # all trials tell how long a session lasted
    said = _reported(study)
    rows = []
    for trial, number in sorted({*marks, *said}):
        if trial not in study.columns.trials:
            continue
        mark, words = marks.get((trial, number), _Marks()), said.get((trial, number))
        rows.append(_attempt(Attempt(trial, number), mark, words, sessions))
    names = [part.name for part in fields(Attempt)]
    return pd.DataFrame([asdict(row) for row in rows], columns=names)


@dataclass(slots=True)
class _Marks:
    """What the log says of an attempt beside its reports."""

    session: int = 0
    started: float | None = None
    failed: float | None = None


@dataclass(frozen=True, slots=True)
class _Words:
    """What an attempt's reports say: seconds, and Unix seconds of the first report's begin and of the last."""

    standing: float
    replaced: float
    probes: float
    first: float
    last: float
    holding: bool  # after the last report


def _attempt(attempt: Attempt, marks: _Marks, words: _Words | None, sessions: list[Session]) -> Attempt:
    session = sessions[marks.session - 1] if marks.session else None
    begin = marks.started if marks.started is not None else (words.first if words else 0.0)
    last = max(begin, words.last) if words else begin
    end, died = last, False
    if words is None or words.holding:
        if marks.failed is not None:
            end, died = marks.failed, True
        elif session is not None:
            end, died = session.end, not session.ended and session is not sessions[-1]
    attempt.session, attempt.begin, attempt.end = marks.session, begin, max(last, end)
    if words is not None:
        attempt.standing, attempt.replaced, attempt.probes = words.standing, words.replaced, words.probes
    attempt.lost = attempt.end - last if died else 0.0
    spent = attempt.standing + attempt.replaced + attempt.probes + attempt.lost
    attempt.held = max(spent, attempt.end - attempt.begin)
    attempt.overhead = attempt.held - spent
    return attempt


def _scan(study: Study) -> tuple[list[Session], dict[tuple[int, int], _Marks]]:
    """The sessions, and the marks of every attempt, by trial and attempt."""
    sessions, marks = list[Session](), dict[tuple[int, int], _Marks]()
    begins = []
    for offset, event in study.columns.others:
        match event:
            case SessionStarted():
                sessions.append(Session(event.time, event.time))
                begins.append(offset)
            case AttemptStarted():
                marks[event.trial, event.attempt] = _Marks(len(sessions), event.time)
            case AttemptFailed():
                marks.setdefault((event.trial, event.attempt), _Marks(len(sessions))).failed = event.time
            case SessionEnded() if sessions:
                sessions[-1].ended = True
            case _:
                pass
        if sessions and not isinstance(event, BudgetExtended):  # which is written between sessions
            sessions[-1].end = max(sessions[-1].end, event.time)
    reports = study.columns.all_reports
    places = pd.cut(reports["offset"], [*begins, float("inf")], labels=False) if begins else reports["offset"].iloc[:0]
    for place, time in reports["time"].groupby(places).max().items():
        sessions[int(str(place))].end = max(sessions[int(str(place))].end, float(time))
    return sessions, marks


def _reported(study: Study) -> dict[tuple[int, int], _Words]:
    columns, name = study.columns, METRIC_PREFIX + "seconds"
    reports = columns.all_reports
    if reports.empty:
        return {}
    spent = reports[name].fillna(0.0) if name in reports else pd.Series(0.0, index=reports.index)
    probes = probe_seconds(reports)
    replaced = spent.where(reports["offset"].isin(columns.replaced["offset"]), 0.0)
    table = pd.DataFrame(
        {
            "standing": spent - replaced,
            "replaced": replaced,
            "probes": probes,
            "first": reports["time"] - spent - probes,
            "last": reports["time"],
            "holding": reports["action"].isin(_HOLDING),
        }
    ).groupby([reports["trial"], reports["attempt"]], sort=False)
    sums, ends = ("standing", "replaced", "probes"), {"first": "first", "last": "last", "holding": "last"}
    rows = table.agg({**dict.fromkeys(sums, "sum"), **ends})
    words = zip(*(rows[column].tolist() for column in rows.columns), strict=True)
    return {key: _Words(*row) for key, row in zip(rows.index.tolist(), words, strict=True)}
