"""A trainable whose checkpoints live in the study's object store, on whatever node its process runs.

The trainable itself writes files to its work order's folder, as ever. That folder is scratch here: it is filled from
the store when a trial is taken up, and its files are in the store before a report leaves the worker. So the log never
names an epoch whose checkpoint is not there. Nothing in the store is deleted by the worker: which files a report makes
superfluous is said with the report, and the driver deletes them once that report is safe.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.objects import ObjectStore, open_store
from trainables.work import WorkOrder, work_order
from tune_gate.patience import patiently

#: The key of a result that names the objects which it makes superfluous.
SUPERSEDED = "superseded"

#: How files are named that hold the state of one epoch, or belong to it.
_OF_AN_EPOCH = re.compile(r"epoch-(\d+)")


class CheckpointMirror:
    """A trial's folder on this node, and the objects below `prefix` in the store."""

    def __init__(self, store: ObjectStore, prefix: str, folder: Path) -> None:
        self.folder = folder
        self._store = store
        self._prefix = prefix
        self._known: Mapping[str, tuple[int, int]] = {}  # of each file in the store, size and time of the one here

    def pull(self, up_to: int) -> None:
        """Make the folder what the store has up to the epoch `up_to`.

        What is newer was never reported, and goes at once: if it went with a later report, it could by then be there
        anew. What another attempt left in the folder may be of a run that does not count.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for entry in self._store.objects(self._prefix):
            epoch = _epoch_of(entry.key)
            if epoch is not None and epoch > up_to:
                self._store.delete([entry.key])
                continue
            self._store.download(entry.key, self.folder / entry.key.removeprefix(f"{self._prefix}/"))
        self._known = self._files()

    def push(self) -> list[str]:
        """Put what is new into the store; the objects of single epochs that are no longer in the folder.

        A file that has one name at all times, as the best model has, is not among them: it may come back.
        """
        files = self._files()
        for name in files:
            if files[name] != self._known.get(name):
                self._store.upload(self.folder / name, f"{self._prefix}/{name}")
        gone = [f"{self._prefix}/{name}" for name in self._known if name not in files and _epoch_of(name) is not None]
        self._known = files
        return gone

    def clear(self) -> None:
        """Remove the folder: the store has it all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> dict[str, tuple[int, int]]:
        paths = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        stats = ((path, path.stat()) for path in paths)
        return {path.relative_to(self.folder).as_posix(): (stat.st_size, stat.st_mtime_ns) for path, stat in stats}


def mirrored(base: Any, url: str) -> type:
    """The `ray.tune.Trainable` `base`, with its checkpoints in the study at `url`.

    Its `setup` must take up a trial from its folder, and its `reset_config`, if it has one, must call `setup`.
    """

    class Mirrored(base):  # type: ignore[misc]  # a class like any other, but known only now
        """`base` with its folder mirrored."""

        def setup(self, config: dict[str, Any]) -> None:
            order = work_order(config)
            self._mirror = CheckpointMirror(open_store(url), trial_prefix(order), order.checkpoints)
            patiently(lambda: self._mirror.pull(order.from_epoch))
            super().setup(config)

        def step(self) -> dict[str, Any]:
            result: dict[str, Any] = super().step()
            return {**result, SUPERSEDED: patiently(self._mirror.push)}

        def cleanup(self) -> None:
            super().cleanup()
            patiently(self._mirror.push)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            old = self._mirror
            taken_up: bool = super().reset_config(new_config) and self._mirror is not old
            if self._mirror.folder != old.folder:
                old.clear()
            return taken_up  # where not, Ray starts a new process

    def measure(order: dict[str, Any]) -> dict[str, float]:
        typed = work_order(order)
        mirror = CheckpointMirror(open_store(url), trial_prefix(typed), typed.checkpoints)
        patiently(lambda: mirror.pull(typed.from_epoch))
        try:
            return dict(base.measure(order))
        finally:
            mirror.clear()

    if hasattr(base, "measure"):
        Mirrored.measure = staticmethod(measure)
    Mirrored.__name__ = base.__name__
    Mirrored.__qualname__ = base.__qualname__
    return Mirrored


def _epoch_of(name: str) -> int | None:
    """The epoch whose state a file holds, by its name; None for every other file."""
    found = _OF_AN_EPOCH.search(name.rpartition("/")[2])
    return None if found is None else int(found[1])


def trial_prefix(order: WorkOrder) -> str:
    """Where a trial's checkpoints lie in the store: as in a study directory."""
    return "/".join(order.checkpoints.parts[-2:])
