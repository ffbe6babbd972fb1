"""A driver's own copy of a study in an object store: where it lies, and how the two are brought together.

The driver works in the copy as in any study directory, and its log's mirror brings the store up to it. The copy
outlives the process: on the same machine nothing is lost that was written here, flushed or not.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from analysis.copies import ORIGIN_FILE, fetch_files
from analysis.errors import StoreError
from analysis.files import write_atomic
from analysis.holders import read_claim
from analysis.log import LOG_FILE
from analysis.objects import ObjectStore, StoreUrl
from analysis.segments import Segment, Writer, read_segments
from analysis.study import STUDY_FILE
from tune_gate.study_dir import STOP_REQUEST

#: Where working copies lie; in a cluster the workers' scratch, too, so it must be a path that every node can write.
CACHE_VARIABLE = "TUNE_GATE_CACHE"

#: Who writes what a log begins with, before any driver holds the study.
BEFORE_ALL = Writer(0, "00")


def cache_folder() -> Path:
    """Where the copies of this user lie."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tune-gate"


def working_copy(url: StoreUrl) -> Path:
    """The folder of the copy of the study at `url`, which need not exist yet."""
    digest = hashlib.sha256(str(url).encode()).hexdigest()[:12]
    place = cache_folder().resolve() / f"{Path(url.path).name}-{digest}"
    if not (place / ORIGIN_FILE).exists():
        write_atomic(place / ORIGIN_FILE, str(url))
    return place / "study"


def reconcile(store: ObjectStore, study: Path) -> None:
    """Bring the copy `study` to the state of its store. To be called by who holds the study.

    What the copy's log has beyond the store's was not flushed before its driver died; it is kept where nobody went on
    from the store in the meantime. Where someone did, the store's log counts, and the copy's is set aside.

    Raises:
        StudyNotFound: the store holds no study.
        StoreError: the store cannot be used.
        OSError: the copy cannot be written.
    """
    study.mkdir(parents=True, exist_ok=True)
    fetch_files(store, study)
    store.delete([STOP_REQUEST])  # of a driver that is gone
    _, there = read_segments(store)
    log = study / LOG_FILE
    here = log.read_bytes() if log.exists() else b""
    if here.startswith(there):
        return
    if not there.startswith(here[: here.rfind(b"\n") + 1]):
        log.rename(log.with_name(f"{log.name}.unflushed-{time.strftime('%Y%m%d-%H%M%S')}"))
    write_atomic(log, there)


def replace_log(store: ObjectStore, study: Path) -> None:
    """Make the copy's log, which was repaired, the store's. The segments of the old one stay.

    To be called by who holds the study.

    Raises:
        StoreError: the store cannot be used, or is held by another.
    """
    claim = read_claim(store)
    if claim is None:
        raise StoreError(f"the lock of {store.url} is gone; try again")
    data = (study / LOG_FILE).read_bytes()
    store.write(Segment(0, len(data), claim.writer).key, data)


def set_aside(study: Path) -> None:
    """Make room for a new study: a copy of one that is no longer in the store gets another name."""
    if study.exists():
        study.rename(study.with_name(f"{study.name}.gone-{time.strftime('%Y%m%d-%H%M%S')}"))


def publish(store: ObjectStore, study: Path) -> None:
    """Put the new study `study`, with what its log inherited, into its store; with the last file, it exists there."""
    log = study / LOG_FILE
    if log.exists():
        data = log.read_bytes()
        store.write(Segment(0, len(data), BEFORE_ALL).key, data)
    names = sorted((path.name for path in study.iterdir() if path.is_file()), key=lambda name: name == STUDY_FILE)
    for name in names:
        store.write(name, (study / name).read_bytes())
