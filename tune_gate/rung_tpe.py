"""TPE over the values of one rung, as a fold of the log."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from analysis.events import EpochReported, Event, TrialFailed, TrialInherited, TrialSuggested
from tune_gate.joint_parzen import JointParzen, draw_promising
from tune_gate.samplers import RandomSampler, Suggestion, derived_seed
from tune_gate.spec import StudySpec
from tune_gate.unit_cube import UnitCube, Vector

#: Share of the values at a rung that count as good, and the fewest that do.
GOOD = 0.1
FEWEST_GOOD = 2

#: Random draws that may hit a point tried before, until one such is tried again: the space is nearly used up.
_REDRAWS = 20


class RungTpeSampler:
    """TPE (Bergstra et al. 2011) over all parameters jointly, told only what trials reached at one rung: the highest
    with at least max(10, number of dimensions + 2) values, the end of training being the highest of all.

    The best tenth of these values are the good trials, so a value at one rung never competes with one at another. All
    other trials are the background that they are set against: those that lost at a lower rung or diverged, and those
    that still run (constant liar, Ginsbourger et al. 2010), so that workers do not all try one place; only of a trial
    that failed nothing is known. Where no rung has enough values, and for a share of the suggestions ever after, a
    point is drawn at random. No point is tried twice while others are found.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._seed = spec.seed
        self._explore = spec.sampler.explore
        self._metric = spec.metric
        self._space = spec.search_space
        self._cube = UnitCube(self._space)
        self._uniform = RandomSampler(self._space, spec.seed)
        self._enough = spec.sampler.startup or max(10, len(self._space.parameters) + 2)
        self._milestones = frozenset({*spec.milestones, spec.epochs})
        self._vectors: dict[int, Vector] = {}  # by trial
        self._tried: set[bytes] = set()  # vectors
        self._silent: set[int] = set()  # trials that failed, wherever they did
        self._rungs: dict[int, dict[int, float]] = {}  # epoch -> trial -> value; the first of a trial stands

    def suggest(self, trial: int) -> Suggestion:
        """The point that trial number `trial` tries."""
        told = next((self._rungs[at] for at in sorted(self._rungs, reverse=True) if self._is_enough(at)), None)
        generator = random.Random(derived_seed(self._seed, "explore", trial))  # noqa: S311  not for secrets
        if told is not None and generator.random() >= self._explore:
            for vector in self._promising(told, trial):
                point = self._cube.decode(vector)
                if self._is_new(point):
                    return Suggestion(point, "tpe-rung")
        return self._random(trial)

    def apply(self, event: Event) -> None:
        """Take one event of the log in."""
        match event:
            case TrialSuggested():
                self._add(event.trial, event.settings)
            case TrialInherited():
                self._inherit(event)
            case TrialFailed():
                self._silent.add(event.trial)
            case EpochReported() if event.trial in self._vectors:
                self._report(event)
            case _:
                pass

    def _promising(self, told: Mapping[int, float], trial: int) -> Iterator[Vector]:
        """Points that are likely among the good ones and unlikely among the others, the likeliest first."""
        ranked = sorted(told, key=lambda number: (-told[number], number))
        good = ranked[: max(FEWEST_GOOD, math.ceil(GOOD * len(ranked)))]
        set_apart = self._silent.union(good)
        others = [number for number in self._vectors if number not in set_apart]
        rng = np.random.default_rng(derived_seed(self._seed, "tpe-rung", trial))
        return iter(draw_promising(self._parzen(good), self._parzen(others), rng))

    def _parzen(self, trials: list[int]) -> JointParzen:
        points = [self._vectors[trial] for trial in trials]
        return JointParzen(np.array(points).reshape(len(points), len(self._cube.axes)), self._cube.choices)

    def _random(self, trial: int) -> Suggestion:
        drawn = self._uniform.suggest(trial)
        generator = random.Random(derived_seed(self._seed, "redraw", trial))  # noqa: S311  not for secrets
        for _ in range(_REDRAWS):
            if self._is_new(drawn.settings):
                break
            drawn = Suggestion(self._space.sample(generator), "random")
        return drawn

    def _is_new(self, settings: Mapping[str, Any]) -> bool:
        return self._cube.encode(settings).tobytes() not in self._tried

    def _is_enough(self, milestone: int) -> bool:
        return len(self._rungs[milestone]) >= self._enough

    def _add(self, trial: int, settings: Mapping[str, Any]) -> None:
        self._vectors[trial] = self._cube.encode(settings)
        self._tried.add(self._vectors[trial].tobytes())

    def _inherit(self, event: TrialInherited) -> None:
        """Take in a trial of another study, under a number that no trial of ours has, at the rungs that it reached."""
        number = -1 - len(self._vectors)
        self._vectors[number] = self._cube.encode(event.settings)
        for epoch, value in event.values:
            if epoch in self._milestones:
                self._tell(epoch, number, value)

    def _report(self, event: EpochReported) -> None:
        if event.rung is not None:
            self._tell(event.rung.milestone, event.trial, event.rung.value)
        elif event.action == "complete":
            self._tell(event.epoch, event.trial, event.metrics[self._metric])

    def _tell(self, milestone: int, trial: int, value: float) -> None:
        self._rungs.setdefault(milestone, {}).setdefault(trial, value)
