"""One driver per study: living holders are respected, dead ones are not."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tune_gate.errors import StudyLocked
from tune_gate.lock import LOCK_FILE, STALE_SECONDS, Holder, current_holder, hold


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout.readline, "")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A living process that holds tmp_path."""
    code = (
        "import sys, pathlib\nfrom tune_gate.lock import hold\n"
        "with hold(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert next(lines_of(process)) == "held\n"
        yield process
        process.kill()


def place(study: Path, **changes: object) -> Path:
    """A lock file as another driver would have left it."""
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "born": 0.0, "since": 1_700_000_000.0, **changes}
    path = study / LOCK_FILE
    path.write_text(json.dumps(holder))
    return path


def born(pid: int) -> float:
    return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_nobody_holds_a_new_study(tmp_path: Path) -> None:
    assert current_holder(tmp_path) is None


def test_the_holder_is_named_while_the_block_lasts(tmp_path: Path) -> None:
    before = time.time()
    with hold(tmp_path) as me:
        assert current_holder(tmp_path) == me
        assert (me.host, me.pid) == (socket.gethostname(), os.getpid())
        assert before <= me.since <= time.time()
    assert current_holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_it_is_let_go_of_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), hold(tmp_path):
        raise RuntimeError("boom")
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path):
        pass


def test_a_second_holder_is_refused_and_told_of_the_first(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    holder = current_holder(tmp_path)
    assert holder is not None
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    expected = f"in use by process {other.pid} on {socket.gethostname()}, since {since}; `tune-gate stop"
    with pytest.raises(StudyLocked, match=re.escape(expected)), hold(tmp_path):
        pytest.fail("held twice")
    assert current_holder(tmp_path) == holder
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]  # nothing is left of the attempt


def test_a_process_cannot_hold_a_study_twice(tmp_path: Path) -> None:
    with hold(tmp_path) as me:
        with pytest.raises(StudyLocked, match=f"process {os.getpid()}"), hold(tmp_path):
            pytest.fail("held twice")
        assert current_holder(tmp_path) == me


@pytest.mark.parametrize("left_as", ["a zombie", "nothing"])
def test_a_killed_holder_loses_the_study(tmp_path: Path, other: subprocess.Popen[str], left_as: str) -> None:
    """Whether its parent has taken note of the death or not."""
    other.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    if left_as == "nothing":
        other.wait()
    assert (tmp_path / LOCK_FILE).exists()
    assert current_holder(tmp_path) is None
    with hold(tmp_path) as me:
        assert me.pid == os.getpid()
        assert current_holder(tmp_path) == me
    assert list(tmp_path.iterdir()) == []


def test_a_recycled_pid_is_another_process(tmp_path: Path) -> None:
    place(tmp_path, born=born(os.getpid()))
    assert current_holder(tmp_path) is not None
    place(tmp_path, born=born(os.getpid()) + 1)
    assert current_holder(tmp_path) is None
    with hold(tmp_path):
        pass


def test_another_host_holds_while_its_lock_is_fresh(tmp_path: Path) -> None:
    path = place(tmp_path, host="elsewhere", pid=1)
    assert current_holder(tmp_path) == Holder("elsewhere", 1, 0.0, 1_700_000_000.0)
    with pytest.raises(StudyLocked, match="process 1 on elsewhere, since 2023-11-1"), hold(tmp_path):
        pytest.fail("held twice")
    nearly = time.time() - STALE_SECONDS + 10
    os.utime(path, (nearly, nearly))
    assert current_holder(tmp_path) is not None


def test_another_hosts_stale_lock_is_taken_over(tmp_path: Path) -> None:
    path = place(tmp_path, host="elsewhere", pid=1)
    stale = time.time() - STALE_SECONDS - 1
    os.utime(path, (stale, stale))
    assert current_holder(tmp_path) is None
    with hold(tmp_path) as me:
        assert current_holder(tmp_path) == me


def test_a_holder_that_was_taken_over_leaves_the_new_lock_alone(tmp_path: Path) -> None:
    """Its host was cut off for a minute, and comes back."""
    with hold(tmp_path):
        place(tmp_path, host="elsewhere", pid=1)
    assert current_holder(tmp_path) == Holder("elsewhere", 1, 0.0, 1_700_000_000.0)


@pytest.mark.parametrize("torn", ["", '{"host": "he', "[]", "{}", '{"host": "x", "pid": 1}', "\x00" * 40])
def test_a_torn_lock_is_nobodys(tmp_path: Path, torn: str) -> None:
    (tmp_path / LOCK_FILE).write_text(torn)
    assert current_holder(tmp_path) is None
    with hold(tmp_path) as me:
        assert current_holder(tmp_path) == me


def test_the_holder_keeps_its_lock_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_gate.lock.HEARTBEAT_SECONDS", 0.01)
    with hold(tmp_path):
        path = tmp_path / LOCK_FILE
        os.utime(path, (0.0, 0.0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime < time.time() - 100:
            assert time.monotonic() < deadline
            time.sleep(0.01)


#: Forks racers that fight for one study; each marks its reign in a file, and finds out whether it reigns alone.
RACE = """
import os, pathlib, sys, time, json
from tune_gate.errors import StudyLocked
from tune_gate.lock import LOCK_FILE, hold
study, reign = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])

def race():
    held = 0
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        try:
            with hold(study):
                os.close(os.open(reign, os.O_CREAT | os.O_EXCL))
                held += 1
                time.sleep(0.0005)
                reign.unlink()
                if held % 2:  # half of the reigns end in a death: the lock stays, and names nobody alive
                    text = json.loads((study / LOCK_FILE).read_text())
                    (study / LOCK_FILE).write_text(json.dumps({**text, "born": -1.0}))
        except StudyLocked:
            pass
    os._exit(0 if held else 3)

children = []
for _ in range(6):
    pid = os.fork()
    if pid == 0:
        try:
            race()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
print(sorted(set(codes)))
"""


def test_of_many_that_race_one_holds_at_a_time(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    command = [sys.executable, "-c", RACE, str(study), str(tmp_path / "reign")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    assert json.loads(done.stdout) in ([0], [0, 3]), done.stdout  # 3: one that never won
