"""One driver per study in an object store: an object that names its holder, and that a dead holder loses.

A store as we reach it cannot put an object only where there is none. So a driver writes its claim, waits a moment, and
reads it back: of several that write at once, the last one's claim stands, and the others see that. What remains is a
driver that stalls between looking and writing for longer than that moment. Then two may run until one of them looks at
the claim again, which each does every few seconds; and since each has written under a name of its own, the log stays
one line of segments (`analysis.segments`).
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict

from analysis.errors import StoreError
from analysis.holders import HEARTBEAT_SECONDS, LOCK_FILE, Claim, read_claim, store_holder, this_process
from analysis.objects import ObjectStore
from analysis.segments import Writer, list_segments
from tune_gate.errors import StudyLocked

#: How long a claim must stand before its writer believes in it.
SETTLE_SECONDS = 0.5


@contextlib.contextmanager
def hold_store(store: ObjectStore) -> Iterator[Claim]:
    """Hold the study in `store` for the length of the block.

    Raises:
        StudyLocked: another living driver holds it, or claimed it at the same moment.
        StoreError: the store cannot be used.
    """
    claim = _acquire(store)
    stop = threading.Event()
    beat = threading.Thread(target=_heartbeat, args=(store, claim, stop), daemon=True)
    beat.start()
    try:
        yield claim
    finally:
        stop.set()
        beat.join()
        with contextlib.suppress(StoreError):  # what cannot be taken back will count as dead
            if read_claim(store) == claim:
                store.delete([LOCK_FILE])


def _acquire(store: ObjectStore) -> Claim:
    holder = store_holder(store)
    if holder is not None:
        raise StudyLocked(
            f"{store.url} is in use by {holder}; `tune-gate stop '{store.url}'` ends that search in good order"
        )
    dead = read_claim(store)
    terms = [segment.writer.term for segment in list_segments(store)] + ([dead.writer.term] if dead else [])
    claim = Claim(this_process(), Writer(max(terms, default=0) + 1, secrets.token_hex(4)))
    _write(store, claim)
    time.sleep(SETTLE_SECONDS)
    if read_claim(store) != claim:
        raise StudyLocked(f"{store.url} is being fought over by several drivers; try again")
    return claim


def _heartbeat(store: ObjectStore, claim: Claim, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(StoreError):  # it may come back; the log's writer says so where it does not
            if read_claim(store) not in (claim, None):
                return  # taken over while we were silent: it is not ours to touch
            _write(store, claim)


def _write(store: ObjectStore, claim: Claim) -> None:
    store.write(LOCK_FILE, json.dumps(asdict(claim)).encode())
