"""The lock of a study in an object store: who may write, who is told to stop."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from analysis.events import Warned
from analysis.holders import LOCK_FILE
from analysis.objects import open_store
from analysis.segments import list_segments
from tests.tune_gate.stores import make, wait_until
from tune_gate.control import request_stop
from tune_gate.errors import LogWriteError, Misuse, StudyLocked
from tune_gate.lock import current_holder, hold
from tune_gate.recorder import Recorder
from tune_gate.study_dir import STOP_REQUEST

pytestmark = pytest.mark.usefixtures("store_cache")


def foreign_lock(bucket: Path, **changes: Any) -> None:
    """The lock of a driver on another host."""
    holder = {"host": "elsewhere", "pid": 7, "born": 1.0, "since": 2.0}
    record = {"holder": holder, "writer": {"term": 5, "token": "ab"}, **changes}
    (bucket / LOCK_FILE).write_text(json.dumps(record))


def test_a_study_that_another_host_drives_is_refused_and_its_holder_named(url: str, bucket: Path) -> None:
    study = make(url)
    foreign_lock(bucket)
    with (
        pytest.raises(StudyLocked, match=rf"^file://{bucket} is in use by process 7 on elsewhere, since .*stop"),
        hold(study),
    ):
        pass
    assert str(current_holder(Path(url))).startswith("process 7 on elsewhere")
    assert "elsewhere" in str(request_stop(Path(url)))
    assert (bucket / STOP_REQUEST).exists()


def test_a_dead_lock_is_taken_over_and_the_dead_driver_writes_no_more(
    url: str, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    study = make(url)
    foreign_lock(bucket)
    old = time.time() - 120
    os.utime(bucket / LOCK_FILE, (old, old))
    with hold(study), Recorder(study) as recorder:
        recorder.append(Warned(0.0, "taken over"))
        assert {segment.writer.term for segment in list_segments(open_store(url))} == {6}
    assert not (bucket / LOCK_FILE).exists()

    monkeypatch.setattr("tune_gate.log_mirror.FLUSH_SECONDS", 0.02)
    monkeypatch.setattr("tune_gate.log_mirror.LOOK_SECONDS", 0.0)
    with hold(study):
        recorder = Recorder(study)
        foreign_lock(bucket, writer={"term": 9, "token": "cd"})
        wait_until(lambda: recorder._mirror._failure is not None)  # type: ignore[attr-defined]
        with pytest.raises(LogWriteError, match=r"another driver took .* over while this one was silent"):
            recorder.append(Warned(1.0, "too late"))
        with pytest.raises(LogWriteError):
            recorder.close()
    assert (bucket / LOCK_FILE).exists()  # it is not ours to remove


def test_of_two_drivers_that_claim_at_once_the_last_one_stands(
    url: str, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make(url)
    monkeypatch.setattr("tune_gate.store_lock.time.sleep", lambda _seconds: foreign_lock(bucket))
    with pytest.raises(StudyLocked, match="is being fought over by several drivers; try again"), hold(study):
        pass
    assert (bucket / LOCK_FILE).exists()  # it is the other's


def test_a_driver_hears_that_it_is_to_stop(url: str, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_gate.log_mirror.FLUSH_SECONDS", 0.02)
    monkeypatch.setattr("tune_gate.log_mirror.LOOK_SECONDS", 0.0)
    study = make(url)
    with hold(study), Recorder(study):
        request_stop(Path(url))
        wait_until((study / STOP_REQUEST).exists)
    with pytest.raises(Misuse, match=f"no search is running in file://{bucket}"):
        request_stop(Path(url))
