"""Writing a study's log: one writer, whole lines, written before a decision is acted on."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from analysis.events import AttemptStarted, EpochReported, Event, TrialSuggested
from analysis.log import LOG_FILE, event_line, header_line, read_log
from tune_gate.errors import LogWriteError
from tune_gate.log_mirror import open_mirror

#: What does not end a trial's run may wait this long for the disk, so that many share one flush. It survives the
#: death of the process at once; only a power cut can take it. The log is then that of a second before, and nothing was
#: deleted that it still counts on (`settle` comes first): the same is done again. What ends a run never waits.
SYNC_SECONDS = 1.0


class Fold(Protocol):
    """Anything that takes in the log, event by event."""

    def apply(self, event: Event) -> None:
        """Take one event in."""


class Journal(Protocol):
    """Where the search writes its events: the study's log, or memory."""

    events: list[Event]  # those that were there before

    def append(self, event: Event) -> None:
        """Keep `event`, and then let the folds see it."""

    def settle(self) -> None:
        """Return when the events are safe from a power cut."""

    def retire(self, keys: Iterable[str]) -> None:
        """Delete objects of the study's store that the events so far make superfluous, once these are safe."""

    def close(self) -> None:
        """Let go."""


class Recorder:
    """Appends events to a study's log and hands each to the folds, so that they always equal the log.

    Raises:
        LogWriteError: the log cannot be written; what could not be written whole is not in it.
        LogCorrupt, SchemaUnknown: the log cannot be read.
    """

    def __init__(self, study: Path, folds: Iterable[Fold] = ()) -> None:
        self._path = study / LOG_FILE
        self._folds = list(folds)
        self._synced = time.monotonic()
        self._settled = True  # everything that was written is on the disk
        self.events = read_log(self._path)
        for event in self.events:
            self._fold(event)
        self._file = self._open()
        try:
            self._mirror = open_mirror(study)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, event: Event) -> None:
        """Write `event`, make it last, and only then let the folds see it.

        What the disk took and the study's store did not is in the log, and the folds of the next session see it.
        """
        line = event_line(event)
        start = os.lseek(self._file, 0, os.SEEK_CUR)
        try:
            _write_whole(self._file, line)
            self._settled = False
            if not self._may_wait(event):
                self._sync()
        except OSError as error:  # whole or not at all: network file systems say only here that there is no room
            os.ftruncate(self._file, start)
            os.lseek(self._file, start, os.SEEK_SET)
            raise self._failure(error) from error
        if not _is_plain(event):
            self._mirror.flush()
        self._fold(event)

    def retire(self, keys: Iterable[str]) -> None:
        """Delete objects of the study's store that the log so far makes superfluous, once it is in the store."""
        self._mirror.retire(keys)

    def settle(self) -> None:
        """Return when everything written is on the disk."""
        if self._settled:
            return
        try:
            self._sync()
        except OSError as error:
            raise self._failure(error) from error

    def sync(self) -> None:
        """Return when everything written is on the disk, and in the study's store."""
        self._settled = False  # what was cut off after a failure, too
        self.settle()
        self._mirror.flush()

    def close(self) -> None:
        """Make the log last and let go of it; twice is once."""
        if self._file < 0:
            return
        try:
            self.sync()
            self._mirror.close()
        finally:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sync(self) -> None:
        os.fdatasync(self._file)
        self._synced = time.monotonic()
        self._settled = True

    def _fold(self, event: Event) -> None:
        for fold in self._folds:
            fold.apply(event)

    def _may_wait(self, event: Event) -> bool:
        begins = isinstance(event, TrialSuggested | AttemptStarted)
        return (begins or _is_plain(event)) and time.monotonic() - self._synced < SYNC_SECONDS

    def _open(self) -> int:
        """The log's descriptor, at the end of the last whole line: a torn tail is cut off before the next append."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._failure(error) from error
        try:
            whole = _after_last_newline(file)
            os.ftruncate(file, whole)
            os.lseek(file, whole, os.SEEK_SET)
            if whole == 0:
                _write_whole(file, header_line())
            os.fdatasync(file)
        except OSError as error:
            os.close(file)
            raise self._failure(error) from error
        return file

    def _failure(self, error: OSError) -> LogWriteError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return LogWriteError(f"no room left for the log {self._path}; make room, then resume: nothing is lost")
        return LogWriteError(f"cannot write the log {self._path}: {error.strerror}; nothing recorded is lost")


def _is_plain(event: Event) -> bool:
    """Whether `event` is a report after which its trial simply goes on."""
    return isinstance(event, EpochReported) and event.action == "continue"


def _write_whole(file: int, line: bytes) -> None:
    written = 0
    while written < len(line):  # a disk that is filling up takes a part
        written += os.write(file, line[written:])


def _after_last_newline(file: int) -> int:
    """The offset after the last newline in `file`, searched from its end; 0 where there is none."""
    end = os.lseek(file, 0, os.SEEK_END)
    block = 1 << 16
    while end > 0:
        start = max(0, end - block)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
