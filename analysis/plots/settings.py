"""Figures of the settings: slices, contours and parallel coordinates, at an epoch that half of the trials reached."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.display import heading
from analysis.plots.chart import (
    BLACK,
    BLUE,
    VERMILLION,
    Axis,
    Chart,
    Dimension,
    Heat,
    NothingToShow,
    Numbers,
    Panel,
    ParallelPanel,
    Points,
)
from analysis.plots.course import comparable

if TYPE_CHECKING:
    from analysis.study import Study

_GRID = 40  # cells of a contour, each way
_BANDWIDTH = 0.12  # of the kernel, in parts of a setting's range
_MOST_SLICES = 12
_LONGEST_LABEL = 16  # letters
_MOST_LEVELS = 20  # of a setting that is no number
_FEW = 4  # a number with so few values is shown by place, too


@dataclass(frozen=True, slots=True)
class Scale:
    """A setting on an axis: numbers as they are (or their log10), other values by place."""

    name: str
    values: Numbers  # by trial, NaN where not active
    log: bool
    ticks: tuple[tuple[float, str], ...]  # of settings that are no numbers

    @property
    def axis(self) -> Axis:
        """The axis of the untransformed values."""
        return Axis(heading(self.name), self.log, self.ticks)

    @property
    def linear(self) -> Numbers:
        """The values on the scale of the axis."""
        return np.log10(self.values) if self.log else self.values

    @property
    def varies(self) -> bool:
        """Whether there are two values."""
        return len(np.unique(self.values[~np.isnan(self.values)])) > 1


def slices(study: Study) -> Chart:
    """The accuracy against each setting, one panel each."""
    epoch, table, scales = _table(study)
    y = 100.0 * table["value"].to_numpy()
    best = int(np.argmax(y))
    labels = tuple(f"trial {trial}" for trial in table["trial"])
    panels = []
    for place, scale in enumerate(scales[:_MOST_SLICES]):
        x = _spread(scale)
        marks = (
            Points("trial", BLUE, x, y, labels, size=4.0),
            Points("best", VERMILLION, x[best : best + 1], y[best : best + 1], labels[best : best + 1], size=9.0),
        )
        panels.append(Panel(scale.axis, Axis("Accuracy (%)" if place % 2 == 0 else ""), marks))
    caption = f"{_words(epoch, table)}, against each setting; the best of them is marked."
    return Chart("slices", "Slices", caption, tuple(panels), columns=min(2, len(panels)), height=1.7, legend=False)


def contour(study: Study) -> Chart:
    """The accuracy over the two settings that go with it most, as a smoothed surface."""
    epoch, table, scales = _table(study)
    numeric = [scale for scale in scales if not scale.ticks]
    if len(numeric) < 2:
        raise NothingToShow(f"fewer than two settings are numbers with more than {_FEW} values")
    y = table["value"].to_numpy()
    first, second = sorted(numeric, key=lambda scale: -_strength(scale, y))[:2]
    both = ~(np.isnan(first.values) | np.isnan(second.values))
    if both.sum() < 4:
        raise NothingToShow(f"fewer than 4 trials have both {first.name} and {second.name}")
    grid_x, grid_y = _grid(first, both), _grid(second, both)
    z = _surface(first.linear[both], second.linear[both], 100.0 * y[both], grid_x, grid_y)
    labels = tuple(
        f"trial {trial}: {100 * value:.2f} %" for trial, value in zip(table["trial"][both], y[both], strict=True)
    )
    marks = (
        Heat("Accuracy (%)", _back(first, grid_x), _back(second, grid_y), z),
        Points("trial", BLACK, first.values[both], second.values[both], labels, size=3.0),
    )
    caption = (
        f"{_words(epoch, table)}, smoothed (Gaussian kernel, {_BANDWIDTH:.0%} of each range; blank where no trial is "
        f"near). Shown are the two numeric settings with the largest rank correlation with it; {both.sum()} trials."
    )
    title = f"{heading(first.name)} and {heading(second.name)}"
    return Chart("contour", title, caption, (Panel(first.axis, second.axis, marks),), legend=False, height=2.6)


def parallel(study: Study) -> Chart:
    """Every trial as a line through its settings, coloured by its accuracy."""
    epoch, table, scales = _table(study)
    order = np.argsort(table["value"].to_numpy())  # the best are drawn last
    dimensions = tuple(_dimension(scale, order) for scale in scales[:_MOST_SLICES])
    panel = ParallelPanel(dimensions, 100.0 * table["value"].to_numpy()[order], "Accuracy (%)")
    caption = f"Settings of each trial. Colour: {_words(epoch, table).lower()}; the lowest place: not active."
    height = max(2.4, 0.38 * len(dimensions) + 0.8)
    return Chart("parallel", "Parallel coordinates", caption, (panel,), legend=False, height=height)


def _table(study: Study) -> tuple[int, pd.DataFrame, list[Scale]]:
    epoch, values = comparable(study)
    table = study.trials[study.trials["trial"].isin(values.index)].reset_index(drop=True)
    table["value"] = table["trial"].map(values)
    scales = [
        scale
        for scale in (_scale(name, table[name], study.spec.dimensions[name]) for name in study.spec.space)
        if scale.varies
    ]
    if len(table) < 2 or not scales:
        raise NothingToShow("fewer than two trials, or no setting, can be compared")
    return epoch, table, scales


def _words(epoch: int, table: pd.DataFrame) -> str:
    return f"Best validation accuracy up to epoch {epoch}, of the {len(table)} trials that got there"


def _scale(name: str, column: pd.Series[Any], dimension: Any) -> Scale:
    """Logarithmic where the setting was searched so, or where its positive values span a factor of 50."""
    if column.dtype.kind in "fiu" or str(column.dtype) in ("Int64", "Float64"):
        values: Numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        known = np.unique(values[~np.isnan(values)])
        if len(known) > _FEW:
            searched = any(str(kind).startswith("log") for kind in dimension) if isinstance(dimension, dict) else False
            wide = searched or known[-1] >= 50.0 * known[0]
            return Scale(name, values, bool(known[0] > 0.0 and wide), ())
        texts, levels = column.map(lambda value: f"{value:.4g}", na_action="ignore"), [f"{each:.4g}" for each in known]
    else:
        texts = column.map(str, na_action="ignore")
        levels = sorted(texts.dropna().unique())[:_MOST_LEVELS]
    places = texts.map({level: place for place, level in enumerate(levels)}).astype("float64")
    ticks = tuple((float(place), _shortened(level)) for place, level in enumerate(levels))
    return Scale(name, np.asarray(places, dtype=np.float64), log=False, ticks=ticks)


def _shortened(level: str) -> str:
    """A level as the label of a tick: a long one leaves no room for the axes."""
    return level if len(level) <= _LONGEST_LABEL else f"{level[: _LONGEST_LABEL - 1]}…"


def _spread(scale: Scale) -> Numbers:
    """Values to draw: those by place are spread a little, always in the same way, so that points do not hide others."""
    if not scale.ticks:
        return scale.values
    steps = np.arange(len(scale.values)) * 0.6180339887498949 % 1.0  # the golden ratio fills an interval evenly
    return scale.values + 0.5 * (steps - 0.5)


def _strength(scale: Scale, values: Numbers) -> float:
    """How strongly the ranks of the setting go with those of the values."""
    known = ~np.isnan(scale.values)
    if known.sum() < 3:
        return 0.0
    ranks = pd.DataFrame({"x": scale.values[known], "y": values[known]}).rank()
    correlation = ranks["x"].corr(ranks["y"])
    return 0.0 if math.isnan(correlation) else abs(correlation)


def _grid(scale: Scale, chosen: Any) -> Numbers:
    known = scale.linear[chosen]
    return np.linspace(known.min(), known.max(), _GRID)


def _back(scale: Scale, linear: Numbers) -> Numbers:
    return 10.0**linear if scale.log else linear


def _surface(x: Numbers, y: Numbers, values: Numbers, grid_x: Numbers, grid_y: Numbers) -> Numbers:
    """The Nadaraya-Watson estimate on the grid, shape (len(grid_y), len(grid_x)); NaN beyond two bandwidths of any
    trial. E. A. Nadaraya (1964), On estimating regression, Theory of Probability and its Applications 9, 141-142.
    """
    width_x = _BANDWIDTH * (np.ptp(grid_x) or 1.0)
    width_y = _BANDWIDTH * (np.ptp(grid_y) or 1.0)
    square_x = ((grid_x[:, None] - x[None, :]) / width_x) ** 2  # (grid, n)
    square_y = ((grid_y[:, None] - y[None, :]) / width_y) ** 2
    kernel_x, kernel_y = np.exp(-square_x / 2.0), np.exp(-square_y / 2.0)
    weight = kernel_y @ kernel_x.T
    near = weight > math.exp(-2.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(near, ((kernel_y * values) @ kernel_x.T) / weight, np.nan)


def _dimension(scale: Scale, order: Any) -> Dimension:
    values = scale.linear[order]
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    ticks = scale.ticks or tuple((place, f"{_back(scale, np.array(place)):.2g}") for place in np.linspace(low, high, 4))
    if np.isnan(values).any():
        below = low - 0.15 * ((high - low) or 1.0)
        values, ticks = np.where(np.isnan(values), below, values), ((below, "–"), *ticks)
    return Dimension(heading(scale.name), values, tuple(ticks))
