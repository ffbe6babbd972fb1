"""`resources: auto`: how many trials share a node, or a GPU, by measured epochs of one alone and of several at once.

Trials side by side are slower each, and faster together, up to a point that depends on the model, the batch and the
machine. So the number is doubled until the epochs per minute no longer grow, or the memory is full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tune_gate.errors import Misuse
from tune_gate.resources import ResourceSettings

GB = 1e9

#: More trials at once must bring so many times the epochs per minute; one measured epoch is no more exact than that.
GAIN = 1.05

#: A trial may take so many times the memory that it was seen to take: another may validate while its neighbours train.
MEMORY_MARGIN = 1.25

#: A CUDA context takes so many bytes of a GPU, beside what torch counts.
CONTEXT_BYTES = 0.6e9

#: Sixteenths of a GPU are the smallest that Ray counts without a remainder.
SMALLEST_SHARE = 16


class Overloaded(Exception):  # noqa: N818  it says what the machine is
    """So many trials cannot run side by side here; says why."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a node has for trials."""

    name: str
    cpus: float
    gpus: float
    memory: float  # bytes


@dataclass(frozen=True, slots=True)
class Split:
    """Trials side by side on a GPU, or on a node where they use none; and what each of them is given."""

    trials: int
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Load:
    """What trials side by side took, each for one epoch."""

    seconds: tuple[float, ...]  # of each
    memory: int  # bytes of the largest, at its peak, without what the trials share
    gpu_memory: int = 0  # bytes of a GPU that torch took for the largest, at its peak
    gpu_total: int = 0  # bytes of the GPU

    @property
    def pace(self) -> float:
        """Epochs per minute, of all together."""
        return sum(60.0 / seconds for seconds in self.seconds)


@dataclass(frozen=True, slots=True)
class Tried:
    """A split, and what came of it: a measurement, or the reason why there is none."""

    split: Split
    load: Load | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Packing:
    """A choice, and what it rests on."""

    room: Room
    wanted: ResourceSettings
    tried: tuple[Tried, ...]
    split: Split  # the chosen one
    load: Load  # what was measured of it

    @property
    def memory(self) -> float | None:
        """GB that Ray is to set aside for each trial, in tenths; None where nobody knows."""
        if self.wanted.memory is not None or not self.load.memory:
            return self.wanted.memory
        return math.ceil(10 * self.load.memory * MEMORY_MARGIN / GB) / 10

    def settings(self) -> dict[str, Any]:
        """The chosen resources by dotted key, with nothing left to choose."""
        chosen: dict[str, Any] = {"cpus": self.split.cpus, "gpus": self.split.gpus, "auto": []}
        if self.memory != self.wanted.memory:
            chosen["memory"] = self.memory
        return {f"resources.{name}": value for name, value in chosen.items()}

    def record(self) -> list[dict[str, Any]]:
        """What was measured, as plain JSON values."""
        return [
            {
                "trials": each.split.trials,
                "cpus": each.split.cpus,
                "gpus": each.split.gpus,
                "seconds": None if each.load is None else [round(seconds, 4) for seconds in each.load.seconds],
                "memory": None if each.load is None else each.load.memory,
                "gpu_memory": None if each.load is None else each.load.gpu_memory,
                "reason": each.reason,
            }
            for each in self.tried
        ]

    def __str__(self) -> str:
        aside = "" if self.memory is None else f" and {self.memory:g} GB"
        gpus = f", {self.split.gpus:g} GPUs" if self.split.gpus else ""
        found = "; ".join(_words(each) for each in self.tried)
        return f"{self.split.cpus:g} CPUs{gpus}{aside} for each trial, as measured on {self.room.name}: {found}"


def choose(room: Room, wanted: ResourceSettings, trials: int, measure: Callable[[Split], Load]) -> Packing:
    """What each of a study's `trials` is to be given on nodes like `room`.

    Args:
        room: a node, or this machine.
        wanted: what the study fixes; what it leaves open is in its `auto`.
        trials: of the whole study; no more run at once.
        measure: runs a split for an epoch. Raises `Overloaded` where that many do not run.

    Raises:
        Misuse: not even one trial runs.
    """
    tried: list[Tried] = []
    best: tuple[Split, Load] | None = None
    for split in splits(room, wanted, trials):
        if best is not None and (reason := _too_large(split, best[1], room)):
            tried.append(Tried(split, None, reason))
            break
        try:
            load = measure(split)
        except Overloaded as problem:
            if best is None:
                raise Misuse(f"a trial cannot be measured on {room.name}: {problem}") from None
            tried.append(Tried(split, None, str(problem)))
            break
        tried.append(Tried(split, load))
        if best is not None and load.pace < GAIN * best[1].pace:
            break
        best = (split, load)
    assert best is not None  # noqa: S101  there is a first split, and it ran or raised
    return Packing(room, wanted, tuple(tried), *best)


def splits(room: Room, wanted: ResourceSettings, trials: int) -> list[Split]:
    """The splits worth a measurement, the fewest trials first; what `wanted` fixes is the same in each."""
    most = min(trials, wanted.concurrency or trials)
    if "gpus" in wanted.auto and room.gpus >= 1:
        return list(_shares_of_gpus(room, wanted, most))
    if "cpus" not in wanted.auto:
        return [Split(1, wanted.cpus, wanted.gpus)]
    if wanted.gpus:
        return [_beside_gpus(room, wanted, most)]
    cores = max(1, int(room.cpus))
    threads = sorted({max(1, cores // count) for count in _doubled(min(most, cores))}, reverse=True)
    return [Split(min(most, cores // each), float(each), 0.0) for each in threads]


def _shares_of_gpus(room: Room, wanted: ResourceSettings, most: int) -> Iterator[Split]:
    """One trial on a GPU, two, four, …: as many as the cores beside it can serve, one each at least."""
    cores = room.cpus / room.gpus
    served = cores if "cpus" in wanted.auto else cores // wanted.cpus
    for count in _doubled(min(SMALLEST_SHARE, max(1, int(served)), math.ceil(most / room.gpus))):
        if count & (count - 1) == 0:  # only halves of halves are exact
            yield Split(count, _whole(cores / count) if "cpus" in wanted.auto else wanted.cpus, 1.0 / count)


def _beside_gpus(room: Room, wanted: ResourceSettings, most: int) -> Split:
    """The share of a GPU is given, and with it how many trials run; they share the cores."""
    on_node = max(1, min(most, int((room.gpus + 1e-4) // wanted.gpus)))
    at_once = max(1, int((1 + 1e-4) // wanted.gpus)) if wanted.gpus < 1 else 1
    return Split(min(at_once, most), _whole(room.cpus / on_node), wanted.gpus)


def _doubled(most: int) -> Iterator[int]:
    """1, 2, 4, … and `most`."""
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most


def _whole(cores: float) -> float:
    """Whole cores where there is one at least; Ray counts in ten-thousandths."""
    return float(int(cores)) if cores >= 1 else math.floor(1e4 * cores) / 1e4


def _too_large(split: Split, alone: Load, room: Room) -> str:
    """Why the memory does not hold so many trials; empty where it does. `alone`: what fewer were seen to take."""
    if split.gpus and alone.gpu_total:
        need = split.trials * (alone.gpu_memory * MEMORY_MARGIN + CONTEXT_BYTES)
        if need > alone.gpu_total:
            return f"would take {need / GB:.1f} GB of the GPU's {alone.gpu_total / GB:.1f}"
    on_node = split.trials * (max(1.0, room.gpus) if split.gpus else 1.0)
    need = on_node * alone.memory * MEMORY_MARGIN
    if need > room.memory:
        return f"would take {need / GB:.1f} GB of the node's {room.memory / GB:.1f}"
    return ""


def _words(each: Tried) -> str:
    count = "1 trial" if each.split.trials == 1 else f"{each.split.trials} at once"
    if each.load is None:
        return f"{count}: {each.reason}"
    return f"{count}: {each.load.pace:.3g} epochs a minute{_sizes(each.load)}"


def _sizes(load: Load) -> str:
    sizes = ((load.memory, "GB"), (load.gpu_memory, "GB of the GPU"))
    parts = [f"{size / GB:.2g} {unit}" for size, unit in sizes if size]
    return f" ({' and '.join(parts)} each)" if parts else ""
