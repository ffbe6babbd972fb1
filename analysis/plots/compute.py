"""The figure of accuracy against compute at inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.pareto import operating_points
from analysis.plots.chart import BLUE, GREY, Axis, Chart, Lines, NothingToShow, Panel, Points
from analysis.plots.course import ACCURACY

if TYPE_CHECKING:
    from analysis.study import Study


def pareto(study: Study) -> Chart:
    """Every way to use the models of the study, and the front of those that none beats.

    Raises:
        NothingToShow: compute was not recorded, or is the same for all.
    """
    points = operating_points(study)
    if points["macs"].nunique() < 2:
        raise NothingToShow(
            "all models cost the same at inference; a searched `depth`, or `gate_input: early`, makes a difference"
            if len(points)
            else "no trial recorded the compute of its model"
        )
    front = points[points["on_front"]]
    marks = []
    for name, colour, size, rows in (("beaten", GREY, 4.0, points[~points["on_front"]]), ("front", BLUE, 7.0, front)):
        if len(rows):
            labels = tuple(
                f"trial {trial}, {skipped:.0%} skip"
                for trial, skipped in zip(rows["trial"], rows["skipped"], strict=True)
            )
            ends = (100.0 * rows["val_acc_low"].to_numpy(), 100.0 * rows["val_acc_high"].to_numpy())
            low, high = ends if name == "front" and not np.isnan(ends).any() else (None, None)
            x, y = rows["macs"].to_numpy() / 1e6, 100.0 * rows["val_acc"].to_numpy()
            marks.append(Points(name, colour, x, y, labels, low, high, size))
    x, y = front["macs"].to_numpy() / 1e6, 100.0 * front["val_acc"].to_numpy()
    line = Lines("front", BLUE, x, y, width=1.0, steps=True, in_legend=False)
    caption = (
        f"{len(points)} ways to use the models of {points['trial'].nunique()} trials, and the {len(front)} that none "
        "beats in both accuracy and compute, with 95 % Wilson intervals. An early gate lets the easiest 25, 50, 75 or "
        "100 % of the images skip layers."
    )
    panel = Panel(Axis("Multiply-accumulates of an image (millions)"), ACCURACY, (line, *marks))
    return Chart("pareto", "Accuracy against compute", caption, (panel,))
