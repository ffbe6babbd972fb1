"""The figures, by name: one builder and one entry each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from analysis.errors import AnalysisError
from analysis.files import write_atomic
from analysis.names import unknown_name
from analysis.plots import compute, course, influence, settings, survey, verdicts
from analysis.plots.chart import Chart, NothingToShow

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    from analysis.study import Study

#: What builds each figure; it raises `NothingToShow` where the study has not what it is about.
FIGURES: Mapping[str, Callable[[Study], Chart]] = MappingProxyType(
    {
        "history": course.history,
        "curves": course.curves,
        "parallel": settings.parallel,
        "slices": settings.slices,
        "contour": settings.contour,
        "effects": influence.effects_chart,
        "importance": influence.importance_chart,
        "safety": verdicts.safety,
        "ledger": verdicts.spent,
        "confirmation": verdicts.confirmed,
        "pareto": compute.pareto,
        "gate": course.gate,
        "exits": course.exits,
        "gate-openness": survey.openness,
        "gate-exits": survey.exits,
        "gate-skipping": survey.skipping,
    }
)

#: Formats of `write_figures`.
FIGURE_FORMATS = ("pdf", "png", "svg")


def chart(study: Study, name: str) -> Chart:
    """What the figure of that name shows, as numbers.

    Raises:
        UnknownName: there is no such figure.
        NothingToShow: the study has not what it is about.
    """
    if name not in FIGURES:
        raise unknown_name("figure", name, FIGURES)
    return FIGURES[name](study)


def figure(study: Study, name: str) -> go.Figure:
    """The figure of that name, drawn by plotly. Raises as `chart`."""
    from analysis.plots.in_plotly import draw  # noqa: PLC0415

    return draw(chart(study, name))


def paper_figure(study: Study, name: str, width: float = 3.3) -> Figure:
    """The figure of that name, drawn by matplotlib, `width` inches wide. Raises as `chart`."""
    from analysis.plots.in_matplotlib import draw  # noqa: PLC0415

    return draw(chart(study, name), width)


def write_figures(
    study: Study, folder: Path, fmt: str = "pdf", names: Iterable[str] = (), width: float = 3.3
) -> tuple[list[Path], dict[str, str]]:
    """Write the figures of those names (all of them, where none are given) to `folder`, each as NAME.FORMAT.

    Returns:
        The files written, and by name why a figure was left out.

    Raises:
        UnknownName: there is no such figure or format.
        OSError: a file cannot be written.
    """
    from analysis.plots.in_matplotlib import save  # noqa: PLC0415

    if fmt not in FIGURE_FORMATS:
        raise unknown_name("figure format", fmt, FIGURE_FORMATS)
    if not 1.0 <= width <= 20.0:
        raise AnalysisError(f"a figure is 1 to 20 inches wide, not {width:g}")
    written, left_out = list[Path](), dict[str, str]()
    for name in tuple(names) or tuple(FIGURES):
        try:
            drawn = paper_figure(study, name, width)
        except NothingToShow as why:
            left_out[name] = str(why)
            continue
        file = BytesIO()
        save(drawn, file, fmt)
        written.append(folder / f"{name}.{fmt}")
        write_atomic(written[-1], file.getvalue())
    return written, left_out
