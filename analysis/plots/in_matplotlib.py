"""Charts drawn by matplotlib, for a column of a paper: 3.3 inches wide, 8 point, no colour alone tells."""

from __future__ import annotations

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

#: With more parallel axes than this, only the ends of each are labelled, shortly.
_MOST_LABELLED = 5

_LABEL_BOX = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5}

_SYMBOLS = {"circle": "o", "x": "x", "diamond": "D"}

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
    import matplotlib as mpl  # noqa: PLC0415  slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_STYLE):
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
    import matplotlib as mpl  # noqa: PLC0415

    metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(fmt, {})
    with mpl.rc_context(_STYLE):
        figure.savefig(file, format=fmt, metadata=metadata)


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
    if axis.ticks:
        places, texts = zip(*axis.ticks, strict=True)
        long = which == "x" and max(map(len, texts)) * len(texts) > 24
        rotation = {"rotation": 30, "ha": "right"} if long else {}
        getattr(axes, f"set_{which}ticks")(places, texts, **rotation)


def _lines(axes: Axes, mark: Lines) -> None:
    axes.plot(
        mark.x, mark.y, color=mark.colour, linewidth=0.7 * mark.width, alpha=mark.opacity,
        drawstyle="steps-post" if mark.steps else "default", label=mark.name if mark.in_legend else None,
        rasterized=len(mark.x) > _RASTER_FROM,
    )  # fmt: skip


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
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.collections import LineCollection  # noqa: PLC0415

    lines = np.stack([_unit(each.values, each.values) for each in panel.dimensions], axis=1)  # (trials, dimensions)
    places = np.arange(len(panel.dimensions), dtype=np.float64)
    segments = [np.column_stack([places, row]) for row in lines]
    norm = mpl.colors.Normalize(float(panel.values.min()), float(panel.values.max()))
    mappable = ScalarMappable(norm, "cividis")
    colours = mappable.to_rgba(panel.values)
    alpha = 0.8 if len(segments) < 100 else 0.4
    axes.add_collection(
        LineCollection(segments, colors=colours, linewidths=0.6, alpha=alpha, rasterized=len(segments) > 500)
    )
    for place, dimension in zip(places, panel.dimensions, strict=True):
        axes.axvline(place, color="#606060", linewidth=0.6)
        shown = dimension.ticks if len(places) <= _MOST_LABELLED else (dimension.ticks[0], dimension.ticks[-1])
        heights = _unit(np.array([tick for tick, _ in shown]), dimension.values)
        for height, (_, text) in zip(heights, shown, strict=True):
            short = text if len(places) <= _MOST_LABELLED or len(text) <= 6 else f"{text[:2]}…{text[-3:]}"
            axes.text(place + 0.03, height, short, fontsize=5.5, va="center", bbox=_LABEL_BOX)
    axes.set(xlim=(-0.1, len(places) - 0.6), ylim=(-0.05, 1.05), yticks=[])
    axes.set_xticks(places, [each.label for each in panel.dimensions], rotation=30, ha="right")
    axes.spines["left"].set_visible(False)
    figure.colorbar(mappable, ax=axes, label=panel.label)


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
