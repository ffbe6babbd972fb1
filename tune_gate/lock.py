"""One driver per study: a lock file that names its holder, and that a dead holder loses."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tune_gate.errors import StudyLocked

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


def current_holder(study: Path) -> Holder | None:
    """The living holder of `study`, or None."""
    path = study / LOCK_FILE
    holder = _named_in(path)
    if holder is None:
        return None
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    alive = _process_lives(holder) if holder.host == socket.gethostname() else age < STALE_SECONDS
    return holder if alive else None


@contextlib.contextmanager
def hold(study: Path) -> Iterator[Holder]:
    """Hold `study` for the length of the block.

    Raises:
        StudyLocked: another living driver holds it.
    """
    holder = _acquire(study)
    stop = threading.Event()
    beat = threading.Thread(target=_heartbeat, args=(study / LOCK_FILE, stop), daemon=True)
    beat.start()
    try:
        yield holder
    finally:
        stop.set()
        beat.join()
        if _named_in(study / LOCK_FILE) == holder:  # after a long silence another host may have taken it over
            (study / LOCK_FILE).unlink(missing_ok=True)


def _acquire(study: Path) -> Holder:
    me = Holder(socket.gethostname(), os.getpid(), _born(os.getpid()), time.time())
    path = study / LOCK_FILE
    mine = study / f"{LOCK_FILE}.{me.host}.{me.pid}"
    mine.write_text(json.dumps(asdict(me)))
    try:
        with _one_at_a_time(study):
            holder = current_holder(study)
            if holder is not None:
                raise StudyLocked(
                    f"{study} is in use by {holder}; `tune-gate stop {study}` ends that search in good order"
                )
            path.unlink(missing_ok=True)  # a dead holder's
            os.link(mine, path)  # atomic, on shared file systems as well: it fails where the lock exists
    except FileExistsError:
        raise StudyLocked(f"{study} is being fought over by several drivers; try again") from None
    else:
        return me
    finally:
        mine.unlink(missing_ok=True)


@contextlib.contextmanager
def _one_at_a_time(study: Path) -> Iterator[None]:
    """Of several drivers that find a dead lock, the second must not remove what the first has put in its place."""
    folder = os.open(study, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some shared file systems cannot; there it is the link alone that decides
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _named_in(path: Path) -> Holder | None:
    """Whom the lock file names, dead or alive."""
    try:
        return Holder(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None  # torn by a crash while it was written: nobody holds it


def _heartbeat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


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
