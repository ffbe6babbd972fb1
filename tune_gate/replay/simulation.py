"""A search in virtual time: the production search and its folds, with workers that look their epochs up."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analysis.events import PROBE_VALUE, EpochReported, Event
from analysis.trials import Trial
from tune_gate.recorder import Fold
from tune_gate.replay.kinds import replay_folds
from tune_gate.replay.lookup import Lookup
from tune_gate.replay.probing import probe_epochs, with_probe_hours
from tune_gate.replay.recorded import Matrix, RecordedCurves
from tune_gate.replay.spec import ReplaySpec
from tune_gate.search import Assignment, Search


class MemoryLog:
    """The log of a search that nobody will resume."""

    def __init__(self, study: Path, folds: Iterable[Fold]) -> None:  # noqa: ARG002  the signature of `Recorder`
        self.events: list[Event] = []
        self._folds = list(folds)

    def append(self, event: Event) -> None:
        """Keep `event`, and hand it to the folds."""
        self.events.append(event)
        for fold in self._folds:
            fold.apply(event)

    def retire(self, keys: Iterable[str]) -> None:
        """Nothing: there is no store."""

    def settle(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Run:
    """What one replayed search found. The arrays are over its epochs, in the order in which they ended."""

    seed: int
    hours: Matrix  # since the start, when the epoch ended; in units of an epoch where no durations are known
    busy: Matrix  # hours that were trained so far, those of all workers together
    best: Matrix  # the best validation value so far
    test: Matrix  # the test value of that epoch of that configuration; NaN where not known
    trials: int
    censored: int  # trials that would have gone on beyond what is recorded of them
    lost_at: int | None  # the rung from which the best configuration tried did not go on; None: it did from all
    events: tuple[Event, ...]

    @property
    def decisions(self) -> list[EpochReported]:
        """The reports on which something was decided."""
        return [event for event in self.events if isinstance(event, EpochReported)]


@dataclass(slots=True)
class _Stretch:
    """Epochs that a worker trains without a decision in between."""

    row: int
    start: int  # exclusive
    end: int  # inclusive
    began: float  # hours

    @property
    def epochs(self) -> range:
        """Its epochs, counted from 1."""
        return range(self.start + 1, self.end + 1)


@dataclass
class _Workers:
    """The workers, and the clock that they share."""

    spec: ReplaySpec
    curves: RecordedCurves
    hours: Matrix  # of each epoch and its probe
    following: list[int]  # by epoch, the next one at which something may be decided
    now: float = 0.0
    stretches: list[_Stretch] = field(default_factory=list)
    finished: float = 0.0  # epochs, those of probes included
    _queue: list[tuple[float, int, Assignment, _Stretch]] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)

    def __len__(self) -> int:
        return len(self._queue)

    def begin(self, assignment: Assignment, row: int, epoch: int) -> None:
        """Train from `epoch` to the next stop, or to the curve's end."""
        end = min(self.following[epoch], int(self.curves.lengths[row]))
        stretch = _Stretch(row, epoch, end, self.now)
        ready = self.now + float(self.hours[row, epoch:end].sum())
        heapq.heappush(self._queue, (ready, next(self._count), assignment, stretch))
        self.stretches.append(stretch)

    def wait(self) -> tuple[Assignment, _Stretch]:
        """The next stretch to be finished; the clock moves on to its end."""
        self.now, _, assignment, stretch = heapq.heappop(self._queue)
        self.finished += stretch.end - stretch.start + probe_epochs(self.spec, stretch.epochs)
        return assignment, stretch


def simulate(spec: ReplaySpec, curves: RecordedCurves, lookup: Lookup, workers: int, budget: float = math.inf) -> Run:
    """Run the search that `spec` describes over `curves`, with so many asynchronous workers.

    Reports reach the search where a decision may rest on them, at the end, and where a curve ends. A trial that would
    go on beyond its recorded curve fails, and is counted as censored.

    Args:
        spec: its epochs are those of the curves.
        curves: what training gives.
        lookup: fresh for this run.
        workers: how many trials run at once.
        budget: epochs of all workers together; the search is cut there.
    """
    hours = with_probe_hours(epoch_hours(curves), spec, curves)
    pool = _Workers(spec, curves, hours, _following(spec.reported, curves.epochs))
    search = Search(spec, Path(), clock=lambda: pool.now * 3600.0, journal=MemoryLog, folds=replay_folds)
    search.begin("replay", 0, {})
    rows: dict[int, int] = {}
    censored = 0
    while pool.finished < budget:
        while len(pool) < workers and (assignment := search.next_assignment()) is not None:
            trial = assignment.trial
            if trial not in rows:
                rows[trial] = lookup.row(search.trials[trial].settings)
            if assignment.from_epoch >= curves.lengths[rows[trial]]:
                censored += _censor(search, assignment)
                continue
            pool.begin(assignment, rows[trial], assignment.from_epoch)
        if not len(pool):
            break
        assignment, stretch = pool.wait()
        metrics = _metrics(pool, stretch, ends=stretch.end == curves.lengths[stretch.row])
        action = search.report(assignment.trial, assignment.attempt, stretch.end, metrics)
        if action == "continue":
            if stretch.end == curves.lengths[stretch.row]:
                censored += _censor(search, assignment)
            else:
                pool.begin(assignment, stretch.row, stretch.end)
    lost_at = _lost_at(search.trials, rows, curves)
    return Run(spec.seed, *_trace(pool, budget), len(rows), censored, lost_at, tuple(search.events))


def epoch_hours(curves: RecordedCurves) -> Matrix:
    """Hours of each epoch, as recorded; an epoch is the unit where nothing was."""
    if not curves.timed:
        return np.ones_like(curves.values)
    return np.nan_to_num(curves.seconds, nan=float(np.nanmedian(curves.seconds))) / 3600.0


def _following(stops: Sequence[int], epochs: int) -> list[int]:
    """Of each epoch below `epochs`, the first of `stops`, ascending, that comes after it."""
    following: list[int] = np.asarray(stops)[np.searchsorted(stops, np.arange(epochs), side="right")].tolist()
    return following


def _metrics(pool: _Workers, stretch: _Stretch, *, ends: bool) -> dict[str, float]:
    curves, last = pool.curves, (stretch.row, stretch.end - 1)
    diverged = ends and bool(curves.diverged[stretch.row])
    metrics = {"val_acc": float(curves.values[last]), "diverged": float(diverged)}
    if pool.spec.scheduler.probe is not None and curves.probes is not None and not np.isnan(curves.probes.values[last]):
        metrics[PROBE_VALUE] = float(curves.probes.values[last])
    return metrics


def _censor(search: Search, assignment: Assignment) -> int:
    search.fail(assignment.trial, assignment.attempt, "lost", "its recorded curve ends here")
    return 1


def _trace(pool: _Workers, budget: float) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Hours, hours trained, best value and its test value at each epoch's end, in order; `budget` epochs at most.

    An epoch's worth of probes is an epoch that finds nothing; its hours are those of the epochs probed.
    """
    times, trained, values, tests = ([np.empty(0)] for _ in range(4))
    probed = 0.0  # epochs' worth that is not in the trace yet
    for stretch in pool.stretches:
        part = slice(stretch.start, stretch.end)
        trained.append(pool.hours[stretch.row, part])
        times.append(stretch.began + np.cumsum(trained[-1]))
        values.append(pool.curves.values[stretch.row, part])
        tests.append(pool.curves.tests[stretch.row, part])
        probed += probe_epochs(pool.spec, stretch.epochs)
        whole = int(probed)
        if whole:
            probed -= whole
            times.append(np.full(whole, stretch.began + trained[-1].sum()))
            trained.append(np.zeros(whole))
            values.append(np.full(whole, np.nan))
            tests.append(np.full(whole, np.nan))
    order = np.argsort(np.concatenate(times), kind="stable")
    if order.size > budget:
        order = order[: int(budget)]
    value = np.concatenate(values)[order]
    best = np.fmax.accumulate(value) if value.size else value
    places = np.maximum.accumulate(np.where(value >= best, np.arange(value.size), 0)) if value.size else order
    busy = np.cumsum(np.concatenate(trained)[order])
    return np.concatenate(times)[order], busy, best, np.concatenate(tests)[order][places]


def _lost_at(trials: Mapping[int, Trial], rows: Mapping[int, int], curves: RecordedCurves) -> int | None:
    """The rung where the best of the configurations tried was stopped, or still paused when the search ended."""
    whole = {trial: row for trial, row in rows.items() if curves.lengths[row] == curves.epochs}
    if not whole:
        return None
    winner = trials[max(whole, key=lambda trial: curves.peaks[whole[trial]])]
    last = winner.last
    if last is None or last.rung is None or winner.state not in ("stopped", "paused"):
        return None
    return last.rung.milestone
