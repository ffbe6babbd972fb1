"""TensorBoard's event files as plain scalars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.importers.foreign import ImportFailed

PATTERN = "*tfevents*"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value that was logged."""

    tag: str
    step: int
    value: float
    time: float  # Unix time, seconds


@dataclass(frozen=True, slots=True)
class EventFile:
    """The scalars of one file, in the order of the file."""

    path: Path
    started: float  # Unix time of its first record, seconds; 0 where it has none
    scalars: tuple[Scalar, ...]


def event_files(folder: Path) -> list[Path]:
    """The event files in `folder` and below it, sorted.

    Raises:
        ImportFailed: the folder holds none.
    """
    found = sorted(path for path in folder.rglob(PATTERN) if path.is_file()) if folder.is_dir() else []
    if not found:
        raise ImportFailed(f"{folder} holds no event files of TensorBoard (…tfevents…)")
    return found


def read_event_file(path: Path) -> EventFile:
    """The scalars of the event file at `path`. A torn end is left out, as TensorBoard does.

    Raises:
        ImportFailed: the file cannot be read.
    """
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader  # noqa: PLC0415  slow

    started, scalars = 0.0, list[Scalar]()
    try:
        for event in LegacyEventFileLoader(str(path)).Load():
            started = started or event.wall_time
            scalars += _scalars(event)
    except Exception as error:  # noqa: BLE001  the reader raises whatever its C++ part or protobuf does
        raise ImportFailed(f"cannot read the event file {path}: {' '.join(str(error).split())}") from None
    return EventFile(path, started, tuple(scalars))


def _scalars(event: Any) -> Iterator[Scalar]:
    from tensorboard.util import tensor_util  # noqa: PLC0415

    for value in event.summary.value if event.HasField("summary") else ():
        kind = value.WhichOneof("value")
        if kind == "simple_value":
            yield Scalar(value.tag, event.step, float(value.simple_value), event.wall_time)
        elif kind == "tensor" and value.metadata.plugin_data.plugin_name == "scalars":
            number = tensor_util.make_ndarray(value.tensor)
            yield Scalar(value.tag, event.step, float(number.item()), event.wall_time)
