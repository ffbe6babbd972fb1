"""The log's writer: whole lines or none, and folds that always equal the log."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.errors import LogCorrupt, SchemaUnknown
from analysis.events import AttemptStarted, EpochReported, Event, SessionStarted, TrialSuggested, Warned
from analysis.log import LOG_FILE, header_line, read_log
from tune_gate.errors import LogWriteError
from tune_gate.recorder import Recorder


class Seen:
    """A fold that remembers what it was shown."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def apply(self, event: Event) -> None:
        self.events.append(event)


def warned(number: int) -> Warned:
    return Warned(float(number), f"ä warning, number {number}", number)


def continuing(epoch: int) -> EpochReported:
    return EpochReported(float(epoch), 1, 1, epoch, {"val_acc": 0.5}, "continue")


THREE: list[Event] = [
    SessionStarted(1.0, 1, "host", 42, {"ray": "2.60.0"}),
    TrialSuggested(2.0, 1, {"lr": 0.1, "milestones": [0.4, 0.6]}, 7, "default"),
    continuing(1),
]


def write(study: Path, events: list[Event]) -> None:
    with Recorder(study) as recorder:
        for event in events:
            recorder.append(event)


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    write(tmp_path, THREE)
    assert read_log(tmp_path / LOG_FILE) == THREE
    with Recorder(tmp_path) as again:
        assert again.events == THREE
        again.append(warned(1))
    assert read_log(tmp_path / LOG_FILE) == [*THREE, warned(1)]


def test_an_event_is_on_the_disk_when_append_returns(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for number, event in enumerate(THREE, start=1):
        recorder.append(event)
        assert read_log(tmp_path / LOG_FILE) == THREE[:number]
    recorder.close()


def test_folds_see_the_old_events_and_then_each_new_one(tmp_path: Path) -> None:
    write(tmp_path, THREE)
    folds = [Seen(), Seen()]
    with Recorder(tmp_path, folds) as recorder:
        assert all(fold.events == THREE for fold in folds)
        recorder.append(warned(1))
    assert all(fold.events == [*THREE, warned(1)] == read_log(tmp_path / LOG_FILE) for fold in folds)


def test_a_log_torn_at_any_byte_is_repaired_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _file: None)  # hundreds of syncs would take seconds
    write(tmp_path, THREE)
    path = tmp_path / LOG_FILE
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        survivors = THREE[: max(0, sum(end <= cut for end in ends) - 1)]  # the first line is the header
        fold = Seen()
        with Recorder(tmp_path, [fold]) as recorder:
            assert recorder.events == survivors
            recorder.append(warned(1))
        assert read_log(path) == fold.events == [*survivors, warned(1)]


def test_a_torn_tail_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    write(tmp_path, THREE)
    with (tmp_path / LOG_FILE).open("ab") as log:
        log.write(b"x" * 200_000)
    write(tmp_path, [warned(1)])
    assert read_log(tmp_path / LOG_FILE) == [*THREE, warned(1)]


def test_damage_before_the_last_line_is_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, THREE)
    path = tmp_path / LOG_FILE
    damaged = path.read_bytes().replace(b'"trial_suggested"', b'"trial_suggested', 1)
    path.write_bytes(damaged)
    with pytest.raises(LogCorrupt):
        Recorder(tmp_path)
    path.write_bytes(header_line().replace(b"1", b"99") + b"{}\n")
    with pytest.raises(SchemaUnknown):
        Recorder(tmp_path)
    assert path.read_bytes().endswith(b"{}\n")


def no_room(number: int = errno.ENOSPC) -> OSError:
    return OSError(number, os.strerror(number))


def fills_up(part: int, number: int = errno.ENOSPC) -> Callable[[int, bytes], int]:
    """An os.write for a disk that takes `part` bytes more, and then none."""
    left = [part]
    real_write = os.write

    def write(file: int, data: bytes) -> int:
        if left[0] == 0:
            raise no_room(number)
        written = real_write(file, data[: left[0]])
        left[0] -= written
        return written

    return write


@pytest.mark.parametrize("part", [0, 1, 20])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_log_whole(
    part: int, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = Seen()
    recorder = Recorder(tmp_path, [fold])
    for event in THREE:
        recorder.append(event)
    before = (tmp_path / LOG_FILE).read_bytes()
    with monkeypatch.context() as full:
        full.setattr(os, "write", fills_up(part, number))
        with pytest.raises(LogWriteError, match=r"^no room left for the log .*events\.jsonl; make room, then resume"):
            recorder.append(warned(1))
    assert (tmp_path / LOG_FILE).read_bytes() == before
    assert fold.events == THREE
    recorder.append(warned(2))
    recorder.close()
    assert read_log(tmp_path / LOG_FILE) == fold.events == [*THREE, warned(2)]


def test_a_disk_that_takes_a_line_in_pieces_is_given_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real_write(file, data[:7]))
    write(tmp_path, THREE)
    assert read_log(tmp_path / LOG_FILE) == THREE


def test_a_header_that_finds_no_room_is_an_error_and_written_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(os, "write", fills_up(5))
        with pytest.raises(LogWriteError, match="no room"):
            Recorder(tmp_path)
    write(tmp_path, THREE)
    assert read_log(tmp_path / LOG_FILE) == THREE


def test_another_failure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recorder(tmp_path) as recorder:
        with monkeypatch.context() as lost:
            lost.setattr(os, "write", fills_up(3, errno.EIO))
            with pytest.raises(LogWriteError, match=r"^cannot write the log .*: Input/output error"):
                recorder.append(warned(1))
        recorder.append(warned(2))
    assert read_log(tmp_path / LOG_FILE) == [warned(2)]


def test_a_disk_that_says_only_when_synced_that_it_is_full_has_not_the_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems do."""

    def refuse(_file: int) -> None:
        raise no_room()

    fold = Seen()
    recorder = Recorder(tmp_path, [fold])
    recorder.append(warned(1))
    with monkeypatch.context() as full:
        full.setattr(os, "fdatasync", refuse)
        with pytest.raises(LogWriteError, match="no room"):
            recorder.append(warned(2))
    assert read_log(tmp_path / LOG_FILE) == fold.events == [warned(1)]
    recorder.append(warned(3))
    recorder.close()
    assert read_log(tmp_path / LOG_FILE) == fold.events == [warned(1), warned(3)]


def test_decisions_are_synced_at_once_and_what_ends_nothing_shares_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    recorder = Recorder(tmp_path)
    real_sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (synced.append(file), real_sync(file)))
    monkeypatch.setattr("tune_gate.recorder.SYNC_SECONDS", 3600.0)
    recorder.append(TrialSuggested(1.0, 1, {}, 1, "random"))
    recorder.append(AttemptStarted(1.0, 1, 1, 0))
    recorder.append(continuing(1))
    assert not synced
    for count, action in enumerate(("stop", "complete", "diverge", "interrupt", "pause"), start=1):
        recorder.append(EpochReported(1.0, 1, 1, 2, {"val_acc": 0.5}, action))
        assert len(synced) == count
    recorder.append(continuing(3))
    recorder.settle()
    recorder.settle()  # nothing is new
    assert len(synced) == 6
    recorder.append(warned(1))
    assert len(synced) == 7
    monkeypatch.setattr("tune_gate.recorder.SYNC_SECONDS", 0.0)
    recorder.append(continuing(4))
    assert len(synced) == 8
    recorder.close()
    assert len(synced) == 9


def test_a_disk_that_does_not_take_what_waited_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: int) -> None:
        raise no_room()

    recorder = Recorder(tmp_path)
    recorder.append(continuing(1))
    with monkeypatch.context() as full:
        full.setattr(os, "fdatasync", refuse)
        with pytest.raises(LogWriteError, match="no room"):
            recorder.settle()
    recorder.settle()
    recorder.close()
    assert read_log(tmp_path / LOG_FILE) == [continuing(1)]


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.append(warned(1))
    recorder.close()
    other = os.open(tmp_path / LOG_FILE, os.O_RDONLY)  # it gets the descriptor that was let go of
    recorder.close()
    assert os.pread(other, 1, 0) == b"{"
    os.close(other)


def test_a_log_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "a mount that is lost")
    with pytest.raises(LogWriteError, match=r"^cannot write the log .*: File exists"):
        Recorder(tmp_path)
