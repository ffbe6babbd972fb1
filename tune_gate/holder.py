"""A process that holds a study, and whether it still lives."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

#: The holder touches its lock this often. On another host nothing but the lock's age tells whether it lives.
HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a study."""

    host: str
    pid: int
    born: float  # start of the process, clock ticks after boot: a recycled pid is another process
    since: float  # Unix time

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


def this_process() -> Holder:
    """The holder that this process would be, from now on."""
    return Holder(socket.gethostname(), os.getpid(), _born(os.getpid()), time.time())


def lives(holder: Holder, age: float) -> bool:
    """Whether `holder`, whose lock was touched `age` seconds ago, lives: on this host its process tells."""
    return _process_lives(holder) if holder.host == socket.gethostname() else age < STALE_SECONDS


def _process_lives(holder: Holder) -> bool:
    try:
        return _born(holder.pid) == holder.born
    except OSError:
        return False


def _born(pid: int) -> float:
    """When a process of this host started, in clock ticks after boot (field 22 of /proc/PID/stat; zombies are dead)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return float(fields[19])
