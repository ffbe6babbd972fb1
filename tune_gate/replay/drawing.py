"""A comparison of replayed searches, as a figure."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.files import write_atomic
from tune_gate.errors import Misuse
from tune_gate.replay.comparison import Comparison, Replayed, best_by_epoch, best_by_hours
from tune_gate.replay.recorded import Matrix
from tune_gate.replay.simulation import Run

#: Points on a curve.
_POINTS = 300

_FORMATS = ("png", "pdf", "svg")


@dataclass(frozen=True, slots=True)
class _Clock:
    """What a panel has along its axis."""

    label: str
    times: Callable[[Run], Matrix]  # when each epoch of a run ended
    best: Callable[[Replayed, Sequence[float]], Matrix]  # of each run at such times, of shape (runs, times)


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Draw the best value, median and quartiles, into a `.png`, `.pdf` or `.svg` file: against epochs, and against
    hours of training where these are known. A search in which a trial would have needed more of a curve than was
    recorded is called censored.

    Raises:
        Misuse: the file's name ends otherwise.
    """
    form = path.suffix.removeprefix(".")
    if form not in _FORMATS:
        raise Misuse(f"cannot draw {path}: its name must end in one of {', '.join(_FORMATS)}")
    from matplotlib.figure import Figure  # noqa: PLC0415  slow to import

    clocks = list(_clocks(comparison))
    figure = Figure(figsize=(6.4 * len(clocks), 4.0), layout="constrained")
    for axes, clock in zip(figure.subplots(1, len(clocks), sharey=True, squeeze=False)[0], clocks, strict=True):
        for search in comparison.searches:
            times = _spaced([clock.times(run) for run in search.runs])
            low, median, high = np.nanquantile(clock.best(search, times.tolist()), (0.25, 0.5, 0.75), axis=0)
            (line,) = axes.plot(times, median, label=_label(search))
            axes.fill_between(times, low, high, alpha=0.15, color=line.get_color(), linewidth=0)
        axes.axhline(comparison.curves.best, color="0.6", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", xlabel=clock.label)
    axes.legend(frameon=False, fontsize="small")
    figure.axes[0].set(ylabel="best validation value", title=comparison.curves.name)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=form)
    write_atomic(path, drawn.getvalue())


def _clocks(comparison: Comparison) -> Iterator[_Clock]:
    curves = comparison.curves
    yield _Clock("epochs, all workers", lambda run: np.arange(1.0, len(run.best) + 1), best_by_epoch)
    if curves.timed and curves.gpus:
        yield _Clock(
            "GPU-hours",
            lambda run: run.busy * curves.gpus,
            lambda search, hours: best_by_hours(search, [hour / curves.gpus for hour in hours]),
        )
    elif curves.timed:
        yield _Clock("hours of training, all workers", lambda run: run.busy, best_by_hours)


def _spaced(clocks: Sequence[Matrix]) -> Matrix:
    """Times from when all runs have a value to the end of the longest, evenly on a log scale."""
    first, last = max(float(clock[0]) for clock in clocks), max(float(clock[-1]) for clock in clocks)
    spaced: Matrix = np.geomspace(first, max(first, last), _POINTS)
    return spaced


def _label(search: Replayed) -> str:
    censored = any(run.censored for run in search.runs)
    return f"{search.variant.name} (censored)" if censored else search.variant.name
