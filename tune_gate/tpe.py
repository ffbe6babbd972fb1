"""Optuna's tree-structured Parzen estimator as a fold of the log."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.events import BudgetExtended, EpochReported, Event, TrialFailed, TrialInherited, TrialSuggested
from search_spaces import Choice, Fixed, Float, Int, LogFloat, LogInt, Parameter, SearchSpace
from tune_gate.parzen import Observations, divide, draw
from tune_gate.samplers import RandomSampler, Suggestion, derived_seed
from tune_gate.schedulers import FLOOR
from tune_gate.spec import StudySpec

_NAME = "fold"


@dataclass(frozen=True, slots=True)
class Told:
    """What Optuna is told of a trial that was stopped."""

    state: TrialState
    at_epochs: Mapping[int, float]
    values: tuple[float, ...] = ()  # the final one, of a trial that counts as complete


#: How Optuna is told of a trial that was stopped, from its values at rungs; None: not at all, as if it had never been.
StoppedAs = Callable[[Mapping[int, float]], Told | None]


def as_pruned(at_rungs: Mapping[int, float]) -> Told:
    """It is compared with others at the rung where it ended."""
    return Told(TrialState.PRUNED, at_rungs)


def as_complete(at_rungs: Mapping[int, float]) -> Told:
    """Its last value is its result, whatever its epoch: what Ray's `OptunaSearch` does."""
    return Told(TrialState.COMPLETE, at_rungs, (at_rungs[max(at_rungs)],))


def as_nothing(at_rungs: Mapping[int, float]) -> None:  # noqa: ARG001  every way takes them
    """Only trials that ran to the end, or diverged, say something."""
    return


class TpeSampler:
    """TPE (Bergstra et al. 2011) over the trials in the log.

    What Optuna is told: a completed trial as COMPLETE with its last value; one that was stopped as PRUNED, with its
    value at each rung, so that it is compared with others at the rung where it ended; one that diverged as PRUNED
    at its first epoch with the floor value, the worst place there is; one that failed as FAIL, which says nothing
    about its settings. Running trials are in the history (constant liar), so workers do not all try one place.
    Trials of earlier studies are told in the same way, before the first of ours. A replay tries other ways to tell of
    those that were stopped.
    """

    def __init__(self, spec: StudySpec, stopped: StoppedAs = as_pruned) -> None:
        self._spec = spec
        self._stopped = stopped
        self._space = spec.search_space
        self._uniform = RandomSampler(self._space, spec.seed)
        self._distributions = {parameter.name: distribution(parameter) for parameter in self._space.parameters}
        self._epochs = spec.epochs
        self._told_events: list[Event] = []  # what Optuna was told, to tell it anew when the budget grows
        self._begin()

    def _begin(self) -> None:
        """A history without trials."""
        self._storage = _Storage()
        with quiet():
            self._study = optuna.create_study(storage=self._storage, study_name=_NAME, direction="maximize")
        self._study_id = self._storage.get_study_id_from_name(_NAME)
        self._observations = Observations(self._distributions)
        self._ids: dict[int, int] = {}  # our trial -> Optuna's id
        self._at_rungs: dict[int, dict[int, float]] = {}  # of trials that may go on: milestone -> value
        self._paused: set[int] = set()  # trials told as pruned that may go on
        self._told: set[int] = set()  # trials whose end Optuna knows

    def suggest(self, trial: int) -> Suggestion:
        """The point that trial number `trial` tries: random at first, and a share of the time ever after."""
        settings = self._spec.sampler
        generator = random.Random(derived_seed(self._spec.seed, "explore", trial))  # noqa: S311  not for secrets
        if len(self._told) < settings.startup_trials(self._spec.trials) or generator.random() < settings.explore:
            return self._uniform.suggest(trial)
        seed = derived_seed(self._spec.seed, "tpe", trial)
        return Suggestion(draw_point(self._space, self._distributions, self._study, self._observations, seed), "tpe")

    def apply(self, event: Event) -> None:
        """Take one event of the log in."""
        if isinstance(event, BudgetExtended):
            self._extend(event)
            return
        if isinstance(event, EpochReported) and event.rung is None and event.action in ("continue", "interrupt"):
            return  # no news for the sampler, and most events are such
        self._told_events.append(event)
        self._tell(event)

    def _extend(self, event: BudgetExtended) -> None:
        """Optuna never reopens a trial that is complete; so it is told everything again, with the new end in view."""
        self._epochs = event.epochs
        self._begin()
        for told in self._told_events:
            self._tell(told)

    def _tell(self, event: Event) -> None:
        match event:
            case TrialSuggested():
                self._add(event.trial, event.settings)
            case TrialInherited():
                self._inherit(event)
            case EpochReported() if event.trial in self._ids:
                self._report(event)
            case TrialFailed() if event.trial in self._ids and event.trial not in self._paused:
                self._end(event.trial, TrialState.FAIL, {})
            case _:
                pass

    def _add(self, trial: int, settings: Mapping[str, Any]) -> None:
        known = {name: wanted for name in settings if (wanted := self._distributions.get(name)) is not None}
        values = {name: self._external(name, settings[name]) for name in known}
        running = create_trial(state=TrialState.RUNNING, params=values, distributions=known)
        self._ids[trial] = self._storage.create_new_trial(self._study_id, template_trial=running)
        self._observations.add(values)

    def _inherit(self, event: TrialInherited) -> None:
        """Take in a trial of another study, under a number that no trial of ours has.

        It is complete only where it was as long as ours are; else it is compared at the last epoch that ours reach.
        """
        at_epochs = {epoch: value for epoch, value in event.values if epoch <= self._epochs}
        if not at_epochs and event.state != "diverged":
            return  # nothing was measured where ours are
        number = -1 - len(self._ids)
        self._add(number, event.settings)
        if event.state == "diverged":
            self._end(number, TrialState.PRUNED, {1: FLOOR})
        elif event.state == "completed" and event.epochs == self._epochs and self._epochs in at_epochs:
            self._end(number, TrialState.COMPLETE, at_epochs, at_epochs[self._epochs])
        else:
            self._end(number, TrialState.PRUNED, at_epochs)

    def _external(self, name: str, value: Any) -> Any:
        dimension = next(p.dimension for p in self._space.parameters if p.name == name)
        return dimension.label(value) if isinstance(dimension, Choice) else value

    def _report(self, event: EpochReported) -> None:
        trial_id = self._ids[event.trial]
        if self._storage.get_trial(trial_id).state.is_finished():
            if event.trial not in self._paused or event.action in ("continue", "interrupt"):
                return  # a report that arrived twice, or one after which the trial's next pause or end is awaited
            self._storage.reopen(trial_id)
        at_rungs = self._at_rungs.setdefault(event.trial, {})
        if event.rung is not None:
            at_rungs[event.rung.milestone] = event.rung.value
        if event.action == "pause":
            self._pause(event.trial, at_rungs)
        elif event.action == "stop":
            self._stop(event.trial, at_rungs)
        elif event.action == "diverge":
            self._end(event.trial, TrialState.PRUNED, {1: FLOOR})
        elif event.action == "complete" and event.epoch < self._epochs:
            at_rungs[event.epoch] = event.metrics[self._spec.metric]  # it was complete before the budget grew
        elif event.action == "complete":
            value = event.metrics[self._spec.metric]
            self._end(event.trial, TrialState.COMPLETE, {**at_rungs, event.epoch: value}, value)

    def _pause(self, trial: int, at_rungs: Mapping[int, float]) -> None:
        """Until more is known of it, a paused trial is one that was stopped at its last rung."""
        known = dict(at_rungs)
        self._stop(trial, known)
        self._at_rungs[trial] = known
        self._paused.add(trial)

    def _stop(self, trial: int, at_rungs: Mapping[int, float]) -> None:
        told = self._stopped(at_rungs)
        if told is None:
            self._close(trial, TrialState.FAIL, {})
        else:
            self._end(trial, told.state, told.at_epochs, *told.values)

    def _end(self, trial: int, state: TrialState, at_epochs: Mapping[int, float], *values: float) -> None:
        self._close(trial, state, at_epochs, *values)
        self._told.add(trial)

    def _close(self, trial: int, state: TrialState, at_epochs: Mapping[int, float], *values: float) -> None:
        for epoch, value in at_epochs.items():
            self._storage.set_trial_intermediate_value(self._ids[trial], epoch, value)
        self._storage.set_trial_state_values(self._ids[trial], state, list(values) or None)
        self._at_rungs.pop(trial, None)
        self._paused.discard(trial)


class _Storage(optuna.storages.InMemoryStorage):
    """A storage that lets a trial go on after it has ended, as Optuna's own never does."""

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As Optuna's own, which keeps a copy of every distribution for each trial; here they share them."""
        trial_id = super().create_new_trial(study_id, template_trial)
        if template_trial is not None:
            self._get_trial(trial_id).distributions = template_trial.distributions
        return trial_id

    def reopen(self, trial_id: int) -> None:
        """Make the trial a running one."""
        with self._lock:
            trial = copy.copy(self._get_trial(trial_id))
            trial.state, trial.datetime_complete, trial.values = TrialState.RUNNING, None, None
            self._set_trial(trial_id, trial)


def draw_point(
    space: SearchSpace,
    distributions: Mapping[str, BaseDistribution | None],
    study: optuna.Study,
    observations: Observations,
    seed: int,
) -> Mapping[str, Any]:
    """A point of `space` that TPE draws with `seed` from the trials of `study`; adds none to it.

    `distributions` are those of the parameters, by name; `observations`, the settings of the study's trials.
    """
    better, others = divide(study.get_trials(deepcopy=False))
    rng = np.random.RandomState(seed)

    def choose(parameter: Parameter) -> Any:
        name, wanted = parameter.name, distributions[parameter.name]
        if wanted is None:
            return parameter.dimension.corners()[0]
        drawn = draw(wanted, observations.of(name, better), observations.of(name, others), rng)
        return parameter.dimension.value_of(drawn) if isinstance(parameter.dimension, Choice) else drawn

    return space.suggest(choose)


def distribution(parameter: Parameter) -> BaseDistribution | None:
    """Optuna's form of a dimension; None for one that never varies. A choice is known by its labels."""
    match parameter.dimension:
        case Float(low=low, high=high):
            return FloatDistribution(low, high)
        case LogFloat(low=low, high=high):
            return FloatDistribution(low, high, log=True)
        case Int(low=low, high=high):
            return IntDistribution(low, high)
        case LogInt(low=low, high=high):
            return IntDistribution(low, high, log=True)
        case Choice() as choice:
            return CategoricalDistribution([choice.label(value) for value in choice.values])
        case Fixed():
            return None
        case other:
            raise TypeError(f"no distribution for a dimension of type {type(other).__name__}")


class quiet:  # noqa: N801  used as a verb
    """Optuna without its log lines and its warnings about experimental arguments, for the length of the block."""

    def __enter__(self) -> None:
        self._level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)

    def __exit__(self, *error: object) -> None:
        self._warnings.__exit__(*error)  # type: ignore[arg-type]
        optuna.logging.set_verbosity(self._level)
