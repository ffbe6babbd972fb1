"""One driver per study: a lock file that names its holder, and that a dead holder loses.

A study in an object store is held twice: its working copy on this machine, and the study itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from analysis.copies import origin_of, quoted, shown
from analysis.holders import (
    HEARTBEAT_SECONDS,
    LOCK_FILE,
    STALE_SECONDS,
    Holder,
    current_holder,
    holder_here,
    named_in,
    this_process,
)
from analysis.objects import open_store
from tune_gate.errors import StudyLocked
from tune_gate.store_lock import hold_store
from tune_gate.working_copy import reconcile

__all__ = ["LOCK_FILE", "STALE_SECONDS", "Holder", "current_holder", "hold", "hold_here"]


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
        if named_in(study / LOCK_FILE) == holder:  # after a long silence another host may have taken it over
            (study / LOCK_FILE).unlink(missing_ok=True)


def _acquire(study: Path) -> Holder:
    me = this_process()
    path = study / LOCK_FILE
    mine = study / f"{LOCK_FILE}.{me.host}.{me.pid}"
    mine.write_text(json.dumps(asdict(me)))
    try:
        with _one_at_a_time(study):
            holder = holder_here(study)
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


def _heartbeat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)
