from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from analysis.errors import LogCorrupt, SchemaUnknown
from analysis.event_records import event_from_record, event_to_record
from analysis.events import EpochReported
from analysis.log import LogPosition, header_line, read_log, read_log_from
from analysis.trials import fold_trials


@pytest.fixture
def log(tmp_path: Path, events, encode) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode(events))
    return path


def comparable(events):
    return [event_to_record(event) for event in events]  # NaN is null there, and equal to itself


def test_events_come_back_as_they_were_written(log, events):
    assert comparable(read_log(log)) == comparable(events)


def test_numbers_that_are_not_finite_are_null_in_the_file_and_nan_when_read(events):
    diverged = next(event for event in events if isinstance(event, EpochReported) and event.action == "diverge")
    line = json.dumps(event_to_record(diverged), allow_nan=False)
    again = event_from_record(json.loads(line))
    assert isinstance(again, EpochReported)
    assert math.isnan(again.metrics["val_loss"])
    assert again.metrics["val_acc"] == 0.0


def test_absent_and_empty_logs_have_no_events(tmp_path):
    assert read_log(tmp_path / "absent.jsonl") == []
    (tmp_path / "empty.jsonl").touch()
    assert read_log(tmp_path / "empty.jsonl") == []


def test_a_torn_tail_is_ignored(log, events):
    log.write_bytes(log.read_bytes()[:-1])
    assert comparable(read_log(log)) == comparable(events[:-1])


def test_cut_anywhere_the_log_is_a_prefix_and_folds(log, events, encode):
    one_of_each = list({(event.kind, getattr(event, "action", "")): event for event in events}.values())
    data, records = encode(one_of_each), comparable(one_of_each)
    for size in range(len(data) + 1):
        log.write_bytes(data[:size])
        read = read_log(log)
        assert comparable(read) == records[: max(0, data[:size].count(b"\n") - 1)]
        fold_trials(read)


@pytest.mark.parametrize(
    "line",
    [
        b"{oops\n",
        b"\n",
        b"[1, 2]\n",
        b"\xff\xfe\n",
        b'{"no": "event"}\n',
        b'{"event": "epoch", "trial": 1}\n',
        b'{"event": "trial_failed", "time": 1.0, "trial": 1, "reason": "x", "more": 1}\n',
    ],
)
def test_a_damaged_line_is_refused_with_its_offset(log, line):
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:4], line, *lines[4:]]))
    with pytest.raises(LogCorrupt) as caught:
        read_log(log)
    assert caught.value.offset == sum(map(len, lines[:4]))
    assert "\n" not in str(caught.value)


def test_an_unknown_event_is_skipped_with_a_warning(log, events):
    with log.open("ab") as file:
        file.write(b'{"event": "from_the_future", "x": 1}\n')
    with pytest.warns(UserWarning, match="from_the_future"):
        assert len(read_log(log)) == len(events)


def test_an_unknown_schema_is_refused(log):
    log.write_bytes(log.read_bytes().replace(b'"schema": 1', b'"schema": 99', 1))
    with pytest.raises(SchemaUnknown, match="99"):
        read_log(log)


def test_a_log_without_header_is_refused(log):
    log.write_bytes(log.read_bytes().removeprefix(header_line()))
    with pytest.raises(LogCorrupt, match="header"):
        read_log(log)


def test_reading_on_follows_a_growing_log(log, events):
    data = log.read_bytes()
    read, position = [], LogPosition()
    for size in [*range(0, len(data), 97), len(data)]:
        log.write_bytes(data[:size])
        new, position = read_log_from(log, position)
        read += new
    assert comparable(read) == comparable(events)
    assert position == LogPosition(len(data), len(events) + 1)
