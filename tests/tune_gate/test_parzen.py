"""Our draws beside those of Optuna's public TPESampler, which get the same history and the same seed."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.events import BudgetExtended, Event, TrialInherited
from search_spaces import Choice, Fixed
from tests.tune_gate.test_samplers import FATES, spec_of, story
from tune_gate.parzen import Observations, divide
from tune_gate.samplers import derived_seed
from tune_gate.spec import StudySpec
from tune_gate.tpe import TpeSampler, distribution

#: After 25 complete or pruned trials in the better part, Optuna weighs the oldest ones down; so some stories are long.
LONG = 300


def optunas(spec: StudySpec, sampler: TpeSampler, trial: int) -> dict[str, Any]:
    """What `optuna.samplers.TPESampler` draws for trial number `trial`, after the history that `sampler` keeps."""
    study = sampler._study
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        theirs = optuna.samplers.TPESampler(
            n_startup_trials=0, multivariate=False, constant_liar=True, seed=derived_seed(spec.seed, "tpe", trial)
        )
    candidate = create_trial(state=TrialState.RUNNING)
    candidate.number = len(study.get_trials(deepcopy=False))

    def choose(parameter: Any) -> Any:
        wanted = distribution(parameter)
        assert wanted is not None
        drawn = theirs.sample_independent(study, candidate, parameter.name, wanted)
        return parameter.dimension.value_of(drawn) if isinstance(parameter.dimension, Choice) else drawn

    return spec.search_space.suggest(choose)


def compare(spec: StudySpec, log: Sequence[Event], first: int, draws: int = 3) -> None:
    sampler = TpeSampler(spec)
    for event in log:
        sampler.apply(event)
    for number in range(first, first + draws):
        ours = sampler.suggest(number)
        assert ours.source == "tpe"
        assert dict(ours.settings) == optunas(spec, sampler, number)


def tpe_spec(seed: int = 7) -> StudySpec:
    """Every kind of dimension, and conditions; TPE from the first trial that ends on."""
    return spec_of("tpe", seed, sampler={"kind": "tpe", "startup": 1, "explore": 0.0})


fates = st.lists(st.tuples(st.sampled_from(FATES), st.floats(0.0, 1.0)), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(fates=fates, seed=st.integers(0, 2**32))
def test_every_draw_is_optunas(fates: list[tuple[str, float]], seed: int) -> None:
    spec = tpe_spec(seed)
    compare(spec, story(spec, [("complete", 0.5), *fates]), len(fates) + 2)


@settings(max_examples=8, deadline=None)
@given(values=st.lists(st.sampled_from([0.0, 0.25, 0.5]), min_size=3, max_size=12))
def test_equal_values_are_divided_as_optuna_does(values: list[float]) -> None:
    spec = tpe_spec()
    compare(spec, story(spec, [(("complete", "stop")[n % 2], value) for n, value in enumerate(values)]), 20)


@pytest.mark.parametrize("seed", [0, 1])
def test_long_histories_too(seed: int) -> None:
    spec = tpe_spec(seed)
    generator = random.Random(seed)
    space = spec.search_space
    sampler = TpeSampler(spec)
    for number in range(LONG):  # inherited trials are history without a search
        state: Any = generator.choice(["completed", "stopped", "stopped", "diverged"])
        values = ((1, generator.random()), (9 if state == "completed" else 3, generator.random()))
        event = TrialInherited(0.0, "old", number, space.sample(generator), state, 9, values)
        sampler.apply(event)
    for number in range(1, 9):
        assert dict(sampler.suggest(number).settings) == optunas(spec, sampler, number)


def test_after_an_extension_too() -> None:
    spec = tpe_spec()
    log = story(spec, [("complete", 0.9), ("stop", 0.6), ("diverge", 0.5), ("complete", 0.45), ("run", 0.1)])
    compare(spec, [*log, BudgetExtended(0.0, 20, 27, (1, 3, 9))], 6)


def test_failures_alone_leave_the_prior() -> None:
    spec = tpe_spec()
    compare(spec, story(spec, [("fail", 0.0)] * 3), 4)


def test_running_and_failed_trials_are_never_among_the_better() -> None:
    def trial(number: int, state: TrialState, value: float | None = None, **at: float) -> FrozenTrial:
        steps = {int(step.removeprefix("at")): reached for step, reached in at.items()}
        made = create_trial(state=state, value=value, intermediate_values=steps)
        made.number = number
        return made

    trials = [
        trial(0, TrialState.RUNNING, at9=0.99),
        trial(1, TrialState.FAIL),
        trial(2, TrialState.PRUNED, at1=0.9),
        trial(3, TrialState.PRUNED, at3=0.1),
        *(trial(number, TrialState.COMPLETE, number / 100) for number in range(4, 16)),
    ]
    better, others = divide(trials)
    assert better.tolist() == [14, 15]
    assert others.tolist() == [0, *range(2, 14)]
    assert divide(trials[:4])[0].tolist() == [3]  # the later rung first, whatever the value there
    assert [part.tolist() for part in divide([])] == [[], []]


def test_observations_grow_and_leave_out_what_a_trial_does_not_have() -> None:
    space = tpe_spec().search_space
    observations = Observations({parameter.name: distribution(parameter) for parameter in space.parameters})
    for number in range(200):
        observations.add({"gate_iters": 1 + number % 4} if number % 2 else {})
    assert observations.of("gate_iters", np.arange(0)).tolist() == []
    assert observations.of("gate_iters", np.arange(200)).tolist() == [1 + number % 4 for number in range(1, 200, 2)]
    assert sum(isinstance(parameter.dimension, Fixed) for parameter in space.parameters) == 1
