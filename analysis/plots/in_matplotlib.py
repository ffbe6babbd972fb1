"""Charts drawn by matplotlib, for a column of a paper: 3.3 inches wide, 8 point, no colour alone tells."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.plots.chart import Axis, Bars, Chart, Heat, Lines, Panel, ParallelPanel, Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Width of one column, inches.
COLUMN = 3.3

#: Above so many points a mark is drawn as an image within the figure, or a PDF of it would be slow to show.
_RASTER_FROM = 5_000

#: Width of a letter of a label on a parallel axis of one column, in parts of the axis.
_LETTER = 0.024

#: Labels of ticks that are long and more than these stand upright: slanted ones would run into each other.
_MOST_SLANTED = 8

#: Labels of a logarithmic axis, at most.
_MOST_LOG_LABELS = 4
_FEWEST_LOG_LABELS = 2

#: Fonts, where they are installed, for what the default one has no signs for.
_FALLBACK_FONTS = ("Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Arial Unicode MS", "Segoe UI", "Unifont")

_LABEL_BOX = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5}

_SYMBOLS = {"circle": "o", "x": "x", "diamond": "D"}

_DASHES: Mapping[str, Any] = {"solid": "-", "dash": (0, (4, 1.5)), "dot": (0, (1, 1)), "dashdot": (0, (4, 1, 1, 1))}

_STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,  # fonts that editors and publishers can read
    "ps.fonttype": 42,
    "svg.hashsalt": "tune-gate",  # equal studies give equal files
}


def draw(chart: Chart, width: float = COLUMN) -> Figure:
    """`chart` as a matplotlib figure of so many inches; nothing global of matplotlib is changed."""
    from matplotlib.figure import Figure  # noqa: PLC0415  slow to import

    with _style():
        figure = Figure(figsize=(width, chart.height * chart.rows), dpi=300, layout="constrained")
        axes = figure.subplots(chart.rows, chart.columns, squeeze=False).flatten().tolist()
        for place, panel in enumerate(chart.panels):
            if isinstance(panel, ParallelPanel):
                _parallel(figure, axes[place], panel)
            else:
                _panel(figure, axes[place], panel)
        for spare in axes[len(chart.panels) :]:
            spare.remove()
        if chart.legend:
            _legend(figure, axes[0])
    return figure


def save(figure: Figure, file: Any, fmt: str) -> None:
    """Write a drawn figure to a binary file object, without the moment in it: equal figures give equal bytes."""
    metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(fmt, {})
    with _style():
        figure.savefig(file, format=fmt, metadata=metadata)


@contextmanager
def _style() -> Iterator[None]:
    """Our settings of matplotlib, for as long as this lasts. A sign that no font has is drawn as a box, silently."""
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context({**_STYLE, "font.family": _fonts()}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


@cache
def _fonts() -> list[str]:
    from matplotlib.font_manager import get_font_names  # noqa: PLC0415  slow to import

    installed = set(get_font_names())
    return ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]


def _panel(figure: Figure, axes: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        match mark:
            case Lines():
                _lines(axes, mark)
            case Points():
                _points(axes, mark)
            case Bars():
                _bars(axes, mark)
            case Heat():
                _heat(figure, axes, mark)
    _dress(axes, panel.x, "x")
    _dress(axes, panel.y, "y")
    if any(isinstance(mark, Bars) for mark in panel.marks):
        axes.invert_yaxis()


def _dress(axes: Axes, axis: Axis, which: str) -> None:
    getattr(axes, f"set_{which}label")(axis.label)
    if axis.log:
        getattr(axes, f"set_{which}scale")("log")
        _label_log(axes.xaxis if which == "x" else axes.yaxis)
    if axis.ticks:
        places, texts = zip(*axis.ticks, strict=True)
        long = which == "x" and max(map(len, texts)) * len(texts) > 24
        crowded = {"rotation": 90} if len(texts) > _MOST_SLANTED else {"rotation": 30, "ha": "right"}
        rotation: dict[str, Any] = crowded if long else {}
        getattr(axes, f"set_{which}ticks")(places, texts, **rotation)


def _label_log(axis: Any) -> None:
    """Few round labels in plain digits; matplotlib's own overlap where an axis spans less than a decade or two."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter  # noqa: PLC0415

    low, high = sorted(axis.get_view_interval())
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) <= _MOST_LOG_LABELS:
            break
    if len(found) < _FEWEST_LOG_LABELS:  # a part of a decade is almost linear
        found = [value for value in MaxNLocator(2).tick_values(low, high) if low <= value <= high]
    shown = found[:: -(-len(found) // _MOST_LOG_LABELS) or 1]
    axis.set_major_locator(FixedLocator(shown))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _lines(axes: Axes, mark: Lines) -> None:
    axes.plot(
        mark.x, mark.y, color=mark.colour, linewidth=0.7 * mark.width, alpha=mark.opacity,
        drawstyle="steps-post" if mark.steps else "default", label=mark.name if mark.in_legend else None,
        rasterized=len(mark.x) > _RASTER_FROM, linestyle=_DASHES[mark.dash],
    )  # fmt: skip
    if mark.alone.any():
        axes.plot(mark.x[mark.alone], mark.y[mark.alone], ".", color=mark.colour, markersize=3.0, alpha=mark.opacity)


def _points(axes: Axes, mark: Points) -> None:
    symbol = _SYMBOLS[mark.symbol]
    raster = len(mark.x) > _RASTER_FROM
    if mark.low is not None and mark.high is not None:
        spans = np.stack([mark.y - mark.low, mark.high - mark.y])
        axes.errorbar(
            mark.x, mark.y, spans, fmt=symbol, color=mark.colour, markersize=0.5 * mark.size, elinewidth=0.8,
            capsize=2.0, label=mark.name, rasterized=raster,
        )  # fmt: skip
    else:
        axes.plot(
            mark.x, mark.y, symbol, color=mark.colour, markersize=0.45 * mark.size, markeredgewidth=0.5,
            label=mark.name, rasterized=raster,
        )  # fmt: skip


def _bars(axes: Axes, mark: Bars) -> None:
    drawn = axes.barh(list(mark.categories), mark.values, color=mark.colour, height=0.7)
    axes.bar_label(drawn, list(mark.texts), padding=2, fontsize=6.5)
    axes.margins(x=0.3)


def _heat(figure: Figure, axes: Axes, mark: Heat) -> None:
    drawn = axes.contourf(mark.x, mark.y, np.ma.masked_invalid(mark.z), levels=12, cmap="cividis")
    figure.colorbar(drawn, ax=axes, label=mark.label)


def _parallel(figure: Figure, axes: Axes, panel: ParallelPanel) -> None:
    """Lines run from top to bottom, so that each setting has the width of the column for its values."""
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.collections import LineCollection  # noqa: PLC0415

    lines = np.stack([_unit(each.values, each.values) for each in panel.dimensions], axis=1)  # (trials, dimensions)
    places = np.arange(len(panel.dimensions), dtype=np.float64)
    segments = [np.column_stack([row, places]) for row in lines]
    norm = mpl.colors.Normalize(float(panel.values.min()), float(panel.values.max()))
    mappable = ScalarMappable(norm, "cividis")
    colours = mappable.to_rgba(panel.values)
    alpha = 0.8 if len(segments) < 100 else 0.4
    axes.add_collection(
        LineCollection(segments, colors=colours, linewidths=0.6, alpha=alpha, rasterized=len(segments) > 500)
    )
    for place, dimension in zip(places, panel.dimensions, strict=True):
        axes.axhline(place, color="#606060", linewidth=0.6)
        where = _unit(np.array([tick for tick, _ in dimension.ticks]), dimension.values)
        for x, text in _apart(where.tolist(), [text for _, text in dimension.ticks]):
            axes.plot([x], [place], "|", color="#606060", markersize=3.0)
            axes.text(x, place + 0.09, text, fontsize=6, ha="center", va="top", bbox=_LABEL_BOX)
    axes.set(xlim=(-0.08, 1.08), ylim=(len(places) - 0.5, -0.15), xticks=[])
    axes.set_yticks(places, [each.label for each in panel.dimensions])
    axes.tick_params(axis="y", length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    figure.colorbar(mappable, ax=axes, label=panel.label, location="top", aspect=40, pad=0.05)


def _apart(places: Sequence[float], texts: Sequence[str]) -> list[tuple[float, str]]:
    """The labels that do not run into each other on an axis from 0 to 1: its ends, and what fits between them."""
    order = sorted(range(len(places)), key=lambda each: places[each])
    kept: list[int] = []
    for each in [*order[:1], *order[:0:-1][:1], *order[1:-1]]:
        room = [_LETTER * (len(texts[each]) + len(texts[other])) / 2.0 + _LETTER for other in kept]
        if all(abs(places[each] - places[other]) >= wanted for other, wanted in zip(kept, room, strict=True)):
            kept.append(each)
    return [(places[each], texts[each]) for each in kept]


def _unit(values: Any, within: Any) -> Any:
    low, high = float(within.min()), float(within.max())
    return (values - low) / ((high - low) or 1.0)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        columns = 2 if max(map(len, labels)) > 14 else 3
        shown = figure.legend(
            handles, labels, loc="outside upper center", ncols=columns, frameon=False, borderaxespad=0.1
        )
        for line in shown.get_lines():
            line.set_alpha(1.0)
            line.set_linewidth(max(1.2, line.get_linewidth()))
