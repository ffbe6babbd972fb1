"""Writing files so that a reader sees the old content or the new, never a part of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends well.

    The content goes to a temporary name in the same folder, which is made where it is absent; it is synced to
    disk before it is renamed.

    Raises:
        OSError: the folder or the file cannot be written; the old file, if any, is intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def take_place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy of it where the file system knows no second names.

    Raises:
        OSError: `source` is missing, or there is no room; the old `target`, if any, is intact.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        with whole_file(target) as file, source.open("rb") as content:
            shutil.copyfileobj(content, file)
    else:
        temporary.replace(target)  # where both are one file already, POSIX has this do nothing
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text`, as UTF-8, to `path`, whole or not at all. Raises as `whole_file`."""
    with whole_file(path) as file:
        file.write(text.encode())
