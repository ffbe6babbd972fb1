"""Searches compared over recorded curves: runs with many seeds, and what they say together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tune_gate.replay.lookup import Lookup, LookupKind
from tune_gate.replay.recorded import Matrix, RecordedCurves
from tune_gate.replay.simulation import Run, simulate
from tune_gate.replay.variants import REFERENCE, Variant, replay_spec


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How searches are replayed."""

    workers: int = 4
    seeds: int = 20
    budget: float = math.inf  # full-length trials, of all workers together
    trials: int | None = None  # None: the budget ends the search
    lookup: LookupKind = "nearest"
    first_seed: int = 0
    tolerance: float = 0.0  # within so much of the best known, a search has found it


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over the runs of a search: median, and the 5th and 95th percentile. Infinite: never reached."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of `values`; NaN where there are none."""
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return cls(math.nan, math.nan, math.nan)
        low, median, high = np.quantile(known, (0.05, 0.5, 0.95), method="inverted_cdf")
        return cls(float(median), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Replayed:
    """A search, replayed with several seeds over the same curves."""

    variant: Variant
    runs: tuple[Run, ...]

    def best(self) -> list[float]:
        """The best validation value at the end of each run."""
        return [float(run.best[-1]) for run in self.runs]

    def epochs_to(self, value: float) -> list[float]:
        """Epochs that each run needed to reach `value`; infinite where it did not."""
        return [_first(run, value) for run in self.runs]

    def hours_to(self, value: float) -> list[float]:
        """Hours, with its workers side by side, after which each run had reached `value`; infinite where it did not."""
        return [_when(run, value, run.hours) for run in self.runs]

    def busy_hours_to(self, value: float) -> list[float]:
        """Hours of training, of all workers together, after which each run had reached `value`; else infinite."""
        return [_when(run, value, run.busy) for run in self.runs]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a search found over the curves, in a line."""

    name: str
    best: Spread
    test: Spread  # of the configuration that was best on validation, at that epoch
    regret: Spread  # % of the way from the median configuration (100) to the best known (0) that is missing
    epochs: Spread  # that were spent
    hours: Spread  # with the workers side by side
    busy_hours: Spread  # of training, all workers together
    gpu_hours: Spread  # the same times the GPUs of a trial; NaN where it had none
    to_best: Spread  # epochs until a value within the tolerance of the best known
    to_best_hours: Spread  # with the workers side by side
    to_best_busy_hours: Spread
    to_reference: Spread  # epochs until the reference's median best value
    reached: float  # share of runs that reached the reference's median best value
    lost: Mapping[int, float]  # by rung: share of runs whose best configuration did not go on from there
    trials: float  # median
    censored: float  # share of runs that would have needed more of a curve than was recorded
    runs: int

    def to_record(self) -> dict[str, Any]:
        """The form of `replay --json`; null where a value is unknown or was never reached."""
        record: dict[str, Any] = {}
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, Spread):
                value = {part: _finite(getattr(value, part)) for part in ("median", "low", "high")}
            elif isinstance(value, Mapping):
                value = {str(rung): share for rung, share in value.items()}
            record[name] = value
        return record


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several searches over one set of curves; the first is the reference."""

    curves: RecordedCurves
    settings: ReplaySettings
    searches: tuple[Replayed, ...]

    def summaries(self) -> list[Summary]:
        """A line for each search."""
        target = Spread.of(self.searches[0].best()).median
        return [_summary(self.curves, self.settings, search, target) for search in self.searches]


def compare(curves: RecordedCurves, variants: Iterable[Variant], settings: ReplaySettings) -> Comparison:
    """Replay each of `variants`, and the reference before them.

    Raises:
        SpecError: the settings of one are wrong.
    """
    searches = [Replayed(variant, tuple(_runs(curves, variant, settings))) for variant in (REFERENCE, *variants)]
    return Comparison(curves, settings, tuple(searches))


def regret(curves: RecordedCurves, values: Sequence[float]) -> list[float]:
    """What is missing on the way from the median configuration (100) to the best known (0), in %."""
    way = curves.best - curves.typical
    return [100.0 * (curves.best - value) / way if way > 0 else 0.0 for value in values]


def best_by_epoch(search: Replayed, epochs: Sequence[float]) -> Matrix:
    """The best value of each run after so many epochs, at least 1, of shape (runs, len(epochs)); a run that is over
    stays.
    """
    whole = np.asarray(epochs, dtype=np.int64)
    return np.array([run.best[np.minimum(whole, len(run.best)) - 1] for run in search.runs])


def best_by_hours(search: Replayed, hours: Sequence[float]) -> Matrix:
    """The best value of each run after so many hours of training, of shape (runs, len(hours)); NaN before the first
    epoch ends, and a run that is over stays.
    """
    found = np.full((len(search.runs), len(hours)), np.nan)
    for row, run in zip(found, search.runs, strict=True):
        ended = np.searchsorted(run.busy, hours, side="right")
        row[ended > 0] = run.best[ended[ended > 0] - 1]
    return found


def _runs(curves: RecordedCurves, variant: Variant, settings: ReplaySettings) -> Iterator[Run]:
    trials = settings.trials
    if settings.lookup == "unused":
        trials = min(trials or len(curves.points), len(curves.points))
    for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
        spec = replay_spec(curves, variant, seed, trials)
        lookup = Lookup(curves, settings.lookup)
        yield simulate(spec, curves, lookup, settings.workers, settings.budget * curves.epochs)


def _summary(curves: RecordedCurves, settings: ReplaySettings, search: Replayed, target: float) -> Summary:
    runs = search.runs
    lost = Counter(run.lost_at for run in runs if run.lost_at is not None)
    to_target = search.epochs_to(target)
    near = curves.best - settings.tolerance
    return Summary(
        name=search.variant.name,
        best=Spread.of(search.best()),
        test=Spread.of([float(run.test[-1]) for run in runs]),
        regret=Spread.of(regret(curves, search.best())),
        epochs=Spread.of([len(run.best) for run in runs]),
        hours=Spread.of([float(run.hours[-1]) for run in runs]),
        busy_hours=Spread.of([float(run.busy[-1]) for run in runs]),
        gpu_hours=Spread.of([float(run.busy[-1]) * curves.gpus for run in runs] if curves.gpus else []),
        to_best=Spread.of(search.epochs_to(near)),
        to_best_hours=Spread.of(search.hours_to(near)),
        to_best_busy_hours=Spread.of(search.busy_hours_to(near)),
        to_reference=Spread.of(to_target),
        reached=sum(map(math.isfinite, to_target)) / len(runs),
        lost={rung: lost[rung] / len(runs) for rung in sorted(lost)},
        trials=float(np.median([run.trials for run in runs])),
        censored=sum(run.censored > 0 for run in runs) / len(runs),
        runs=len(runs),
    )


def _first(run: Run, value: float) -> float:
    place = int(np.searchsorted(run.best, value))
    return place + 1.0 if place < len(run.best) else math.inf


def _when(run: Run, value: float, clock: Matrix) -> float:
    """What `clock` says at the end of the epoch that reached `value`."""
    epochs = _first(run, value)
    return float(clock[int(epochs) - 1]) if math.isfinite(epochs) else math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
