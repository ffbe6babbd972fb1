"""The virtual workers that feed other people's searches, and the rules that are re-stated for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna

from search_spaces import space_from_mapping
from tests.benchmarks.peers import OptunaAlone, RayStock, Task, peer_run
from tune_gate.replay.recorded import RecordedCurves


def curves_of(values: list[list[float]]) -> RecordedCurves:
    matrix = np.array(values)
    return RecordedCurves(
        name="hand",
        space=space_from_mapping({"x": {"int": [1, len(values)]}}, "hand"),
        points=tuple({"x": place + 1} for place in range(len(values))),
        values=matrix,
        tests=np.full_like(matrix, np.nan),
        seconds=np.full_like(matrix, np.nan),
        diverged=np.zeros(len(values), dtype=bool),
        settings={},
    )


class InOrder:
    """Each configuration once and again, in stretches of two epochs; the second is stopped after the first of them."""

    def __init__(self, epochs: int, configurations: int) -> None:
        self._epochs, self._configurations, self._asked = epochs, configurations, 0

    def ask(self) -> tuple[Task, Mapping[str, Any]]:
        self._asked += 1
        return Task(self._asked, 0, 2), {"x": 1 + (self._asked - 1) % self._configurations}

    def report(self, task: Task, value: float) -> Task | None:
        if task.end >= self._epochs or task.trial == 2:
            return None
        return Task(task.trial, task.end, task.end + 2)


def test_workers_share_a_clock_and_the_budget_cuts_the_run() -> None:
    """Two workers: trial 1 over epochs 1-4 of the clock, trial 2 over 1-2, trial 3 over 3-4; the fourth begins."""
    curves = curves_of([[0.1, 0.2, 0.3, 0.4], [0.5, 0.15, 0.9, 0.9], [0.1, 0.6, 0.7, 0.8]])
    run = peer_run(InOrder(4, 3), curves, seed=0, workers=2, budget=8)
    assert run.hours.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert run.best.tolist() == [0.1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6]
    assert run.busy.tolist() == list(range(1, 9))
    assert run.trials == 4


def test_rays_rule_stops_below_the_upper_quartile_of_those_before() -> None:
    peer = RayStock(curves_of([[0.1] * 20, [0.2] * 20]), seed=0)
    tasks = [peer.ask()[0] for _ in range(6)]
    assert (tasks[0].start, tasks[0].end) == (0, 1)
    assert peer.report(tasks[0], 0.1) == Task(0, 1, 4)  # the first passes
    values = (0.3, 0.2, 0.3, 0.29, 0.3)
    goes_on = [peer.report(task, value) is not None for task, value in zip(tasks[1:], values, strict=True)]
    assert goes_on == [True, False, True, False, True]
    assert peer.report(Task(0, 16, 20), 0.4) is None


def test_optuna_prunes_below_its_median_after_five_trials() -> None:
    peer = OptunaAlone(curves_of([[0.1, 0.2], [0.2, 0.3]]), seed=0)
    for _ in range(5):
        task, point = peer.ask()
        assert point["x"] in (1, 2)
        following = peer.report(task, 0.5)
        assert following == Task(task.trial, 1, 2)
        assert peer.report(following, 0.5) is None
    assert peer.report(peer.ask()[0], 0.4) is None
    assert peer.report(peer.ask()[0], 0.6) is not None


def test_optuna_halves_once_a_trial_is_complete() -> None:
    """Nothing stops before: the first rung is a share of that trial's epochs. Then one stops that is not the best."""
    peer = OptunaAlone(curves_of([[0.1, 0.2], [0.2, 0.3]]), seed=0, pruner=optuna.pruners.SuccessiveHalvingPruner())
    tasks = [peer.ask()[0] for _ in range(5)]
    assert [peer.report(task, value) is not None for task, value in zip(tasks[:2], (0.5, 0.1), strict=True)] == [
        True
    ] * 2
    assert peer.report(Task(0, 1, 2), 0.6) is None
    goes_on = [peer.report(task, value) is not None for task, value in zip(tasks[2:], (0.3, 0.2, 0.4), strict=True)]
    assert goes_on == [True, False, True]
