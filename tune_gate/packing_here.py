"""Measuring trials side by side on this machine, each in a process of its own, as Ray's workers are."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune_gate.doctor import memory
from tune_gate.packing import Load, Overloaded, Packing, Room, Split, choose
from tune_gate.packing_process import READY
from tune_gate.resources import ResourceSettings
from tune_gate.spec import StudySpec
from tune_gate.study_dir import checkpoint_folder

#: A trial alone that has not ended its first epoch by then is not waited for, seconds.
EPOCH_SECONDS = 1800.0

#: Trials side by side that need so many times as long as one after the other are not waited for.
PATIENCE = 2.0

#: Of the memory that is available, trials may take so much: Ray ends workers before the last of it is gone.
MEMORY_SHARE = 0.8

#: Settings on which the work of a training step depends.
_HEAVY = ("depth", "block", "batch_size", "gate", "gate_input", "gate_hidden")


class Died(Overloaded):
    """The process of a trial that is measured is gone without a word."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured: a study's trials, of which the heaviest stands for all."""

    trainable: str
    settings: dict[str, Any]  # the full settings of the trial
    wanted: ResourceSettings
    trials: int


def question(spec: StudySpec) -> Question:
    """What to measure for `spec`: the default, unless a corner of the space is more work per step."""
    epochs = max(2, spec.epochs)
    settings = [spec.trial_settings({}, spec.seed, epochs)]
    if any(name in _HEAVY for name in spec.search_space.names):
        corners = (point for _, point in spec.search_space.corners())
        heavy = {tuple(point.get(name) for name in _HEAVY): point for point in corners}
        settings += [spec.trial_settings(point, spec.seed, epochs) for point in heavy.values()]
    return Question(spec.trainable, _heaviest(settings), spec.resources, spec.trials)


def choose_here(asked: Question, room: Room) -> Packing:
    """Measure on this machine, of which `room` may be used, and choose.

    Raises:
        Misuse: not even one trial runs.
    """
    patience = EPOCH_SECONDS
    with tempfile.TemporaryDirectory(prefix="tune-gate-packing-") as name:

        def measure(split: Split) -> Load:
            nonlocal patience
            try:
                load = side_by_side(asked, split, Path(name) / str(split.trials), patience * split.trials)
            except Died:
                if split.trials > 1:
                    raise
                load = side_by_side(asked, split, Path(name) / "again", patience)  # it was killed by chance, perhaps
            patience = min(patience, 60.0 + PATIENCE * max(load.seconds))
            return load

        return choose(room, asked.wanted, asked.trials, measure)


def room_here(resources: ResourceSettings) -> Room:
    """What this machine has for trials, as a Ray that we start here would be told."""
    from trainables.device import visible_gpus  # noqa: PLC0415  torch is slow to import

    cpus = resources.local_cpus or len(os.sched_getaffinity(0))
    gpus = visible_gpus() if resources.local_gpus is None else resources.local_gpus
    return Room(socket.gethostname(), cpus, gpus, available_memory())


def available_memory() -> float:
    """The bytes of this machine that trials may take."""
    return MEMORY_SHARE * memory()[1]


def side_by_side(asked: Question, split: Split, folder: Path, patience: float) -> Load:
    """Train `split.trials` trials at once for an epoch, after one to warm up; their files lie in `folder`.

    Raises:
        Overloaded: one fails, or they have not ended after `patience` seconds.
    """
    limit = time.monotonic() + patience
    with contextlib.ExitStack() as stack:
        trials = [
            stack.enter_context(_started(asked, split, checkpoint_folder(folder, number), number))
            for number in range(1, split.trials + 1)
        ]
        for trial in trials:
            line = _answer(trial, limit)
            if line != READY:
                raise _problem(line)
        for trial in trials:
            _tell(trial, "begin")
        answers = [_measured(_answer(trial, limit)) for trial in trials]
    return Load(
        tuple(answer["seconds"] for answer in answers),
        max(answer["memory"] for answer in answers),
        max(answer.get("gpu_memory", 0) for answer in answers),
        max(answer.get("gpu_total", 0) for answer in answers),
    )


@contextlib.contextmanager
def _started(asked: Question, split: Split, folder: Path, number: int) -> Iterator[subprocess.Popen[str]]:
    order = {
        "trial": number, "attempt": 1, "settings": asked.settings, "from_epoch": 0, "folder": str(folder),
        "every": 1, "keep": 2, "cpus": split.cpus, "gpus": split.gpus,
    }  # fmt: skip
    folder.mkdir(parents=True)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = subprocess.Popen(
        [sys.executable, "-m", "tune_gate.packing_process"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    try:
        _tell(process, json.dumps({"trainable": asked.trainable, "order": order}))
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None  # noqa: S101  they were asked for above
            with contextlib.suppress(OSError):
                stream.close()


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None  # noqa: S101
    with contextlib.suppress(BrokenPipeError):  # it is gone, which its answer tells
        process.stdin.write(line + "\n")
        process.stdin.flush()


def _answer(process: subprocess.Popen[str], limit: float) -> str:
    """The next line of what a trial says; empty where it died."""
    assert process.stdout is not None  # noqa: S101
    if not select.select([process.stdout], [], [], max(0.0, limit - time.monotonic()))[0]:
        raise Overloaded("no epoch ended in time")
    return process.stdout.readline().strip()


def _measured(line: str) -> dict[str, Any]:
    if not line.startswith("{") or "error" in json.loads(line):
        raise _problem(line)
    return dict(json.loads(line))


def _problem(line: str) -> Overloaded:
    if not line:
        return Died("its process died, of want of memory perhaps")
    return Overloaded(str(json.loads(line)["error"]))


def _heaviest(settings: list[dict[str, Any]]) -> dict[str, Any]:
    if len(settings) == 1:
        return settings[0]
    from trainables.config import trial_config  # noqa: PLC0415
    from trainables.measure import step_work  # noqa: PLC0415  torch is slow to import

    return max(settings, key=lambda each: step_work(trial_config(each)))
