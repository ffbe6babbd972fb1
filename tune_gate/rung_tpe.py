"""TPE over the values of one rung, as a fold of the log."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial

from analysis.events import EpochReported, Event, TrialInherited, TrialSuggested
from search_spaces import Choice
from tune_gate.parzen import Observations
from tune_gate.samplers import RandomSampler, Suggestion, derived_seed
from tune_gate.schedulers import FLOOR
from tune_gate.spec import StudySpec
from tune_gate.tpe import distribution, draw_point, quiet


class RungTpeSampler:
    """TPE (Bergstra et al. 2011) told only what trials reached at one rung: the highest with at least max(10, number of
    dimensions + 2) values, the end of training being the highest of all.

    So a value at one rung never competes with one at another. Where no rung has enough values, and for a share of the
    suggestions ever after, a point is drawn at random. A trial that diverged has the floor value at every rung.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._seed = spec.seed
        self._explore = spec.sampler.explore
        self._metric = spec.metric
        self._space = spec.search_space
        self._uniform = RandomSampler(self._space, spec.seed)
        self._distributions = {parameter.name: distribution(parameter) for parameter in self._space.parameters}
        self._enough = spec.sampler.startup or max(10, len(self._space.parameters) + 2)
        self._milestones = frozenset({*spec.milestones, spec.epochs})
        self._settings: dict[int, Mapping[str, Any]] = {}  # by trial
        self._diverged: list[int] = []
        self._rungs: dict[int, _Rung] = {}  # by epoch

    def suggest(self, trial: int) -> Suggestion:
        """The point that trial number `trial` tries."""
        generator = random.Random(derived_seed(self._seed, "explore", trial))  # noqa: S311  not for secrets
        rung = next((self._rungs[at] for at in sorted(self._rungs, reverse=True) if self._has_enough(at)), None)
        if rung is None or generator.random() < self._explore:
            return self._uniform.suggest(trial)
        sampler_seed = derived_seed(self._seed, "tpe-rung", trial)
        return Suggestion(
            draw_point(self._space, self._distributions, rung.study, rung.observations, sampler_seed), "tpe-rung"
        )

    def apply(self, event: Event) -> None:
        """Take one event of the log in."""
        match event:
            case TrialSuggested():
                self._settings[event.trial] = event.settings
            case TrialInherited():
                self._inherit(event)
            case EpochReported() if event.trial in self._settings:
                self._report(event)
            case _:
                pass

    def _inherit(self, event: TrialInherited) -> None:
        """Take in a trial of another study, under a number that no trial of ours has, at the rungs that it reached."""
        number = -1 - len(self._settings)
        self._settings[number] = event.settings
        if event.state == "diverged":
            self._diverge(number)
            return
        for epoch, value in event.values:
            if epoch in self._milestones:
                self._tell(self._rung(epoch), number, value)

    def _report(self, event: EpochReported) -> None:
        if event.action == "diverge":
            self._diverge(event.trial)
        elif event.rung is not None:
            self._tell(self._rung(event.rung.milestone), event.trial, event.rung.value)
        elif event.action == "complete":
            self._tell(self._rung(event.epoch), event.trial, event.metrics[self._metric])

    def _diverge(self, trial: int) -> None:
        if trial not in self._diverged:
            self._diverged.append(trial)
            for rung in self._rungs.values():
                self._tell(rung, trial, FLOOR)

    def _has_enough(self, milestone: int) -> bool:
        return len(self._rungs[milestone].told) - len(self._diverged) >= self._enough

    def _rung(self, milestone: int) -> _Rung:
        if milestone not in self._rungs:
            self._rungs[milestone] = _Rung(self._distributions)
            for trial in self._diverged:
                self._tell(self._rungs[milestone], trial, FLOOR)
        return self._rungs[milestone]

    def _tell(self, rung: _Rung, trial: int, value: float) -> None:
        if trial in rung.told:
            return  # the first value stands, at a rung as with the scheduler
        rung.told.add(trial)
        settings = self._settings[trial]
        known = {name: wanted for name in settings if (wanted := self._distributions.get(name)) is not None}
        point = {name: self._external(name, settings[name]) for name in known}
        rung.study.add_trial(create_trial(state=TrialState.COMPLETE, params=point, distributions=known, value=value))
        rung.observations.add(point)

    def _external(self, name: str, value: Any) -> Any:
        dimension = next(p.dimension for p in self._space.parameters if p.name == name)
        return dimension.label(value) if isinstance(dimension, Choice) else value


class _Rung:
    """What Optuna is told of one rung."""

    def __init__(self, distributions: Mapping[str, BaseDistribution | None]) -> None:
        with quiet():
            self.study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="maximize")
        self.observations = Observations(distributions)
        self.told: set[int] = set()  # trials
