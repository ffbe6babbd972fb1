"""Charts drawn by plotly, for the screen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.plots.chart import Axis, Bars, Chart, Heat, Lines, Panel, ParallelPanel, Points

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Where a trace has more points than this, its panel is drawn by WebGL.
_WEBGL_FROM = 2_000

_ROW_PIXELS = 150  # of an inch of a row's height in a paper

_SYMBOLS = {"circle": "circle", "x": "x-thin-open", "diamond": "diamond"}


def draw(chart: Chart) -> go.Figure:
    """`chart` as a plotly figure."""
    import plotly.graph_objects as go  # noqa: PLC0415  slow to import
    from plotly.subplots import make_subplots  # noqa: PLC0415

    first = chart.panels[0]
    if isinstance(first, ParallelPanel):
        figure = go.Figure([_parallel(first)])
        margin = {"l": 60, "r": 20, "t": 60, "b": 30}
    else:
        spacing = {"horizontal_spacing": 0.1, "vertical_spacing": min(0.25, 0.32 / chart.rows)}
        figure = make_subplots(rows=chart.rows, cols=chart.columns, **spacing)
        for place, panel in enumerate(chart.panels):
            if isinstance(panel, Panel):
                _add_panel(figure, panel, place // chart.columns + 1, place % chart.columns + 1)
        margin = {"l": 60, "r": 20, "t": 20, "b": 50}
    figure.update_layout(
        template="plotly_white",
        height=round(_ROW_PIXELS * chart.height * chart.rows) + 40,
        margin=margin,
        showlegend=chart.legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0.0},
        font={"size": 13},
        hovermode="closest",
    )
    return figure


def _add_panel(figure: go.Figure, panel: Panel, row: int, col: int) -> None:
    import plotly.graph_objects as go  # noqa: PLC0415

    # the browser lays what WebGL draws over all else, so a panel's lines and points are drawn by one of the two alone
    large = any(len(mark.x) > _WEBGL_FROM for mark in panel.marks if isinstance(mark, Lines | Points))
    kind = go.Scattergl if large else go.Scatter
    for mark in panel.marks:
        figure.add_trace(_trace(mark, kind), row=row, col=col)
        if isinstance(mark, Lines) and mark.opacity < 1.0 and mark.in_legend:
            figure.add_trace(_legend_line(mark), row=row, col=col)
    figure.update_xaxes(**_axis(panel.x), row=row, col=col)
    figure.update_yaxes(**_axis(panel.y), row=row, col=col)
    if any(isinstance(mark, Bars) for mark in panel.marks):
        figure.update_yaxes(autorange="reversed", row=row, col=col)


def _axis(axis: Axis) -> dict[str, Any]:
    shown: dict[str, Any] = {"title": {"text": axis.label}, "type": "log" if axis.log else "-"}
    if axis.ticks:
        shown |= {"tickvals": [place for place, _ in axis.ticks], "ticktext": [text for _, text in axis.ticks]}
        shown |= {"tickfont": {"size": 11}}
    return {**shown, "zeroline": False, "automargin": True}


def _trace(mark: Lines | Points | Bars | Heat, kind: Any) -> Any:
    match mark:
        case Lines():
            return _lines(mark, kind)
        case Points():
            return _points(mark, kind)
        case Bars():
            return _bars(mark)
        case Heat():
            return _heat(mark)


def _lines(mark: Lines, kind: Any) -> Any:
    shape, alone = "hv" if mark.steps else "linear", mark.alone
    points = {"size": np.where(alone, 5.0, 0.0).astype(np.float32), "color": mark.colour} if alone.any() else None
    return kind(
        x=_compact(mark.x), y=_compact(mark.y), mode="lines" if points is None else "lines+markers", name=mark.name,
        line={"color": mark.colour, "width": mark.width, "shape": shape, "dash": mark.dash}, marker=points,
        opacity=mark.opacity, legendgroup=mark.name,
        showlegend=mark.in_legend and mark.opacity == 1.0,
        hoverinfo="skip" if np.isnan(mark.x).any() else None,
    )  # fmt: skip


def _legend_line(mark: Lines) -> Any:
    """An entry of the legend in full colour, for lines that are drawn faint."""
    import plotly.graph_objects as go  # noqa: PLC0415

    line = {"color": mark.colour, "width": 2.5}
    return go.Scatter(x=[None], y=[None], mode="lines", name=mark.name, legendgroup=mark.name, line=line)


def _points(mark: Points, kind: Any) -> Any:
    error = None
    if mark.low is not None and mark.high is not None:
        error = {"array": mark.high - mark.y, "arrayminus": mark.y - mark.low, "symmetric": False, "thickness": 1.2}
    return kind(
        x=_compact(mark.x), y=_compact(mark.y), mode="markers", name=mark.name, text=list(mark.labels) or None,
        error_y=error, hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>" if mark.labels else None,
        marker={"color": mark.colour, "size": mark.size, "symbol": _SYMBOLS[mark.symbol],
                "line": {"width": 1.5 if mark.symbol == "x" else 0, "color": mark.colour}},
    )  # fmt: skip


def _bars(mark: Bars) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415

    return go.Bar(
        x=mark.values, y=list(mark.categories), orientation="h", name=mark.name, text=list(mark.texts),
        textposition="auto", marker={"color": mark.colour}, hoverinfo="x+y",
    )  # fmt: skip


def _heat(mark: Heat) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415

    return go.Contour(
        x=mark.x, y=mark.y, z=mark.z.astype(np.float32), colorscale="Cividis", ncontours=15, line={"width": 0.4},
        colorbar={"title": {"text": mark.label, "side": "right"}}, connectgaps=False, hoverinfo="x+y+z",
    )  # fmt: skip


def _parallel(panel: ParallelPanel) -> Any:
    import plotly.graph_objects as go  # noqa: PLC0415

    return go.Parcoords(
        dimensions=[
            {
                "label": dimension.label,
                "values": dimension.values,
                "tickvals": [place for place, _ in dimension.ticks],
                "ticktext": [text for _, text in dimension.ticks],
            }
            for dimension in panel.dimensions
        ],
        line={
            "color": panel.values,
            "colorscale": "Cividis",
            "showscale": True,
            "colorbar": {"title": {"text": panel.label, "side": "right"}},
        },
        labelfont={"size": 12},
    )


def _compact(values: Any) -> Any:
    """The values as 32-bit numbers, which a page carries at a third of the size of digits."""
    if len(values) == 0 or not math.isfinite(np.nanmax(np.abs(values), initial=0.0)):
        return values
    return values.astype(np.float32)
