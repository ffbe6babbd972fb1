"""One driver per study: a lock file that names its holder, and that a dead holder loses.

A study in an object store is held twice: its working copy on this machine, and the study itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from analysis.copies import origin_of, quoted, shown
from analysis.objects import is_url, open_store
from tune_gate.errors import StudyLocked
from tune_gate.holder import HEARTBEAT_SECONDS, STALE_SECONDS, Holder, lives, this_process
from tune_gate.store_lock import hold_store, store_holder
from tune_gate.working_copy import reconcile

__all__ = ["LOCK_FILE", "STALE_SECONDS", "Holder", "current_holder", "hold", "hold_here"]

LOCK_FILE = "driver.lock"


def current_holder(study: Path) -> Holder | None:
    """The living holder of `study`, or None. Raises `StoreError` where it lies in a store that cannot be used."""
    origin = str(study) if is_url(study) else origin_of(study)
    return _holder_here(study) or (store_holder(open_store(origin)) if origin is not None else None)


def _holder_here(study: Path) -> Holder | None:
    path = study / LOCK_FILE
    holder = _named_in(path)
    if holder is None:
        return None
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None
    return holder if lives(holder, age) else None


@contextlib.contextmanager
def hold(study: Path) -> Iterator[Holder]:
    """Hold `study` for the length of the block; the copy of one in an object store is then as the store has it.

    Raises:
        StudyLocked: another living driver holds it.
        StoreError: the study lies in a store that cannot be used.
    """
    with hold_here(study) as holder:
        origin = origin_of(study)
        if origin is None:
            yield holder
            return
        store = open_store(origin)
        with hold_store(store):
            reconcile(store, study)
            yield holder


@contextlib.contextmanager
def hold_here(study: Path) -> Iterator[Holder]:
    """Hold the folder `study` of this machine, or of a file system that it shares, for the length of the block.

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
    me = this_process()
    path = study / LOCK_FILE
    mine = study / f"{LOCK_FILE}.{me.host}.{me.pid}"
    mine.write_text(json.dumps(asdict(me)))
    try:
        with _one_at_a_time(study):
            holder = _holder_here(study)
            if holder is not None:
                raise StudyLocked(
                    f"{shown(study)} is in use by {holder}; "
                    f"`tune-gate stop {quoted(study)}` ends that search in good order"
                )
            path.unlink(missing_ok=True)  # a dead holder's
            os.link(mine, path)  # atomic, on shared file systems as well: it fails where the lock exists
    except FileExistsError:
        raise StudyLocked(f"{shown(study)} is being fought over by several drivers; try again") from None
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
