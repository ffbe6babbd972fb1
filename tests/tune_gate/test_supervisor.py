"""The supervisor without Ray: what it does with sessions that die, that stop, and that say nothing more."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tune_gate import heartbeat, supervisor
from tune_gate.errors import Misuse, SearchFailed
from tune_gate.heartbeat import BEAT_FILE, Heartbeat, Watch
from tune_gate.supervisor import supervise

#: What the pretended sessions begin with: one that is the first leaves a mark for the next.
PRELUDE = """
    import os, signal, sys, time
    from pathlib import Path
    study = Path(sys.argv[1])
    first = not (study / "was-here").exists()
    (study / "was-here").touch()
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(supervisor, "BACKOFF_SECONDS", 0.01)
    return tmp_path


def pretend(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let sessions run `program`."""
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(program)

    def start(arguments: list[str], environment: object, log: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    monkeypatch.setattr(supervisor, "_start_session", start)


def run(study: Path) -> tuple[int, list[str]]:
    """How many sessions died, and what was said."""
    said: list[str] = []
    return supervise(study, lambda: None, said.append).deaths, said


def test_a_session_that_ends_well_ends_the_search(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "")
    assert run(study) == (0, [])


def test_a_session_that_dies_is_followed_by_another(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "if first: os.kill(os.getpid(), signal.SIGKILL)")
    deaths, said = run(study)
    assert deaths == 1
    assert "the driver died (signal SIGKILL)" in said[0]


def test_a_session_that_is_stopped_by_a_signal_is_ended_and_followed_by_another(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 1.0)
    program = f"""
        if first:
            (study / {BEAT_FILE!r}).touch()
            os.kill(os.getpid(), signal.SIGSTOP)
    """
    pretend(monkeypatch, program)
    deaths, said = run(study)
    assert deaths == 1
    assert re.search(r"the driver died \(no sign of life from its loop for \d+ s\); a new one goes on", said[0])


def test_a_session_whose_loop_stands_still_is_ended_although_its_process_lives(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 1.0)
    program = f"""
        if first:
            (study / {BEAT_FILE!r}).touch()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            time.sleep(3600)
    """
    pretend(monkeypatch, program)
    deaths, said = run(study)
    assert deaths == 1
    assert "no sign of life" in said[0]


def test_a_session_that_never_begins_is_ended(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "START_SECONDS", 1.0)
    monkeypatch.setattr(supervisor, "MAX_DEATHS", 2)
    (study / BEAT_FILE).touch()  # an earlier session's
    pretend(monkeypatch, "time.sleep(3600)")
    with pytest.raises(SearchFailed, match="no sign of life"):
        run(study)


def test_sessions_that_die_at_once_end_the_search(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MAX_DEATHS", 3)
    pretend(monkeypatch, "print('Ray is ill'); sys.exit(1)")
    with pytest.raises(SearchFailed, match=r"the driver died \(Ray is ill\).*tune-gate resume"):
        run(study)


def test_a_mistake_is_not_tried_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "print('no such data'); sys.exit(2)")
    with pytest.raises(Misuse, match="no such data"):
        run(study)


def test_a_loop_that_beats_is_never_overdue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    watch, beat = Watch(tmp_path), Heartbeat(tmp_path)
    for _ in range(20):
        now[0] += 0.9 * heartbeat.SILENT_SECONDS
        (tmp_path / BEAT_FILE).unlink(missing_ok=True)  # so that it changes, however coarse the file system's clock
        assert watch.overdue() is None
        beat()
        assert watch.overdue() is None
    now[0] += heartbeat.SILENT_SECONDS
    assert watch.overdue() == "no sign of life from its loop for 120 s"


def test_beats_are_not_written_more_often_than_wanted(tmp_path: Path) -> None:
    beat = Heartbeat(tmp_path)
    beat()
    (tmp_path / BEAT_FILE).unlink()
    beat()
    assert not (tmp_path / BEAT_FILE).exists()


def test_a_loop_that_cannot_beat_goes_on(tmp_path: Path) -> None:
    Heartbeat(tmp_path / "gone")()
