"""The cases of the campaign: each a search that meets one misfortune, and what must hold after it.

Besides the kills these are the lines of what breaks in today's tuners: a restore that forgets, a second driver, a full
disk, a torn log, a damaged checkpoint, a signal, a trial that hangs or kills.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from analysis.events import AttemptFailed, EpochReported, Warned
from analysis.log import LOG_FILE, read_log
from tests.faults.sandbox import Sandbox
from tests.faults.tally import CaseResult
from tune_gate.lock import LOCK_FILE, Holder, current_holder
from tune_gate.study_dir import checkpoint_folder


@dataclass(frozen=True, slots=True)
class Case:
    """A misfortune."""

    name: str
    about: str  # what must hold
    play: Callable[[Sandbox], None]


CASES: dict[str, Case] = {}


def case(about: str) -> Callable[[Callable[[Sandbox], None]], Callable[[Sandbox], None]]:
    """Register a case under the name of its function."""

    def register(play: Callable[[Sandbox], None]) -> Callable[[Sandbox], None]:
        name = play.__name__.replace("_", " ")
        CASES[name] = Case(name, about, play)
        return play

    return register


def play(found: Case, root: Path) -> CaseResult:
    """Play a case in a folder of its own, which stays where the case does not hold."""
    folder = root / found.name.replace(" ", "-")
    folder.mkdir()
    started = time.monotonic()
    sandbox = Sandbox(folder)
    try:
        found.play(sandbox)
    except Exception as error:  # noqa: BLE001  the report says so
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return CaseResult(found.name, found.about, time.monotonic() - started, text or "failed")
    finally:
        sandbox.close()
    shutil.rmtree(folder)
    return CaseResult(found.name, found.about, time.monotonic() - started)


@case("a torn last line is cut off, and the search goes on")
def torn_tail(sandbox: Sandbox) -> None:
    sandbox.interrupted()
    whole = sandbox.log.read_bytes()
    sandbox.log.write_bytes(whole + b'{"event":"epoch","time":17')
    sandbox.finish()
    assert sandbox.log.read_bytes().startswith(whole)


@case("a corrupt line in the middle is refused with its offset; `repair` passes it over and keeps the old log")
def corrupt_middle_line(sandbox: Sandbox) -> None:
    sandbox.interrupted()
    lines = sandbox.log.read_bytes().splitlines(keepends=True)
    index = next(i for i, line in enumerate(lines) if b'"epoch":2' in line)
    offset = sum(map(len, lines[:index]))
    damaged = b"".join([*lines[:index], b"\0" * len(lines[index].rstrip()) + b"\n", *lines[index + 1 :]])
    sandbox.log.write_bytes(damaged)
    refused = sandbox.run("resume", sandbox.study)
    assert refused.code == 2, refused
    assert f"byte {offset}" in refused.text, refused
    assert "tune-gate repair" in refused.text, refused
    assert sandbox.run("repair", sandbox.study).code == 0
    assert any(path.read_bytes() == damaged for path in sandbox.log.parent.glob("*.damaged-*"))
    sandbox.finish(verified=False)  # what was lost is lost, and `verify` says so


@case("a full disk stops the search with a clear error, nothing inconsistent is written, and it resumes with room")
def disk_full(sandbox: Sandbox) -> None:
    process = sandbox.launch()
    sandbox.wait_for_reports(3)
    holder = current_holder(sandbox.study)
    assert holder is not None
    size = sandbox.log.stat().st_size
    psutil.Process(holder.pid).rlimit(
        psutil.RLIMIT_FSIZE, (size + 100, size + 100)
    )  # to the driver, the disk ends here
    code, text = sandbox.ended(process)
    assert code != 0, text
    assert "cannot write the log" in text or "no room left for the log" in text, text
    assert sandbox.log.read_bytes().endswith(b"\n")
    sandbox.finish()


@case("a second driver is refused, and told host, process and since when")
def two_drivers(sandbox: Sandbox) -> None:
    process = sandbox.launch(trials=2, epochs=900, scheduler={"kind": "full"})  # so that it outlasts the second
    sandbox.wait_for_reports(1)
    holder = current_holder(sandbox.study)
    assert holder is not None
    second = sandbox.run("resume", sandbox.study)
    assert second.code == 2, second
    for part in (f"process {holder.pid}", holder.host, "since"):
        assert part in second.text, second
    process.send_signal(signal.SIGINT)
    assert sandbox.ended(process)[0] == 130


@case("the lock of a dead driver is taken over")
def dead_drivers_lock(sandbox: Sandbox) -> None:
    process = sandbox.launch()
    sandbox.wait_for_reports(2)
    holder = current_holder(sandbox.study)
    assert holder is not None
    process.kill()
    os.killpg(holder.pid, signal.SIGKILL)
    process.wait()
    assert (sandbox.study / LOCK_FILE).exists()
    sandbox.finish()


@case("another host's lock is obeyed while it is fresh, and taken over when it is stale")
def lock_of_another_host(sandbox: Sandbox) -> None:
    sandbox.interrupted()
    lock = sandbox.study / LOCK_FILE
    other = Holder("elsewhere", 1, 1.0, time.time())
    lock.write_text(json.dumps({"host": other.host, "pid": other.pid, "born": other.born, "since": other.since}))
    refused = sandbox.run("resume", sandbox.study)
    assert refused.code == 2, refused
    assert "elsewhere" in refused.text, refused
    assert socket.gethostname() != "elsewhere"
    old = time.time() - 3600
    os.utime(lock, (old, old))
    sandbox.finish()


def _train_half(sandbox: Sandbox) -> list[Path]:
    """A real trial that was interrupted; its states, the newest first."""
    sandbox.interrupted(
        trials=1, epochs=6, trainable="trainables.tune_trainable:GatedResNetTrainable",
        scheduler={"kind": "full"}, config={"data": "digits"},
    )  # fmt: skip
    states = sorted(checkpoint_folder(sandbox.study, 1).glob("epoch-*.pt"), reverse=True)
    assert len(states) == 2, states
    return states


@case("behind a truncated newest checkpoint the one before counts, with a warning in the log")
def truncated_checkpoint(sandbox: Sandbox) -> None:
    newest, _ = _train_half(sandbox)
    newest.write_bytes(newest.read_bytes()[:1000])
    sandbox.finish(trials=1, verified=False)
    assert any(isinstance(event, Warned) and newest.name in event.message for event in sandbox.events())


@case("without any readable checkpoint a trial begins at the start, with warnings in the log")
def all_checkpoints_damaged(sandbox: Sandbox) -> None:
    for path in _train_half(sandbox):
        path.write_bytes(b"")
    sandbox.finish(trials=1, verified=False)
    assert sum(isinstance(event, Warned) for event in sandbox.events()) >= 2


@case("behind a missing newest checkpoint the one before counts")
def missing_checkpoint(sandbox: Sandbox) -> None:
    newest, _ = _train_half(sandbox)
    newest.unlink()
    sandbox.finish(trials=1, verified=False)


@case("a trial that hangs is ended, and goes on from its checkpoint")
def hung_trial(sandbox: Sandbox) -> None:
    sandbox.completes("tests.tune_gate.troublesome:Hangs", failures={"silence": 20.0})
    assert [(e.trial, e.failure) for e in sandbox.events() if isinstance(e, AttemptFailed)] == [(2, "lost")]


@case("a trial that kills its worker three times is failed with its reason, and the search goes on")
def trial_that_kills_workers(sandbox: Sandbox) -> None:
    sandbox.completes("tests.faults.deadly:KillsEveryWorker", given_up=2, failures={"retries": 2})


@case("a trial that kills the driver three times is failed with its reason, and the search goes on")
def trial_that_kills_drivers(sandbox: Sandbox) -> None:
    sandbox.completes("tests.faults.deadly:KillsEveryDriver", given_up=2, failures={"retries": 2})


@case("a trial that the memory monitor ends is tried again; the search does not end with it")
def memory_monitor(sandbox: Sandbox) -> None:
    sandbox.completes("tests.faults.deadly:OutOfMemory")


@case("a report without the metric, or with a word for it, fails that attempt and not the search")
def report_without_metric(sandbox: Sandbox) -> None:
    sandbox.completes("tests.faults.deadly:SaysNothing")
    failed = [event for event in sandbox.events() if isinstance(event, AttemptFailed)]
    assert [event.trial for event in failed] == [2, 3], failed


@case("the loss of the driver's own node ends the session, and another goes on")
def lost_node(sandbox: Sandbox) -> None:
    sandbox.completes("tests.tune_gate.troublesome:KillsItsNode")


def _stopped_by(sandbox: Sandbox, *signals: signal.Signals) -> float:
    """Stop a search by signals; seconds until it has ended."""
    process = sandbox.launch(epochs=60, trials=3)
    sandbox.wait_for_reports(2)
    begun = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.5)
    code, text = sandbox.ended(process)
    assert code == 130, (code, text)
    assert f"tune-gate resume {sandbox.study}" in text, text
    return time.monotonic() - begun


@case("Ctrl-C once: running epochs finish and are saved, exit 130 with the command that resumes, nothing is redone")
def sigint_once(sandbox: Sandbox) -> None:
    _stopped_by(sandbox, signal.SIGINT)
    sandbox.finish(trials=3)
    reports = [(event.trial, event.epoch) for event in sandbox.events() if isinstance(event, EpochReported)]
    assert len(reports) == len(set(reports))


@case("Ctrl-C twice: it ends at once, exit 130, and the search goes on later")
def sigint_twice(sandbox: Sandbox) -> None:
    assert _stopped_by(sandbox, signal.SIGINT, signal.SIGINT) < 30
    sandbox.finish(trials=3)


@case("SIGTERM: as Ctrl-C")
def sigterm(sandbox: Sandbox) -> None:
    _stopped_by(sandbox, signal.SIGTERM)
    sandbox.finish(trials=3)


@case("a study that was moved goes on where it now is, and nothing is written where it was")
def moved_study(sandbox: Sandbox) -> None:
    sandbox.interrupted()
    before = sandbox.study
    sandbox.study = before.with_name("moved")
    before.rename(sandbox.study)
    sandbox.finish()
    assert not before.exists()


@case("a finished study takes more trials")
def more_trials(sandbox: Sandbox) -> None:
    sandbox.completes("tests.tune_gate.curve_trainable:CurveTrainable")
    extended = sandbox.run("extend", sandbox.study, "--trials", 8)
    assert extended.code == 0, extended
    sandbox.finish(trials=8)


@case("a damaged study.json is refused, and no study is begun in its place")
def damaged_study_file(sandbox: Sandbox) -> None:
    sandbox.interrupted()
    log = sandbox.log.read_bytes()
    (sandbox.study / "study.json").write_bytes((sandbox.study / "study.json").read_bytes()[:100])
    refused = sandbox.run("resume", sandbox.study)
    assert refused.code == 2, refused
    assert "study.json" in refused.text, refused
    assert sandbox.log.read_bytes() == log


@case("resources that no node has are refused at once")
def impossible_resources(sandbox: Sandbox) -> None:
    process = sandbox.launch(resources={"gpus": 1.0, "local_gpus": 0})
    code, text = sandbox.ended(process)
    assert code == 2, (code, text)
    assert "no node" in text, text
    assert read_log(sandbox.study / LOG_FILE) == []
