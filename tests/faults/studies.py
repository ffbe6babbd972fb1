"""One study of the campaign: run it, kill its processes again and again, and count what became of it."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from analysis.log import LOG_FILE, read_log
from analysis.trials import fold_trials
from tests.faults.examine import examine
from tests.faults.flavours import TRIALS, Flavour
from tests.faults.processes import (
    JOINED_TARGETS,
    LOCAL_TARGETS,
    MEASURED,
    MULTI_NODE_TARGETS,
    JoinedNodes,
    processes_of,
    start,
    strike,
    was_held,
)
from tests.faults.tally import Tally
from tests.faults.traced import EPOCH_SECONDS, Moment, at_work, hold_file, inside
from tests.tune_gate.test_search import essence
from tune_gate.cluster_access import SPANS_MACHINES
from tune_gate.lock import current_holder
from tune_gate.supervisor import MISUSE

#: A study that has not ended after so long hangs, whatever was killed.
PATIENCE_SECONDS = 900.0

#: So long a driver may take to let go after its supervisor was killed: the running epochs, and Ray's own end.
RELEASE_SECONDS = 120.0

#: So long a session may take to start, a node to join and a worker to be there.
START_SECONDS = 120.0

#: So many processes die at once in a strike.
AT_ONCE = (1, 1, 2, 3)

#: This share of the strikes comes after some seconds, wherever the session is then, such as in its start.
BLIND = 0.3

#: This share of the strikes is aimed at a probe, where there are any.
AIMED = 0.5

#: So many strikes at most while resources are measured: nothing of such a session is in the log, and a supervisor gives
#: up after five deaths in a row.
AIMED_AT_MEASURING = 3

#: Specs of a flavour differ in their seeds only: so few that each has one undisturbed study to compare with.
SEEDS = 3


class Stuck(Exception):  # noqa: N818
    """A search neither goes on nor ends."""


@dataclass
class FaultStudy:
    """A study that is to be killed `kills` times."""

    folder: Path
    kind: str  # local or multi-node
    flavour: Flavour
    seed: int
    concurrency: int
    kills: int
    generator: random.Random
    struck: list[float] = field(default_factory=list)  # when, Unix time
    tally: Tally = field(default_factory=Tally)

    @property
    def spec(self) -> dict[str, Any]:
        """The study's specification."""
        here = self.concurrency if self.kind == "local" else 1  # fewer than run at a time, where nodes join
        return self.flavour.spec(self.seed, self.concurrency, local_cpus=here)

    def run(self, whole: list[dict[str, Any]] | None) -> Tally:
        """Run the study to its end through all the kills, and count; `whole` is what it must equal, if anything."""
        nodes = JoinedNodes(self.folder, 1 if self.kind == "multi-node" else 0)
        try:
            self._run(nodes)
            self.tally.flavours[self.flavour.name] += 1
            events = examine(self.folder, self.spec, self.struck, self.tally)
            if whole is not None:
                self.tally.one_at_a_time += 1
                self.tally.different += essence(events) != whole
        except (Stuck, OSError, ValueError, LookupError) as error:
            self.tally.failures.append(
                f"{self.folder.name} ({self.kind}, {self.flavour.name}, seed {self.seed}): {type(error).__name__}: "
                f"{error}; kept as {self.folder}"
            )
        finally:
            nodes.leave()
        if not self.tally.failures:
            shutil.rmtree(self.folder)
        return self.tally

    def _run(self, nodes: JoinedNodes) -> None:
        file = self.folder.with_suffix(".yaml")
        file.write_text(json.dumps(self.spec))  # JSON is YAML
        launch, resume = ("launch", file, "--dir", self.folder), ("resume", self.folder)
        joinable = {} if self.kind == "local" else {SPANS_MACHINES: "1"}  # else a Ray of our own takes nobody in
        process = start(self.folder, *launch, variables=joinable)
        end = time.monotonic() + PATIENCE_SECONDS
        try:
            while not (process.poll() is not None and finished(self.folder)):
                if time.monotonic() > end:
                    raise Stuck(f"not finished after {PATIENCE_SECONDS:.0f} s and {self.tally.made} kills")
                if process.poll() is not None:
                    held_yet = process.returncode == MISUSE and was_held(self.folder)
                    if process.returncode == MISUSE and not held_yet:
                        raise Stuck("a command took what a kill did for a mistake of the user")
                    self._wait_for_release()
                    self.tally.gave_up += process.returncode != -signal.SIGKILL and not held_yet
                    self.tally.resumes += 1
                    process = start(
                        self.folder, *(resume if (self.folder / "study.json").exists() else launch), variables=joinable
                    )
                nodes.join()
                if self.tally.made < self.kills:
                    self._strike(process, nodes)
                else:
                    pause(process, 0.5)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _strike(self, process: subprocess.Popen[bytes], nodes: JoinedNodes) -> None:
        """Kill something at a random moment: after some seconds, after some more lines of the log, or inside what this
        study's kills are aimed at.
        """
        possible = MULTI_NODE_TARGETS if self.kind == "multi-node" else LOCAL_TARGETS
        aim = self._aim()
        if aim == "measuring run":
            possible = (*possible, MEASURED)
        targets = self.generator.sample(possible, min(self.generator.choice(AT_ONCE), self.kills - self.tally.made))
        if aim is not None:
            with held(self.folder, aim):
                self._wait_for(process, nodes, lambda: self._is_inside(aim, nodes))
                self._kill(targets, process, nodes)
            end = time.monotonic() + 10.0
            while time.monotonic() < end and inside(self.folder, aim):  # or the next strike would meet the same one
                time.sleep(0.05)
            return
        if self.generator.random() < BLIND:
            pause(process, self.generator.uniform(0.0, 15.0))
        else:
            with held(self.folder, "epoch"):
                self._wait_for(process, nodes, lambda: self._is_at_work(targets, nodes))
            size, wanted = log_size(self.folder), self.generator.randint(1, 4)
            end = time.monotonic() + 10.0
            while process.poll() is None and time.monotonic() < end and lines_since(self.folder, size) < wanted:
                time.sleep(0.05)
            pause(process, self.generator.uniform(0.0, EPOCH_SECONDS))
            if log_size(self.folder) == size and set(targets) & {"worker", "worker of a joined node"}:
                return  # an earlier strike is taking its effect: the worker that was seen is of a session that dies
        self._kill(targets, process, nodes)

    def _aim(self) -> Moment | None:
        """What the next strike waits for; None: it comes at random."""
        aim = self.flavour.aim
        if aim == "measuring run":  # there is no other chance once it is over
            return aim if self.tally.inside[aim] < AIMED_AT_MEASURING and not has_trials(self.folder) else None
        return aim if self.generator.random() < AIMED else None

    def _kill(self, targets: list[str], process: subprocess.Popen[bytes], nodes: JoinedNodes) -> None:
        moments = [moment for moment in get_args(Moment) if self._is_inside(moment, nodes)]
        struck = time.time()
        killed = strike(targets, self.folder, process, nodes, self.generator) if process.poll() is None else []
        if killed:
            self.tally.kills.update(killed)
            self.tally.strikes += 1
            self.tally.inside.update(moments)
            self.struck.append(struck)

    def _wait_for(self, process: subprocess.Popen[bytes], nodes: JoinedNodes, come: Callable[[], bool]) -> None:
        """Return when that has come, when the command has ended, or after a while."""
        end = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < end and not come():
            nodes.join()
            time.sleep(0.2)

    def _is_at_work(self, targets: list[str], nodes: JoinedNodes) -> bool:
        """Whether a trial runs where one is to be killed, or on any node."""
        joined = any(target in JOINED_TARGETS for target in targets)
        return bool(at_work(self.folder) & (nodes.processes if joined else self._own(nodes)))

    def _is_inside(self, moment: Moment, nodes: JoinedNodes) -> bool:
        return bool(inside(self.folder, moment) & self._own(nodes))

    def _own(self, nodes: JoinedNodes) -> set[int]:
        """The processes of the present session; workers of an earlier one may live on for a while."""
        return processes_of(self.folder) | nodes.processes

    def _wait_for_release(self) -> None:
        """A driver without a supervisor ends by itself; wait for it."""
        end = time.monotonic() + RELEASE_SECONDS
        while (holder := current_holder(self.folder)) is not None:
            if time.monotonic() > end:
                raise Stuck(f"still held by {holder}, {RELEASE_SECONDS:.0f} s after its supervisor's death")
            time.sleep(0.1)


class Undisturbed:
    """The events of studies whom nobody kills, one trial at a time; each is run once, when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, int], threading.Lock] = {}
        self._found: dict[tuple[str, int], list[dict[str, Any]]] = {}

    def of(self, flavour: Flavour, seed: int) -> list[dict[str, Any]]:
        """The study of that flavour and seed. Raises `Stuck` where it does not finish."""
        key = (flavour.name, seed)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._found:
                self._found[key] = self._run(flavour, seed)
            return self._found[key]

    def _run(self, flavour: Flavour, seed: int) -> list[dict[str, Any]]:
        folder = self._root / f"undisturbed-{flavour.name}-{seed}"
        file = folder.with_suffix(".yaml")
        file.write_text(json.dumps(flavour.spec(seed, 1, 1)))
        start(folder, "launch", file, "--dir", folder).wait(timeout=PATIENCE_SECONDS)
        if not finished(folder):
            raise Stuck(f"the undisturbed study {folder} did not finish")
        return essence(read_log(folder / LOG_FILE))


@contextlib.contextmanager
def held(folder: Path, moment: Moment) -> Iterator[None]:
    """Within the block no epoch of the study begins, or no probe or measured epoch of it ends."""
    hold = hold_file(folder, moment)
    hold.touch()
    try:
        yield
    finally:
        hold.unlink()


def finished(folder: Path) -> bool:
    """Whether every trial has ended."""
    trials = fold_trials(read_log(folder / LOG_FILE))
    return len(trials) == TRIALS and all(trial.ended for trial in trials.values())


def has_trials(folder: Path) -> bool:
    """Whether a first trial was suggested."""
    return bool(fold_trials(read_log(folder / LOG_FILE)))


def log_size(folder: Path) -> int:
    """Bytes of the log."""
    path = folder / LOG_FILE
    return path.stat().st_size if path.exists() else 0


def lines_since(folder: Path, size: int) -> int:
    """Lines that the log has gained since it had so many bytes."""
    path = folder / LOG_FILE
    return path.read_bytes()[size:].count(b"\n") if path.exists() else 0


def pause(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait, but not longer than the process lives."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return
