"""What a figure shows, apart from who draws it: panels of marks, as plain arrays.

A builder turns a study into a `Chart`; `analysis.plots.in_plotly` and `analysis.plots.in_matplotlib` draw any chart. So
what a figure says is tested once, on its numbers, and both drawings say it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError

Numbers = NDArray[np.float64]

Dash = Literal["solid", "dash", "dot", "dashdot"]

#: Colours that the colour-blind tell apart, too: Okabe and Ito (2008), Color Universal Design.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, BLACK, GREY = "#56B4E9", "#CC79A7", "#F0E442", "#000000", "#9A9A9A"

#: One for each way in which a trial can end, or not.
STATE_COLOURS = {
    "completed": BLUE,
    "stopped": ORANGE,
    "diverged": VERMILLION,
    "failed": BLACK,
    "running": GREEN,
    "paused": PURPLE,
    "waiting": GREY,
}

#: Of rungs, the first one first; light and dark in turn, so that they differ in grey, too.
RUNG_COLOURS = (ORANGE, GREEN, PURPLE, YELLOW, SKY)


class NothingToShow(AnalysisError):  # noqa: N818
    """The study has not what the figure is about; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis. With `ticks` it is a list of places with their labels."""

    label: str
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one colour; NaN in `x` parts one line from the next. Arrays of shape (n,)."""

    name: str
    colour: str
    x: Numbers
    y: Numbers
    width: float = 1.5
    opacity: float = 1.0
    steps: bool = False  # a value holds until the next
    in_legend: bool = True
    dash: Dash = "solid"  # tells lines apart where colours do not

    @property
    def alone(self) -> NDArray[np.bool_]:
        """Which points have no neighbour, and so no line: they are drawn as points. Shape (n,)."""
        known = np.concatenate(([False], np.isfinite(self.x) & np.isfinite(self.y), [False]))
        found: NDArray[np.bool_] = known[1:-1] & ~known[:-2] & ~known[2:]
        return found


@dataclass(frozen=True, slots=True)
class Points:
    """Points, each with an optional interval in y. Arrays of shape (n,)."""

    name: str
    colour: str
    x: Numbers
    y: Numbers
    labels: tuple[str, ...] = ()  # shown when pointed at
    low: Numbers | None = None
    high: Numbers | None = None
    size: float = 6.0
    symbol: Literal["circle", "x", "diamond"] = "circle"


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars, the first one on top, each with a text at its end."""

    name: str
    colour: str
    categories: tuple[str, ...]
    values: Numbers
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heat:
    """A surface on a grid: `z` of shape (len(y), len(x)); NaN where nothing is known."""

    label: str
    x: Numbers
    y: Numbers
    z: Numbers


Mark = Lines | Points | Bars | Heat


@dataclass(frozen=True, slots=True)
class Panel:
    """A pair of axes and what lies in it."""

    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis of parallel coordinates; values of shape (n,), on a log scale already log10."""

    label: str
    values: Numbers
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class ParallelPanel:
    """Parallel coordinates: a line for each of n trials, coloured by `values`."""

    dimensions: tuple[Dimension, ...]
    values: Numbers
    label: str  # of the colours
    marks: tuple[Mark, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure: panels side by side, at most `columns` in a row."""

    name: str
    title: str
    caption: str  # what is to be seen, in a sentence or two; with numbers of trials
    panels: tuple[Panel | ParallelPanel, ...]
    columns: int = 1
    height: float = 2.4  # of a row in a paper, inches
    legend: bool = True

    @property
    def rows(self) -> int:
        """Rows of panels."""
        return -(-len(self.panels) // self.columns)


def joined(curves: list[tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers]:
    """Many lines as the two arrays of `Lines`, parted by NaN."""
    gap = np.array([np.nan])
    x = [part for curve, _ in curves for part in (curve.astype(np.float64), gap)]
    y = [part for _, curve in curves for part in (curve.astype(np.float64), gap)]
    return (np.concatenate(x[:-1]), np.concatenate(y[:-1])) if x else (gap[:0], gap[:0])
