"""Other people's searches over recorded curves, for comparison: their rules re-stated over the same virtual workers.

Ray Tune's `ASHAScheduler` with `OptunaSearch`, both as shipped: rungs at 1, 4, 16, … epochs; at a rung a trial stops
where it is below the (1 - 1/4)-quantile of the values before it (`numpy.nanpercentile`), and the first always passes;
Optuna's `TPESampler` is told every trial that ended, stopped or not, as COMPLETE with its last value.
"""

from __future__ import annotations

import heapq
import warnings
from collections import defaultdict

import numpy as np
import optuna

from search_spaces import Parameter
from tune_gate.replay.lookup import Lookup
from tune_gate.replay.recorded import RecordedCurves
from tune_gate.replay.simulation import Run
from tune_gate.tpe import distribution

REDUCTION_FACTOR = 4


class RayStock:
    """Ray's pair, asked and told in the order in which its controller does."""

    def __init__(self, curves: RecordedCurves, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        self._parameters: tuple[Parameter, ...] = curves.space.parameters
        self._distributions = {p.name: d for p in self._parameters if (d := distribution(p)) is not None}
        self._epochs = curves.epochs
        self.milestones = _powers(REDUCTION_FACTOR, curves.epochs)
        self._rungs: dict[int, list[float]] = defaultdict(list)

    def ask(self) -> tuple[optuna.trial.Trial, dict[str, object]]:
        trial = self._study.ask(self._distributions)
        point: dict[str, object] = {}
        for parameter in self._parameters:
            value = trial.params[parameter.name]
            label = getattr(parameter.dimension, "value_of", None)
            point[parameter.name] = label(value) if label else value
        return trial, point

    def goes_on(self, epoch: int, value: float) -> bool:
        if epoch >= self._epochs:
            return False
        before = self._rungs[epoch]
        passes = not before or value >= np.nanpercentile(before, (1 - 1 / REDUCTION_FACTOR) * 100)
        before.append(value)
        return bool(passes)

    def tell(self, trial: optuna.trial.Trial, value: float) -> None:
        self._study.tell(trial, value)


def ray_stock(curves: RecordedCurves, seed: int, workers: int, budget: float) -> Run:
    """One run of `budget` epochs, of all workers together."""
    peer = RayStock(curves, seed)
    lookup = Lookup(curves)
    stops = [*peer.milestones, curves.epochs]
    queue: list[tuple[int, int, int, int]] = []  # when ready, trial, row, epoch
    asked: dict[int, optuna.trial.Trial] = {}
    observed: list[tuple[int, int, float]] = []  # when, trial, value
    now = finished = 0

    def train(trial: int, row: int, start: int) -> None:
        end = next(stop for stop in stops if stop > start)
        heapq.heappush(queue, (now + end - start, trial, row, end))
        values = curves.values[row, start:end].tolist()
        observed.extend((now + 1 + step, trial, value) for step, value in enumerate(values))

    while finished < budget:
        while len(queue) < workers:
            number = len(asked)
            asked[number], point = peer.ask()
            train(number, lookup.row(point), 0)
        now, trial, row, epoch = heapq.heappop(queue)
        finished += epoch - max((stop for stop in [0, *stops] if stop < epoch), default=0)
        value = float(curves.values[row, epoch - 1])
        if peer.goes_on(epoch, value):
            train(trial, row, epoch)
        else:
            peer.tell(asked[trial], value)
    observed.sort()
    values = np.array([value for _, _, value in observed[: int(budget)]])
    hours = np.array([when for when, _, _ in observed[: int(budget)]], dtype=float)
    best = np.maximum.accumulate(values)
    return Run(seed, hours, np.arange(1.0, len(best) + 1), best, np.full_like(best, np.nan), len(asked), 0, None, ())


def _powers(factor: int, below: int) -> list[int]:
    found, power = [], 1
    while power < below:
        found.append(power)
        power *= factor
    return found
