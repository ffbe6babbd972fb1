"""Fingerprints of the code that a trial's result depends on, file by file."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from analysis.events import CodeAccepted, Event

#: Our own rooms whose code makes a result: what may vary, and how one configuration is trained.
_ROOMS = ("search_spaces", "trainables")

#: Hexadecimal digits of a fingerprint: enough that two versions of a file never share one.
_DIGITS = 16

#: Fingerprint by file, the name as in an import path (`trainables/resnet.py`).
Fingerprints = Mapping[str, str]


def code_fingerprints(trainable: str) -> dict[str, str]:
    """The fingerprints of the code behind `trainable` (MODULE:CLASS) as it is on the disk now.

    Of a trainable of ours, that is every source file of our rooms; of anybody else's, the file that defines it and our
    search spaces. What those import from elsewhere is not seen.
    """
    module = trainable.partition(":")[0]
    ours = module.partition(".")[0] in _ROOMS
    rooms = _ROOMS if ours else ("search_spaces",)
    files = {name: path for room in rooms for name, path in _sources(room)}
    if not ours and (own := _here(module) or _file_of(module)) is not None:
        files[f"{module.replace('.', '/')}.py"] = own
    return {name: _digest(path) for name, path in sorted(files.items())}


def accepted_fingerprints(launched: Fingerprints, events: Iterable[Event]) -> dict[str, str]:
    """The code that the study's next session may run: that of its launch, and what was accepted since."""
    files = dict(launched)
    for event in events:
        if isinstance(event, CodeAccepted):
            for name, digest in event.files.items():
                if digest is None:
                    files.pop(name, None)
                else:
                    files[name] = digest
    return files


def changed_files(before: Fingerprints, now: Fingerprints) -> dict[str, str | None]:
    """The files that differ, with their fingerprints now; None for one that is gone."""
    names = sorted(before.keys() | now.keys())
    return {name: now.get(name) for name in names if before.get(name) != now.get(name)}


def _sources(package: str) -> Iterator[tuple[str, Path]]:
    init = _file_of(package)
    if init is None:
        return
    for path in init.parent.rglob("*.py"):
        yield f"{package}/{path.relative_to(init.parent).as_posix()}", path


def _here(module: str) -> Path | None:
    """The module in the working folder, where the driver's process looks first, and a console script does not."""
    path = Path(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def _file_of(module: str) -> Path | None:
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None  # the driver says so before it starts a trial
    return Path(found.origin) if found is not None and found.origin is not None else None


def _digest(path: Path) -> str:
    """Line ends do not count: a checkout may change them."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:_DIGITS]
