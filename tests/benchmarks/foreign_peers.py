"""Syne Tune and SMAC themselves over recorded curves, fed by the virtual workers of `peers`.

They are no dependencies of ours: `pip install syne-tune smac` beside the project to measure them. Syne Tune's BOHB is
taken as shipped (asynchronous, stopping form, reduction factor 3 from epoch 1, reports after every epoch). SMAC's
multi-fidelity facade is told to begin at a ninth of the epochs, its factor being 3; a configuration that it asks for
with a larger budget goes on from where it was, which SMAC itself leaves to its user. SMAC's facade for full lengths
trains everything to the end. Both facades are told how many trials fit into the budget, for their initial designs.
Some of SMAC's choices rest on the order of a set: it repeats its searches where PYTHONHASHSEED is set (ours have 0).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from search_spaces import Choice, Float, Int, LogFloat, LogInt, Parameter
from tests.benchmarks.peers import Task
from tune_gate.replay.recorded import RecordedCurves


class SyneTuneBohb:
    """Syne Tune's `BOHB`."""

    def __init__(self, curves: RecordedCurves, seed: int) -> None:
        from syne_tune.optimizer.baselines import BOHB

        self._scheduler = BOHB(
            config_space={parameter.name: _syne_tune_domain(parameter) for parameter in curves.space.parameters},
            metric="value",
            time_attr="epoch",
            max_t=curves.epochs,
            do_minimize=False,
            random_seed=seed,
        )
        self._parameters = curves.space.parameters
        self._trials: list[Any] = []

    def ask(self) -> tuple[Task, Mapping[str, Any]]:
        from syne_tune.backend.trial_status import Trial

        suggestion = self._scheduler.suggest()
        trial = Trial(len(self._trials), suggestion.config, datetime.now())  # its time is not looked at
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return Task(trial.trial_id, 0, 1), _point(self._parameters, suggestion.config)

    def report(self, task: Task, value: float) -> Task | None:
        trial = self._trials[task.trial]
        if self._scheduler.on_trial_result(trial, {"value": value, "epoch": task.end}) == "CONTINUE":
            return Task(task.trial, task.end, task.end + 1)
        self._scheduler.on_trial_remove(trial)
        return None


class Smac:
    """A facade of SMAC, for so many trials; `fidelities` are its settings for budgets."""

    def __init__(self, curves: RecordedCurves, seed: int, facade: str, trials: int, **fidelities: float) -> None:
        import smac
        from ConfigSpace import ConfigurationSpace

        self._folder = tempfile.TemporaryDirectory(prefix="smac-")  # it goes with the search
        space = ConfigurationSpace(seed=seed)
        space.add([_smac_parameter(parameter) for parameter in curves.space.parameters])
        scenario = smac.Scenario(
            space,
            deterministic=True,
            n_trials=trials,
            seed=seed,
            output_directory=Path(self._folder.name),
            **fidelities,
        )
        target = _never_called_with_budget if fidelities else _never_called
        self._smac = getattr(smac, facade)(scenario, target, model=_forest(scenario), logging_level=False)
        self._parameters = curves.space.parameters
        self._epochs = curves.epochs
        self._numbers: dict[Any, int] = {}  # configuration -> trial
        self._reached: dict[int, int] = {}  # trial -> epoch
        self._asked: dict[Task, Any] = {}

    def ask(self) -> tuple[Task, Mapping[str, Any]]:
        info = self._smac.ask()
        trial = self._numbers.setdefault(info.config, len(self._numbers))
        end = self._epochs if info.budget is None else min(self._epochs, math.ceil(info.budget - 1e-9))
        task = Task(trial, self._reached.get(trial, 0), end)
        self._reached[trial] = end
        self._asked[task] = info
        return task, _point(self._parameters, dict(info.config))

    def report(self, task: Task, value: float) -> Task | None:
        from smac.runhistory.dataclasses import TrialValue

        self._smac.tell(self._asked.pop(task), TrialValue(cost=-value), save=False)
        return None


def smac_multi_fidelity(curves: RecordedCurves, seed: int, lengths: int) -> Smac:
    """Hyperband's brackets over three fidelities spend about a third of a full length on a trial."""
    budgets = {"min_budget": curves.epochs / 9, "max_budget": curves.epochs}
    return Smac(curves, seed, "MultiFidelityFacade", 3 * lengths, **budgets)


def smac_full_length(curves: RecordedCurves, seed: int, lengths: int) -> Smac:
    return Smac(curves, seed, "HyperparameterOptimizationFacade", lengths)


def _forest(scenario: Any) -> Any:
    """The facades' own model, with two settings of its class changed that no suggestion depends on: threads, and room
    for so many leaves at once that clearing it takes most of a suggestion's time. A tree has a leaf for each trial at
    most.
    """
    from smac.model.random_forest import RandomForest

    return RandomForest(
        scenario.configspace,
        log_y=True,
        n_trees=10,
        ratio_features=1.0,
        min_samples_split=2,
        min_samples_leaf=1,
        max_depth=2**20,
        bootstrapping=True,
        instance_features=scenario.instance_features,
        seed=scenario.seed,
        n_jobs=1,
        max_leaf_nodes=2 * scenario.n_trials,
    )


def _never_called(config: Any, seed: int = 0) -> float:  # SMAC looks at the signature
    raise NotImplementedError


def _never_called_with_budget(config: Any, seed: int = 0, budget: float = 0.0) -> float:
    raise NotImplementedError


def _point(parameters: tuple[Parameter, ...], config: Mapping[str, Any]) -> dict[str, Any]:
    point = {}
    for parameter in parameters:
        value = config[parameter.name]
        match parameter.dimension:
            case Choice() as choice:
                point[parameter.name] = choice.value_of(str(value))
            case Int() | LogInt():
                point[parameter.name] = int(value)
            case _:
                point[parameter.name] = float(value)
    return point


def _syne_tune_domain(parameter: Parameter) -> Any:
    from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform

    match parameter.dimension:
        case Float(low=low, high=high):
            return uniform(low, high)
        case LogFloat(low=low, high=high):
            return loguniform(low, high)
        case Int(low=low, high=high):
            return randint(low, high)
        case LogInt(low=low, high=high):
            return lograndint(low, high)
        case Choice() as labels:
            return choice([labels.label(value) for value in labels.values])
        case other:
            raise TypeError(f"Syne Tune has no domain for {other}")


def _smac_parameter(parameter: Parameter) -> Any:
    from ConfigSpace import Categorical, Integer
    from ConfigSpace import Float as Real

    name = parameter.name
    match parameter.dimension:
        case Float(low=low, high=high):
            return Real(name, (low, high))
        case LogFloat(low=low, high=high):
            return Real(name, (low, high), log=True)
        case Int(low=low, high=high):
            return Integer(name, (low, high))
        case LogInt(low=low, high=high):
            return Integer(name, (low, high), log=True)
        case Choice() as choice:
            return Categorical(name, [choice.label(value) for value in choice.values])
        case other:
            raise TypeError(f"SMAC has no parameter for {other}")
