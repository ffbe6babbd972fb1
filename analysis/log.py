"""Reading a study's log: append-only JSON lines, of which only the last can be torn."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import LogCorrupt, SchemaUnknown
from analysis.event_records import SCHEMA, event_from_record, event_to_record
from analysis.events import Event, SessionStarted

LOG_FILE = Path("log") / "events.jsonl"


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far a log has been read: a reader that follows the log goes on from here."""

    offset: int = 0  # bytes, after the last complete line
    line: int = 0


def header_line() -> bytes:
    """The first line of every log."""
    return json.dumps({"event": "log", "schema": SCHEMA}).encode() + b"\n"


def event_line(event: Event) -> bytes:
    """The line of an event."""
    return json.dumps(event_to_record(event), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def read_log(path: Path) -> list[Event]:
    """All events of the log at `path`; a torn last line is left out. An absent file is an empty log.

    Raises:
        LogCorrupt: a complete line is no event.
        SchemaUnknown: the log was written by a version that this one does not know.
    """
    events, _ = read_log_from(path, LogPosition())
    return events


def read_log_from(path: Path, position: LogPosition) -> tuple[list[Event], LogPosition]:
    """The complete events after `position`, and the position after them. Raises as `read_log`."""
    try:
        with path.open("rb") as file:
            file.seek(position.offset)
            data = file.read()
    except FileNotFoundError:
        return [], position
    complete = data.rfind(b"\n") + 1
    events = [event for _, event in decode_lines(path, data[:complete], position)]
    lines = data.count(b"\n", 0, complete)
    return events, LogPosition(position.offset + complete, position.line + lines)


def opening_events(path: Path) -> Iterator[Event]:
    """The events before the first session: what the study was given on its way. Reads no further.

    Raises as `read_log`.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        position = LogPosition()
        for line in file:
            if not line.endswith(b"\n"):
                return
            for _, event in decode_lines(path, line, position):
                if isinstance(event, SessionStarted):
                    return
                yield event
            position = LogPosition(position.offset + len(line), position.line + 1)


def decode_lines(path: Path, data: bytes, position: LogPosition) -> Iterator[tuple[int, Event]]:
    """The events in `data`, which holds complete lines only, each with its byte offset in the file."""
    offset = position.offset
    for number, line in enumerate(data.splitlines(keepends=True), start=position.line):
        record = _record(path, offset, line)
        if number == 0:
            _check_header(path, record)
        else:
            event = _event(path, offset, record)
            if event is not None:
                yield offset, event
        offset += len(line)


def _record(path: Path, offset: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        raise LogCorrupt(path, offset, "the line is not JSON") from None
    if not isinstance(record, dict):
        raise LogCorrupt(path, offset, "the line is not a JSON object")
    return record


def _check_header(path: Path, record: dict[str, Any]) -> None:
    if record.get("event") != "log":
        raise LogCorrupt(path, 0, "the first line is not the header of a tune-gate log")
    if record.get("schema") != SCHEMA:
        raise SchemaUnknown(
            f"the log {path} has schema version {record.get('schema')!r} and this tune-gate reads version {SCHEMA}; "
            "use the version that wrote it"
        )


def _event(path: Path, offset: int, record: dict[str, Any]) -> Event | None:
    try:
        event = event_from_record(record)
    except (KeyError, TypeError, AttributeError):
        raise LogCorrupt(path, offset, f"the line is no {record.get('event', 'event')!r} event") from None
    if event is None:
        warnings.warn(
            f"the log {path} has an event {record['event']!r} at byte {offset} that this version does not know; "
            "it is skipped",
            stacklevel=2,
        )
    return event
