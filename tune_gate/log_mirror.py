"""Keeping a study's log in its object store up to the one that the driver writes here."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from analysis.copies import origin_of
from analysis.errors import StoreError
from analysis.holders import read_claim
from analysis.log import LOG_FILE
from analysis.objects import ObjectStore, open_store
from analysis.segments import Segment, Writer, chain, list_segments
from tune_gate.errors import LogWriteError
from tune_gate.patience import patiently
from tune_gate.study_dir import STOP_REQUEST

#: What a crash of the machine can lose at most: reports after which their trials simply went on.
FLUSH_SECONDS = 2.0

#: How often a driver looks whether the study is still its own, and whether it was asked to stop.
LOOK_SECONDS = 5.0

#: So many small segments at the log's end are put into one; a segment of this size is small no more.
COMPACT_SEGMENTS = 64
SMALL_BYTES = 1_000_000


class Mirror(Protocol):
    """Where a log goes besides the disk of this machine."""

    def flush(self) -> None:
        """Return when everything written is safe. Raises `LogWriteError` where it is not."""

    def retire(self, keys: Iterable[str]) -> None:
        """Delete objects that what was written so far makes superfluous, once it is safe."""

    def close(self) -> None:
        """Flush, and let go; twice is once."""


class NoMirror:
    """The mirror of a study that lies on this machine, or on a file system that it shares."""

    def flush(self) -> None:
        """Nothing: what is on the disk is safe."""

    def retire(self, keys: Iterable[str]) -> None:
        """Nothing: there are no objects."""

    def close(self) -> None:
        """Nothing."""


class LogMirror:
    """Writes the whole lines of a log to a store, in segments; the caller holds the study.

    A flush comes every `FLUSH_SECONDS`, and at once where it is asked for. Once it failed, no further one is tried: the
    store may have what it did not acknowledge, and the next driver begins from what is there.
    """

    def __init__(self, store: ObjectStore, log: Path, writer: Writer) -> None:
        self._store = store
        self._log = log
        self._writer = writer
        self._segments: list[Segment] = chain(list_segments(store))
        self._flushed = self._segments[-1].end if self._segments else 0  # bytes
        self._retired: deque[tuple[int, str]] = deque()  # with the size of the log that makes it superfluous
        self._failure: LogWriteError | None = None
        self._busy = threading.Lock()
        self._stop = threading.Event()
        self._looked = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="log-mirror", daemon=True)
        self.flush()
        self._thread.start()

    def flush(self) -> None:
        """Return when every whole line of the log is in the store.

        Raises:
            LogWriteError: the store was away for too long, or another driver took the study over.
        """
        with self._busy:
            if self._failure is not None:
                raise self._failure
            try:
                self._push()
            except LogWriteError as error:
                self._failure = error
                raise

    def retire(self, keys: Iterable[str]) -> None:
        """Delete `keys` after the next flush."""
        size = self._log.stat().st_size
        self._retired.extend((size, key) for key in keys)

    def close(self) -> None:
        """Flush, and end the thread."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        self.flush()
        with contextlib.suppress(StoreError):
            self._delete_retired()

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            with contextlib.suppress(LogWriteError):  # kept for the next flush that someone waits for
                self.flush()
            with contextlib.suppress(StoreError):  # the next flush will tell
                self._look()
                self._delete_retired()
                self._compact()

    def _push(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._flushed)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        if data:
            segment = Segment(self._flushed, self._flushed + len(data), self._writer)
            try:  # it is named by its place: to write it twice is to write it once
                patiently(lambda: self._store.write(segment.key, data), hurry=self._stop.is_set)
            except StoreError as error:
                raise LogWriteError(f"cannot write the log: {error}; then resume: nothing recorded is lost") from error
            self._segments.append(segment)
            self._flushed = segment.end

    def _look(self) -> None:
        """Find out whether the study is still ours, and whether we were asked to stop."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if not self._ours():
            with self._busy:
                self._failure = self._failure or LogWriteError(
                    f"another driver took {self._store.url} over while this one was silent; this search ends"
                )
        if self._store.info(STOP_REQUEST) is not None:
            (self._log.parents[1] / STOP_REQUEST).touch()
            self._store.delete([STOP_REQUEST])

    def _ours(self) -> bool:
        claim = read_claim(self._store)
        if claim is not None and claim.writer != self._writer:
            return False
        written = (segment.writer for segment in list_segments(self._store))
        return all(writer == self._writer or writer.term < self._writer.term for writer in written)

    def _delete_retired(self) -> None:
        while self._retired and self._retired[0][0] <= self._flushed:
            self._store.delete([self._retired[0][1]])
            self._retired.popleft()

    def _compact(self) -> None:
        """Put the small segments at the end into one: a log is read much faster from few objects."""
        small: list[Segment] = []
        for segment in reversed(self._segments):
            if segment.end - segment.start >= SMALL_BYTES:
                break
            small.insert(0, segment)
        if len(small) < COMPACT_SEGMENTS or not self._ours():
            return
        with self._log.open("rb") as file:
            file.seek(small[0].start)
            data = file.read(small[-1].end - small[0].start)
        whole = Segment(small[0].start, small[-1].end, self._writer)
        self._store.write(whole.key, data)
        with self._busy:
            place = self._segments.index(small[0])
            self._segments[place : place + len(small)] = [whole]
        self._store.delete(segment.key for segment in small)


def open_mirror(study: Path) -> Mirror:
    """The mirror of the log of `study`, which this process holds, and which has its log.

    Raises:
        LogWriteError: the store cannot be used, or is held by another.
    """
    origin = origin_of(study)
    if origin is None:
        return NoMirror()
    try:
        store = open_store(origin)
        claim = read_claim(store)
        if claim is None:
            raise LogWriteError(f"the lock of {origin} is gone; nothing recorded is lost: resume")
        return LogMirror(store, study / LOG_FILE, claim.writer)
    except StoreError as error:
        raise LogWriteError(f"cannot write the log: {error}; then resume: nothing recorded is lost") from error
