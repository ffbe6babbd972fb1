"""A comparison of replayed searches, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tune_gate.replay.comparison import Comparison, Spread, Summary
from tune_gate.replay.recorded import RecordedCurves

#: So many rungs are listed; and from so many hours on, they are whole.
_RUNGS_SHOWN = 4
_MANY_HOURS = 100


def comparison_view(comparison: Comparison) -> Group:
    """The table, and what must be known to read it."""
    curves, settings = comparison.curves, comparison.settings
    summaries = comparison.summaries()
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("search")
    columns = list(_columns(curves, summaries))
    for name, _ in columns:
        table.add_column(name, justify="right")
    table.add_column("winner lost at")
    for summary in summaries:
        table.add_row(summary.name, *(cell(summary) for _, cell in columns), _lost(summary.lost))
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


def _columns(curves: RecordedCurves, summaries: Sequence[Summary]) -> Iterator[tuple[str, Callable[[Summary], str]]]:
    """Heads, and what stands below them; times, GPUs and test accuracies where they are known."""
    yield "trials", lambda summary: f"{summary.trials:.0f}"
    yield "epochs", lambda summary: _number(summary.epochs.median, 0)
    if curves.timed:
        yield "hours", lambda summary: _hours(summary.hours.median)
    if curves.timed and curves.gpus:
        yield "GPU-h", lambda summary: _hours(summary.gpu_hours.median)
    yield "best val", lambda summary: _spread(summary.best, 4 if curves.best <= 1 else 2)
    if any(not math.isnan(summary.test.median) for summary in summaries):
        yield "its test", lambda summary: _spread(summary.test, 4 if curves.best <= 1 else 2)
    yield "regret %", lambda summary: _spread(summary.regret, 0)
    yield "to 1 SE", lambda summary: _number(summary.to_best.median, 0)
    if curves.timed:
        yield "hours to it", lambda summary: _hours(summary.to_best_hours.median)
    yield "to ref.", lambda summary: _number(summary.to_reference.median, 0)
    yield "reached", lambda summary: f"{summary.reached:.0%}"


def _lost(shares: Mapping[int, float]) -> str:
    """By rung; all together where a scheduler judges at many epochs."""
    if len(shares) > _RUNGS_SHOWN:
        return f"{min(shares)}-{max(shares)}: {sum(shares.values()):.0%}"
    return ", ".join(f"{rung}: {share:.0%}" for rung, share in shares.items()) or "-"


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


def _hours(value: float) -> str:
    return f"{value:,.3g}" if math.isfinite(value) and value < _MANY_HOURS else _number(value, 0)


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"
