"""The processes of a search: starting its command, finding one to kill, and nodes that join its cluster."""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.faults.traced import STUDY
from tune_gate.lock import current_holder

ROOT = Path(__file__).resolve().parents[2]

#: What is killed, by the kind of a study.
LOCAL_TARGETS = ("driver", "supervisor", "worker", "raylet", "GCS", "agent")
JOINED_TARGETS = ("raylet of a joined node", "worker of a joined node", "agent of a joined node")
MULTI_NODE_TARGETS = (*LOCAL_TARGETS, *JOINED_TARGETS)

#: What is killed besides while `resources: auto` measures.
MEASURED = "measured trial"


def start(study: Path, *command: object, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `tune-gate COMMAND…`, which works for that study, with these environment variables besides; what it says is
    added to a file beside the study.
    """
    with _said(study).open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "tune_gate", *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            env={**environment(), STUDY: str(study), **(variables or {})},
        )  # fmt: skip


def was_held(study: Path) -> bool:
    """Whether the last command for `study` found it held: a driver that has lost its supervisor was still ending, or
    had been starting when the lock was looked at.
    """
    lines = _said(study).read_text(encoding="utf-8", errors="replace").splitlines()
    return bool(lines) and " is in use by " in lines[-1]


def _said(study: Path) -> Path:
    """What the commands for `study` said."""
    return study.with_name(f"{study.name}.said")


def environment() -> dict[str, str]:
    """Ours, with the trainables importable, and with a Ray that does not wait a minute for a head that is dead."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "RAY_gcs_rpc_server_reconnect_timeout_s": "10"}


class JoinedNodes:
    """Nodes of two CPUs each that join the cluster of a study's driver, and a new one when it was replaced."""

    def __init__(self, study: Path, count: int) -> None:
        self._study = study
        self._count = count
        self._address = ""
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._looked = -math.inf

    def join(self) -> None:
        """Start the nodes that are missing, once the driver's cluster is there; looks for it once a second."""
        if not self._count or time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        with contextlib.suppress(psutil.Error):  # it may die while we look
            self._join()

    def _join(self) -> None:
        raylet = head_raylet(self._study)
        found = re.search(r"--gcs-address=(\S+)", " ".join(raylet.cmdline())) if raylet is not None else None
        if raylet is None or found is None:
            return
        if found[1] != self._address:
            self.leave()
            self._address = found[1]
        token = {name: value for name, value in raylet.environ().items() if name.startswith("RAY_AUTH")}
        self._nodes = [node for node in self._nodes if node.poll() is None]
        while len(self._nodes) < self._count:
            self._nodes.append(_start_node(self._address, token))

    def leave(self) -> None:
        """End all nodes."""
        for node in self._nodes:
            for process in [*descendants(node.pid), psutil.Process(node.pid)] if node.poll() is None else []:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            node.wait()
        self._nodes = []

    @property
    def processes(self) -> set[int]:
        """All processes of the nodes."""
        return {child.pid for node in self._nodes if node.poll() is None for child in descendants(node.pid)}

    def victims(self, name: str) -> list[int]:
        """The processes of the nodes that are called so."""
        return [pid for node in self._nodes if node.poll() is None for pid in _named(node.pid, name)]


def _start_node(address: str, token: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--address={address}",
         "--node-ip-address=127.0.0.1", "--num-cpus=2", "--num-gpus=0", "--object-store-memory=100000000",
         "--disable-usage-stats"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**environment(), **token},
    )  # fmt: skip


def head_raylet(study: Path) -> psutil.Process | None:
    """The raylet of the cluster that the driver of `study` has started; its command line and environment tell how to
    join.
    """
    holder = current_holder(study)
    for process in descendants(holder.pid) if holder is not None else ():
        with contextlib.suppress(psutil.Error):
            if process.name() == "raylet" and process.status() != psutil.STATUS_ZOMBIE:
                return process
    return None


def processes_of(study: Path) -> set[int]:
    """The processes that the living driver of `study` has started, and theirs."""
    holder = current_holder(study)
    return set() if holder is None else {process.pid for process in descendants(holder.pid)}


def strike(
    targets: list[str], study: Path, supervisor: subprocess.Popen[bytes], nodes: JoinedNodes, generator: random.Random
) -> list[str]:
    """SIGKILL a process of each of these kinds, all at once; the kinds of which there was one."""
    found = {target: _victims(target, study, supervisor, nodes) for target in targets}
    killed = []
    for target, victims in found.items():
        with contextlib.suppress(ProcessLookupError):
            if victims:
                os.kill(generator.choice(victims), signal.SIGKILL)
                killed.append(target)
    if "supervisor" in killed:
        supervisor.wait()
    return killed


def _victims(target: str, study: Path, supervisor: subprocess.Popen[bytes], nodes: JoinedNodes) -> list[int]:
    if target == "supervisor":
        return [supervisor.pid]
    if target.endswith(" of a joined node"):
        return nodes.victims(target.removesuffix(" of a joined node"))
    holder = current_holder(study)
    if holder is None:
        return []
    return [holder.pid] if target == "driver" else list(_named(holder.pid, target))


def _named(root: int, name: str) -> Iterator[int]:
    """The descendants of `root` that are called so, in our words."""
    for process in descendants(root):
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if kind_of(process.name(), command) == name:
                yield process.pid


def kind_of(name: str, command: str) -> str | None:
    """What a process of Ray is, in our words; None for one that we leave alone."""
    command = command.strip()  # Ray pads the titles of its processes
    if "tune_gate.packing_process" in command:
        return MEASURED
    if name in ("gcs_server", "raylet"):
        return "GCS" if name == "gcs_server" else "raylet"
    if not command.startswith("ray::") or command.startswith("ray::IDLE"):
        return None
    return "agent" if command.endswith("Agent") else "worker"  # a raylet ends with its agents


def left_over(study: Path, patience: float) -> list[int]:
    """The measured trials of that study that outlive it by more than so many seconds."""
    end = time.monotonic() + patience
    while (found := list(_measured(study))) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _measured(study: Path) -> Iterator[int]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if kind_of(process.name(), command) == MEASURED and process.environ().get(STUDY) == str(study):
                yield process.pid


def descendants(pid: int) -> list[psutil.Process]:
    """The children of a process, theirs, and so on; none of a process that is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
