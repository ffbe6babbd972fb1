"""Figures of a surveyed gate: how open it is for whom, what each exit is worth, and what skipping costs."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.copies import quoted
from analysis.errors import AnalysisError
from analysis.gate import Survey, exit_table, gate_groups, read_survey, skipping_table, surveys
from analysis.plots.chart import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILLION,
    Axis,
    Chart,
    Lines,
    NothingToShow,
    Panel,
    Points,
)
from analysis.tables import best_trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.study import Study

#: Beyond so many classes, those with the largest and those with the smallest g are shown, half each.
MOST_CLASSES = 20

_BINS = 40


def survey_of(study: Study) -> Survey:
    """The survey that the figures are of: the best trial's, or else the first.

    Raises:
        NothingToShow: no gate was surveyed.
    """
    found = surveys(study)
    if not found and study.spec.runs:
        raise NothingToShow("no gate was surveyed: the study was imported, without checkpoints")
    if not found:
        raise NothingToShow(f"no gate was surveyed: `tune-gate gate {quoted(study.path)}` does it")
    try:
        best = best_trial(study)
    except AnalysisError:
        best = min(found)
    try:
        return read_survey(found.get(best) or found[min(found)])
    except AnalysisError as error:
        raise NothingToShow(str(error)) from None


def openness(study: Study) -> Chart:
    """`openness_chart` of the study's survey."""
    return openness_chart(survey_of(study))


def exits(study: Study) -> Chart:
    """`exits_chart` of the study's survey."""
    return exits_chart(survey_of(study))


def skipping(study: Study) -> Chart:
    """`skipping_chart` of the study's survey."""
    return skipping_chart(survey_of(study))


def openness_chart(survey: Survey) -> Chart:
    """How g is distributed over images predicted rightly and wrongly, and by class."""
    images = survey.validation
    right = (images["mixed"] == images["label"]).to_numpy()
    g = images["g"].to_numpy()
    marks = [_histogram("predicted rightly", BLUE, g[right]), _histogram("predicted wrongly", VERMILLION, g[~right])]
    if survey.training is not None:
        own, noisy = survey.training["g"].to_numpy(), survey.training["noisy"].to_numpy()
        marks.append(_histogram("training, right label", GREEN, own[~noisy]))
        marks.append(_histogram("training, wrong label", ORANGE, own[noisy]))
    panels = (
        Panel(Axis("Gate"), Axis("Share of the group"), tuple(mark for mark in marks if len(mark.x))),
        _by_class(survey),
    )
    caption = (
        f"The gate of trial {survey.trial} after epoch {survey.epoch} on {len(images):,} validation images. "
        "By class: the median, with the 5 % and 95 % quantiles."
    )
    return Chart("gate-openness", "For whom the gate opens", caption, panels)


def exits_chart(survey: Survey) -> Chart:
    """Accuracy of the shallow exit, the deep exit and the mix."""
    table = exit_table(survey)
    places = np.arange(len(table), dtype=np.float64)
    points = Points(
        "validation",
        BLUE,
        places,
        100.0 * table["val_acc"].to_numpy(),
        tuple(table["exit"]),
        100.0 * table["val_acc_low"].to_numpy(),
        100.0 * table["val_acc_high"].to_numpy(),
    )
    ticks = tuple(zip(places.tolist(), table["exit"], strict=True))
    panel = Panel(Axis("", ticks=ticks), Axis("Validation accuracy (%)"), (points,))
    caption = f"The exits of trial {survey.trial} after epoch {survey.epoch}, with 95 % Wilson intervals."
    return Chart("gate-exits", "What each exit is worth", caption, (panel,), legend=False)


def skipping_chart(survey: Survey) -> Chart:
    """Accuracy against the compute that is saved, as the threshold below which images skip layers moves.

    Raises:
        NothingToShow: the gate is a late one.
    """
    try:
        table = skipping_table(survey)
    except AnalysisError as error:
        raise NothingToShow(str(error)) from None
    x = 100.0 * table["saved"].to_numpy()
    ends = [
        Lines(name, GREY, x, 100.0 * table[column].to_numpy(), width=0.8, steps=True, in_legend=column.endswith("low"))
        for name, column in (("95 % interval", "val_acc_low"), ("95 % interval", "val_acc_high"))
    ]
    line = Lines("mix above, shallow exit below", BLUE, x, 100.0 * table["val_acc"].to_numpy(), width=2.0, steps=True)
    panel = Panel(Axis("Multiply-accumulates saved (%)"), Axis("Validation accuracy (%)"), (*ends, line))
    caption = (
        f"Trial {survey.trial} after epoch {survey.epoch}: from left to right ever more images, those with the "
        "smallest g first, skip the rest of stage 3. Left of 0, the gate costs more than is skipped."
    )
    return Chart("gate-skipping", "Accuracy against compute saved", caption, (panel,))


def pictures(survey: Survey, rows: int = 2, columns: int = 8, width: float = 6.6) -> Figure:
    """The validation images with the largest g, and with the smallest, `rows` x `columns` of either.

    Under each image stand its g, its class, and the predicted class where that is another one. `width` in inches.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  slow to import

    height = width / columns * 1.45 * 2 * rows + 0.5
    figure = Figure((width, height), layout="constrained")
    parts: Any = figure.subfigures(2, 1)
    half = len(survey.hardest)
    for part, title, indices, images in (
        (parts[0], "hardest: largest g", survey.hardest, survey.pictures[:half]),
        (parts[1], "easiest: smallest g", survey.easiest, survey.pictures[half:]),
    ):
        part.suptitle(title, fontsize=8)
        for place, axes in enumerate(part.subplots(rows, columns).flat):
            axes.set_axis_off()
            if place < len(indices):
                _picture(axes, images[place], survey, int(indices[place]))
    return figure


def picture_png(survey: Survey) -> bytes:
    """`pictures` as a PNG file."""
    from analysis.plots.in_matplotlib import save  # noqa: PLC0415

    file = BytesIO()
    save(pictures(survey), file, "png")
    return file.getvalue()


def _picture(axes: Any, image: Any, survey: Survey, index: int) -> None:
    row = survey.validation.iloc[index]
    label, predicted = survey.classes[int(row["label"])], survey.classes[int(row["mixed"])]
    shown = np.moveaxis(image, 0, -1)
    axes.imshow(shown[..., 0] if shown.shape[-1] != 3 else shown, cmap="gray", vmin=0, vmax=255)
    wrong = row["label"] != row["mixed"]
    text = f"g {row['g']:.2f}\n{label}" + (f", taken for {predicted}" if wrong else "")
    colour = VERMILLION if wrong else "black"
    axes.text(0.5, -0.05, text, transform=axes.transAxes, fontsize=6, color=colour, ha="center", va="top")


def _histogram(name: str, colour: str, g: Any) -> Lines:
    """The share of a group in each of `_BINS` bins of g between 0 and 1, as steps."""
    if not len(g):
        return Lines(name, colour, np.array([]), np.array([]))
    counts, edges = np.histogram(g, bins=_BINS, range=(0.0, 1.0))
    y = np.append(counts / len(g), 0.0)
    return Lines(f"{name} ({len(g):,})", colour, edges, y, steps=True)


def _by_class(survey: Survey) -> Panel:
    table = gate_groups(survey)
    table = table[table["group"].str.startswith("class ")].sort_values("g_median", ascending=False, ignore_index=True)
    if len(table) > MOST_CLASSES:
        half = MOST_CLASSES // 2
        table = pd.concat([table.head(half), table.tail(half)], ignore_index=True)
    places = np.arange(len(table), dtype=np.float64)
    names = tuple(table["group"].str.removeprefix("class "))
    points = Points(
        "by class", BLUE, places, table["g_median"].to_numpy(), names, table["g_q05"].to_numpy(),
        table["g_q95"].to_numpy(),
    )  # fmt: skip
    return Panel(Axis("Class", ticks=tuple(zip(places.tolist(), names, strict=True))), Axis("Gate"), (points,))
