"""Other people's searches over recorded curves, for comparison, each fed by the same virtual workers.

Ray Tune's `ASHAScheduler` with `OptunaSearch`, both as shipped, with the scheduler's rule re-stated: rungs at 1, 4, 16,
… epochs; at a rung a trial stops where it is below the (1 - 1/4)-quantile of the values before it
(`numpy.nanpercentile`), and the first always passes; Optuna's `TPESampler` is told every trial that ended, stopped or
not, as COMPLETE with its last value. Optuna alone is Optuna itself, with what `create_study` takes when nothing is
said: `TPESampler`, and `MedianPruner`, which sees every epoch; or with its `SuccessiveHalvingPruner` as shipped
(reduction factor 4; the first rung is a hundredth of the epochs of the first trial that is complete, and until then
nothing stops).
"""

from __future__ import annotations

import heapq
import itertools
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna

from search_spaces import Parameter
from tune_gate.replay.lookup import Lookup
from tune_gate.replay.recorded import RecordedCurves
from tune_gate.replay.simulation import Run
from tune_gate.tpe import distribution

REDUCTION_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Task:
    """Epochs of a trial that a worker trains before anybody asks."""

    trial: int
    start: int  # exclusive
    end: int


class Peer(Protocol):
    """A search that is asked for tasks and told what they gave."""

    def ask(self) -> tuple[Task, Mapping[str, Any]]:
        """What a free worker does next, and the settings of its trial."""

    def report(self, task: Task, value: float) -> Task | None:
        """What the worker goes on with; None: it is free."""


def peer_run(peer: Peer, curves: RecordedCurves, seed: int, workers: int, budget: float) -> Run:
    """One run of `budget` epochs, of all workers together. Every epoch of a trial takes one unit of time."""
    lookup = Lookup(curves)
    rows: dict[int, int] = {}
    queue: list[tuple[int, int, int, Task]] = []  # when ready, trial, order, task
    observed: list[tuple[int, int, float]] = []  # when, trial, value
    order = itertools.count()
    now = finished = 0

    def train(task: Task) -> None:
        heapq.heappush(queue, (now + task.end - task.start, task.trial, next(order), task))
        values = curves.values[rows[task.trial], task.start : task.end].tolist()
        observed.extend((now + 1 + step, task.trial, value) for step, value in enumerate(values))

    while finished < budget:
        while len(queue) < workers:
            task, point = peer.ask()
            if task.trial not in rows:
                rows[task.trial] = lookup.row(point)
            train(task)
        now, _, _, task = heapq.heappop(queue)
        finished += task.end - task.start
        following = peer.report(task, float(curves.values[rows[task.trial], task.end - 1]))
        if following is not None:
            train(following)
    observed.sort()
    values = np.array([value for _, _, value in observed[: int(budget)]])
    hours = np.array([when for when, _, _ in observed[: int(budget)]], dtype=float)
    best = np.maximum.accumulate(values)
    return Run(seed, hours, np.arange(1.0, len(best) + 1), best, np.full_like(best, np.nan), len(rows), 0, None, ())


class _OptunaPeer:
    """What both have that ask Optuna."""

    def __init__(self, curves: RecordedCurves, seed: int, pruner: optuna.pruners.BasePruner | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
        self._parameters: tuple[Parameter, ...] = curves.space.parameters
        self._distributions = {p.name: d for p in self._parameters if (d := distribution(p)) is not None}
        self._epochs = curves.epochs
        self._asked: list[optuna.trial.Trial] = []

    def ask(self) -> tuple[Task, Mapping[str, Any]]:
        trial = self._study.ask(self._distributions)
        self._asked.append(trial)
        point: dict[str, object] = {}
        for parameter in self._parameters:
            value = trial.params[parameter.name]
            label = getattr(parameter.dimension, "value_of", None)
            point[parameter.name] = label(value) if label else value
        return self._stretch(len(self._asked) - 1, 0), point

    def _stretch(self, trial: int, start: int) -> Task:
        raise NotImplementedError


class RayStock(_OptunaPeer):
    """Ray's pair, asked and told in the order in which its controller does."""

    def __init__(self, curves: RecordedCurves, seed: int) -> None:
        super().__init__(curves, seed)
        self._stops = [*_powers(REDUCTION_FACTOR, curves.epochs), curves.epochs]
        self._rungs: dict[int, list[float]] = defaultdict(list)

    def report(self, task: Task, value: float) -> Task | None:
        if self._goes_on(task.end, value):
            return self._stretch(task.trial, task.end)
        self._study.tell(self._asked[task.trial], value)
        return None

    def _stretch(self, trial: int, start: int) -> Task:
        return Task(trial, start, next(stop for stop in self._stops if stop > start))

    def _goes_on(self, epoch: int, value: float) -> bool:
        if epoch >= self._epochs:
            return False
        before = self._rungs[epoch]
        passes = not before or value >= np.nanpercentile(before, (1 - 1 / REDUCTION_FACTOR) * 100)
        before.append(value)
        return bool(passes)


class OptunaAlone(_OptunaPeer):
    """Optuna with its defaults, as its own loop asks and tells it; None for a pruner is its `MedianPruner`."""

    def report(self, task: Task, value: float) -> Task | None:
        trial = self._asked[task.trial]
        trial.report(value, task.end)
        if task.end >= self._epochs:
            self._study.tell(trial, value)
        elif trial.should_prune():
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            return self._stretch(task.trial, task.end)
        return None

    def _stretch(self, trial: int, start: int) -> Task:
        return Task(trial, start, start + 1)


def _powers(factor: int, below: int) -> list[int]:
    found, power = [], 1
    while power < below:
        found.append(power)
        power *= factor
    return found
