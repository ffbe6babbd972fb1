"""Studies in an object store, read through a copy on this machine that lasts as long as the process."""

from __future__ import annotations

import atexit
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.errors import StudyNotFound
from analysis.files import write_atomic
from analysis.log import LOG_FILE
from analysis.objects import ObjectStore, is_url, open_store, store_url
from analysis.segments import Segment, read_segments

#: Beside a copy of a study, the URL of which it is one.
ORIGIN_FILE = ".tune-gate-origin"

#: Files of a study that belong to its driver, not to its readers.
PRIVATE = ("driver.lock", "driver.log", "stop-requested")


@dataclass
class _Copy:
    store: ObjectStore
    place: tempfile.TemporaryDirectory[str]
    segments: Sequence[Segment] = ()
    data: bytes = field(default=b"", repr=False)

    @property
    def folder(self) -> Path:
        return Path(self.place.name) / "study"

    def refresh(self) -> None:
        """Bring the copy to the state of the store."""
        fetch_files(self.store, self.folder)
        self.segments, data = read_segments(self.store, self.segments, self.data)
        if data != self.data:
            write_atomic(self.folder / LOG_FILE, data)
            self.data = data


_copies: dict[str, _Copy] = {}  # of this process, by URL; their folders go when it ends


def local_copy(study: str | Path) -> Path:
    """Where on this machine `study` can be read, as it stands now: itself, or a copy if it is a store's URL.

    Raises:
        StoreError: the store cannot be used.
        StudyNotFound: it holds no study there.
    """
    if not is_url(study):
        refresh(Path(study))
        return Path(study)
    url = str(store_url(study))
    copy = _copies.get(url)
    if copy is None:
        copy = _Copy(open_store(url), tempfile.TemporaryDirectory(prefix="tune-gate-"))
        atexit.register(copy.place.cleanup)
        write_atomic(copy.folder.parent / ORIGIN_FILE, url)
        _copies[url] = copy
    copy.refresh()
    return copy.folder


def refresh(study: Path) -> None:
    """Bring `study`, where it is a copy that this process reads, to the state of its store."""
    for copy in _copies.values():
        if copy.folder == study:
            copy.refresh()


def origin_of(study: Path) -> str | None:
    """The URL of which `study` is a copy on this machine; None for a study that lies here."""
    try:
        return (study.parent / ORIGIN_FILE).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None


def shown(path: Path) -> str:
    """The name by which a user knows `path`: of a copy, and of what lies in it, the URL."""
    for study in (path, *path.parents):
        origin = origin_of(study)
        if origin is not None:
            below = path.relative_to(study).as_posix()
            url, question, options = origin.partition("?")
            return origin if below == "." else f"{url}/{below}{question}{options}"
    return str(path)


def quoted(study: Path) -> str:
    """The name of `study` for a command that a user is told to type."""
    return shlex.quote(shown(study))


def fetch_below(study: Path, folder: str) -> None:
    """Bring what lies below `folder` of a study in a store into its copy `study`; nothing for a study that lies here.

    Raises:
        StoreError: the store cannot be used.
    """
    origin = origin_of(study)
    if origin is None:
        return
    store = open_store(origin)
    for entry in store.objects(folder):
        store.download(entry.key, study / entry.key)


def fetch_files(store: ObjectStore, folder: Path) -> None:
    """Write the study's own small files to `folder`: its specification, and what else lies beside it.

    Raises:
        StudyNotFound: the store holds no study there.
    """
    names = [entry.key for entry in store.files() if entry.key not in PRIVATE]
    if "study.json" not in names:
        raise StudyNotFound(f"no study at {store.url}: it holds no study.json")
    for name in names:
        data = store.read(name)
        target = folder / name
        if data is not None and not (target.exists() and target.read_bytes() == data):
            write_atomic(target, data)
