"""Who holds a study: the driver that its lock names, and whether that still lives."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from analysis.copies import origin_of
from analysis.objects import ObjectStore, is_url, open_store
from analysis.segments import Writer

#: In a study's folder, and in a study in an object store.
LOCK_FILE = "driver.lock"

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


@dataclass(frozen=True, slots=True)
class Claim:
    """A driver's claim to a study, and the name under which it writes the log."""

    holder: Holder
    writer: Writer


def current_holder(study: Path) -> Holder | None:
    """The living holder of `study`, or None. Raises `StoreError` where it lies in a store that cannot be used."""
    origin = str(study) if is_url(study) else origin_of(study)
    return holder_here(study) or (store_holder(open_store(origin)) if origin is not None else None)


def holder_here(study: Path) -> Holder | None:
    """The living holder that the lock file in the folder `study` names."""
    path = study / LOCK_FILE
    holder = named_in(path)
    if holder is None:
        return None
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    return holder if lives(holder, age) else None


def named_in(path: Path) -> Holder | None:
    """Whom the lock file names, dead or alive."""
    try:
        return Holder(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None  # torn by a crash while it was written: nobody holds it


def read_claim(store: ObjectStore) -> Claim | None:
    """Whom the lock names, dead or alive."""
    data = store.read(LOCK_FILE)
    if data is None:
        return None
    try:
        record = json.loads(data)
        return Claim(Holder(**record["holder"]), Writer(**record["writer"]))
    except (ValueError, TypeError, KeyError):
        return None


def store_holder(store: ObjectStore) -> Holder | None:
    """The living holder of the study in `store`, or None."""
    claim, entry = read_claim(store), store.info(LOCK_FILE)
    if claim is None or entry is None:
        return None
    return claim.holder if lives(claim.holder, time.time() - entry.time) else None


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
