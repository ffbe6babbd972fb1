"""A comparison of replayed searches, for a terminal and as a figure."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.files import write_atomic
from tune_gate.errors import Misuse
from tune_gate.replay.comparison import Comparison, Spread, Summary, best_by_epoch

#: Points on a curve of a figure.
_POINTS = 300

_FORMATS = ("png", "pdf", "svg")


def comparison_view(comparison: Comparison) -> Group:
    """The table, and what must be known to read it."""
    curves, settings = comparison.curves, comparison.settings
    summaries = comparison.summaries()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("search")
    has_test = any(not math.isnan(summary.test.median) for summary in summaries)
    columns = ["trials", "epochs", "hours", "best val", *(["its test"] if has_test else []), "regret %"]
    for name in (*columns, "to 1 SE", "to ref.", "reached"):
        table.add_column(name, justify="right")
    table.add_column("winner lost at")
    for summary in summaries:
        tests = [_spread(summary.test, 2)] if has_test else []
        table.add_row(
            summary.name,
            f"{summary.trials:.0f}",
            _number(summary.epochs.median, 0),
            _number(summary.hours.median, 1) if curves.timed else "-",
            _spread(summary.best, 4 if curves.best <= 1 else 2),
            *tests,
            _spread(summary.regret, 0),
            _number(summary.to_best.median, 0),
            _number(summary.to_reference.median, 0),
            f"{summary.reached:.0%}",
            ", ".join(f"{rung}: {share:.0%}" for rung, share in summary.lost.items()) or "-",
        )
    return Group(
        Text.assemble(
            (curves.name, "bold"),
            f"  {len(curves.points)} recorded configurations of up to {curves.epochs} epochs; best known "
            f"{curves.best:.6g}, median {curves.typical:.6g}",
        ),
        table,
        Text(
            f"{settings.seeds} seeds, {settings.workers} workers; median (5th to 95th percentile) over the runs. "
            f"Epochs 'to 1 SE': until within {settings.tolerance:.3g} of the best known; 'to ref.': until the "
            f"median end of {summaries[0].name!r}; a dash: not reached in the median run."
        ),
        *(Text(line, style="yellow") for line in _warnings(summaries)),
    )


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Draw the best value against epochs, median and quartiles, into a `.png`, `.pdf` or `.svg` file.

    Raises:
        Misuse: the file's name ends otherwise.
    """
    form = path.suffix.removeprefix(".")
    if form not in _FORMATS:
        raise Misuse(f"cannot draw {path}: its name must end in one of {', '.join(_FORMATS)}")
    from matplotlib.figure import Figure  # noqa: PLC0415  slow to import

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for search in comparison.searches:
        longest = max(len(run.best) for run in search.runs)
        epochs = np.unique(np.geomspace(1, longest, _POINTS).astype(int))
        low, median, high = np.quantile(best_by_epoch(search, epochs.tolist()), (0.25, 0.5, 0.75), axis=0)
        (line,) = axes.plot(epochs, median, label=search.variant.name)
        axes.fill_between(epochs, low, high, alpha=0.15, color=line.get_color(), linewidth=0)
    axes.axhline(comparison.curves.best, color="0.6", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="epochs, all workers", ylabel="best validation value", title=comparison.curves.name)
    axes.legend(frameon=False, fontsize="small")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=form)
    write_atomic(path, drawn.getvalue())


def _warnings(summaries: list[Summary]) -> list[str]:
    return [
        f"{summary.name}: in {summary.censored:.0%} of the runs a trial would have gone on beyond what is recorded "
        "of it, and was ended there; what it would have reached is not known"
        for summary in summaries
        if summary.censored
    ]


def _spread(spread: Spread, digits: int) -> str:
    if math.isnan(spread.median):
        return "-"
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"
