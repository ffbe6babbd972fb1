"""One copy of a data set for all processes of a machine: a file that each maps, so that its pages are there once.

Such a file lives as long as some process uses it. A process that finds it without a user reads the data anew, so nobody
goes on with what has been changed since; and it clears away what others have left.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import torch

from trainables.data.contract import SearchData, Split

#: The files that this process uses; each is open, with a shared lock on it, until the process ends.
_USED: list[BinaryIO] = []


def shared_data(key: object, read: Callable[[], SearchData]) -> SearchData:
    """What `read` gives, as tensors that map a file of this machine; `read` is called only where it must be.

    Other processes that want the same `key` wait meanwhile. The mapping is private: who writes to a tensor changes
    their own copy of the page alone. Where no file can be kept (a full disk), the data are this process's own.

    Raises:
        DataError: as `read`.
    """
    path = _folder() / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.pt"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        lock = path.with_suffix(".lock").open("wb")
    except OSError:
        return read()
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _in_use(path):
            return _map(path)
        data = read()
        with contextlib.suppress(OSError):
            _sweep(path.parent)
            _write(path, data)
            return _map(path)
        return data


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process of those that see `folder` is in the block, and the others wait; where the file system knows no
    locks, they do not.

    Raises:
        OSError: there is no such folder.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"tune-gate-data-{os.getuid()}"


def _in_use(path: Path) -> bool:
    """Whether some process maps the file: each holds a shared lock on it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return path.stat().st_uid == os.getuid()
    return False


def _sweep(folder: Path) -> None:
    """Remove what nobody uses."""
    for path in folder.glob("*.pt"):
        if not _in_use(path):
            path.unlink(missing_ok=True)


def _write(path: Path, data: SearchData) -> None:
    content = {
        "train": (data.train.images, data.train.labels),
        "val": (data.val.images, data.val.labels),
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "augment": data.augment,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(content, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _map(path: Path) -> SearchData:
    file = path.open("rb")
    fcntl.flock(file, fcntl.LOCK_SH)
    _USED.append(file)
    content = torch.load(path, mmap=True, weights_only=True)
    return SearchData(
        train=Split(*content["train"]),
        val=Split(*content["val"]),
        classes=content["classes"],
        mean=content["mean"],
        std=content["std"],
        augment=content["augment"],
    )
