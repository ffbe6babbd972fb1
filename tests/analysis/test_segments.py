"""The log in an object store: which segments count, whatever was written by whom."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import StoreError
from analysis.objects import ObjectStore, open_store
from analysis.segments import Segment, Writer, chain, read_segments, segment_of

FIRST, SECOND, THIRD = Writer(1, "aa"), Writer(2, "bb"), Writer(3, "cc")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/study")


def put(store: ObjectStore, segment: Segment, letter: bytes) -> None:
    store.write(segment.key, letter * (segment.end - segment.start))


def test_a_segment_is_known_by_its_name() -> None:
    segment = Segment(120, 4567, Writer(3, "0f1e2d3c"))
    assert segment.key == "log/000000000000120-000000000004567-000003-0f1e2d3c.jsonl"
    assert segment_of(segment.key) == segment
    assert segment_of("log/events.jsonl") is None


def test_segments_join_in_order(store: ObjectStore) -> None:
    parts = [Segment(0, 5, FIRST), Segment(5, 8, FIRST), Segment(8, 9, SECOND)]
    for segment, letter in zip(reversed(parts), (b"c", b"b", b"a"), strict=True):
        put(store, segment, letter)
    assert read_segments(store) == (parts, b"aaaaabbbc")


def test_what_is_known_is_not_read_again(store: ObjectStore) -> None:
    put(store, Segment(0, 5, FIRST), b"a")
    segments, data = read_segments(store)
    put(store, Segment(5, 8, FIRST), b"b")
    put(store, Segment(0, 5, FIRST), b"X")  # nobody writes a segment twice; it shows that it is not read
    assert read_segments(store, segments, data)[1] == b"aaaaabbb"


def test_a_driver_that_was_thought_dead_does_not_count() -> None:
    before = Segment(0, 10, FIRST)
    zombie = [Segment(10, 30, FIRST), Segment(30, 31, FIRST)]
    taken_over = [Segment(10, 17, SECOND), Segment(17, 30, SECOND)]
    assert chain([before, *zombie, *taken_over]) == [before, *taken_over]
    assert chain([before, *zombie]) == [before, *zombie]  # written before anyone else wrote: nothing is lost
    compacted_by_zombie = Segment(0, 31, FIRST)
    assert chain([before, compacted_by_zombie, *taken_over]) == [before, *taken_over]


def test_compacted_segments_count_instead_of_their_parts() -> None:
    parts = [Segment(0, 5, FIRST), Segment(5, 8, FIRST), Segment(8, 9, SECOND)]
    whole, after = Segment(0, 9, SECOND), Segment(9, 12, SECOND)
    assert chain([*parts, whole, after]) == [whole, after]
    assert chain([whole, parts[1], after]) == [whole, after]  # while the parts are being deleted


def test_a_gap_ends_the_log() -> None:
    assert chain([Segment(0, 5, FIRST), Segment(6, 8, FIRST)]) == [Segment(0, 5, FIRST)]
    assert chain([]) == []


@given(seed=st.integers(0, 10**6), drivers=st.integers(1, 4))
def test_the_log_is_what_the_last_driver_wrote_upon_what_it_found(seed: int, drivers: int) -> None:
    """Each driver but the last goes on writing after it was replaced."""
    rng = random.Random(seed)
    written: list[Segment] = []
    log: list[Segment] = []
    for term in range(1, drivers + 1):
        writer = Writer(term, f"{rng.randrange(256):02x}")
        log = chain(written)
        end = log[-1].end if log else 0
        late = list(log[-1:])
        for _ in range(rng.randint(1, 4)):
            segment = Segment(end, end + rng.randint(1, 9), writer)
            log.append(segment)
            end = segment.end
        if late and late[0].writer.term < term and rng.random() < 0.7:
            start = late[0].end
            written.append(Segment(start, start + rng.randint(1, 20), late[0].writer))
        written += [segment for segment in log if segment not in written]
    rng.shuffle(written)
    assert chain(written) == log


def test_a_segment_of_the_wrong_length_is_damage(store: ObjectStore) -> None:
    store.write(Segment(0, 5, FIRST).key, b"abc")
    with pytest.raises(StoreError, match=r"is damaged: it has 3 bytes"):
        read_segments(store)
