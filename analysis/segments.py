"""A study's log in an object store: immutable segments that together are the log's bytes.

An object cannot be appended to, so each flush of the driver is an object of its own, named by the bytes of the log that
it holds and by who wrote it: `log/START-END-TERM-TOKEN.jsonl`. Whoever takes a study over has a term one higher than
the driver before. So what a driver writes that was thought dead is never mistaken for the log: its segments begin where
those of a newer term do, and the newer term counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from analysis.errors import StoreError
from analysis.objects import ObjectStore

FOLDER = "log"

#: Objects that are read at the same time.
READERS = 16

#: A segment that is listed and then gone was compacted in between; the listing is taken again so many times.
_LISTINGS = 5

_NAME = re.compile(rf"{FOLDER}/(\d{{15}})-(\d{{15}})-(\d{{6}})-([0-9a-f]+)\.jsonl")


@dataclass(frozen=True, slots=True, order=True)
class Writer:
    """Who wrote a segment."""

    term: int  # one more for each driver
    token: str  # of two drivers that took the same term at the same moment: random, hexadecimal


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the log: whole lines."""

    start: int  # bytes
    end: int
    writer: Writer

    @property
    def key(self) -> str:
        """Its object."""
        return f"{FOLDER}/{self.start:015d}-{self.end:015d}-{self.writer.term:06d}-{self.writer.token}.jsonl"


def segment_of(key: str) -> Segment | None:
    """The segment that an object's name tells of; None for any other object."""
    found = _NAME.fullmatch(key)
    if found is None:
        return None
    return Segment(int(found[1]), int(found[2]), Writer(int(found[3]), found[4]))


def list_segments(store: ObjectStore) -> list[Segment]:
    """Every segment in the store, also those that no longer count."""
    return [segment for entry in store.objects(FOLDER) if (segment := segment_of(entry.key)) is not None]


def chain(segments: Iterable[Segment]) -> list[Segment]:
    """The segments that are the log, in order: each begins where the one before ends, and no writer is older than it.

    Of several ways through the segments, that counts which comes to the newest writer and then furthest; on it, at each
    place, the newest writer, and of its segments the longest, which is the others compacted.
    """
    by_start: defaultdict[int, list[_Step]] = defaultdict(list)
    for segment in sorted(segments, key=lambda segment: segment.start, reverse=True):
        if segment.end > segment.start:
            onward = _best(by_start[segment.end], segment.writer)
            reach = onward.reach if onward is not None else (segment.writer, segment.end)
            by_start[segment.start].append(_Step(segment, reach))
    found: list[Segment] = []
    step = _best(by_start[0], Writer(0, ""))
    while step is not None:
        found.append(step.segment)
        step = _best(by_start[step.segment.end], step.segment.writer)
    return found


@dataclass(frozen=True, slots=True)
class _Step:
    segment: Segment
    reach: tuple[Writer, int]  # the last writer that one comes to from here, and how far


def _best(steps: Iterable[_Step], after: Writer) -> _Step | None:
    """The step to take after a segment of the writer `after`."""
    allowed = (step for step in steps if step.segment.writer >= after)
    return max(allowed, key=lambda step: (step.reach, step.segment.writer, step.segment.end), default=None)


def read_segments(store: ObjectStore, known: Sequence[Segment] = (), data: bytes = b"") -> tuple[list[Segment], bytes]:
    """The log as it stands: its segments and its bytes. What `known` and its `data` hold already is not read again.

    Raises:
        StoreError: the store cannot be read, or a segment has not the length that its name tells.
    """
    for _ in range(_LISTINGS):
        segments = chain(list_segments(store))
        same = segments[: len(known)] == list(known)
        start = len(known) if same else 0
        with ThreadPoolExecutor(READERS) as pool:
            parts = list(pool.map(lambda segment: store.read(segment.key), segments[start:]))
        whole = [part for part in parts if part is not None]
        if len(whole) < len(parts):
            continue  # compacted between the listing and the reading
        for segment, part in zip(segments[start:], whole, strict=True):
            if len(part) != segment.end - segment.start:
                raise StoreError(f"{store.url.within(segment.key)} is damaged: it has {len(part)} bytes; restore it")
        return segments, b"".join([data if same else b"", *whole])
    raise StoreError(f"segments of the log in {store.url} are listed and cannot be read; try again")
