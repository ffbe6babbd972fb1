"""The conformance suite of samplers, over the registry, and what TPE is told."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from analysis.event_records import event_from_record, event_to_record
from analysis.events import (
    Action,
    AttemptFailed,
    AttemptStarted,
    EpochReported,
    Event,
    RungEntry,
    SessionStarted,
    TrialFailed,
    TrialSuggested,
)
from search_spaces.errors import SpaceError
from tune_gate.errors import SpecError
from tune_gate.samplers import SAMPLERS, Sampler, build_sampler, derived_seed
from tune_gate.schedulers import FLOOR, build_scheduler
from tune_gate.spec import StudySpec, study_spec
from tune_gate.tpe import TpeSampler

#: Every kind of dimension, one of them twice conditional, so that a sampler meets them all.
RICH: Mapping[str, Any] = {
    "lr": {"log-float": [0.001, 1.0]},
    "momentum": {"float": [0.5, 0.95]},
    "gate_iters": {"int": [1, 4]},
    "gate_hidden": {"log-int": [16, 1024]},
    "weight_decay": 0.0001,
    "schedule": {"choice": ["multistep", "cosine"]},
    "milestones": {"choice": [[0.4, 0.6], [0.5, 0.75]], "when": {"schedule": "multistep"}},
    "schedule_gate": {"choice": ["constant", "step"]},
    "gate_period": {"choice": [0.1, 0.25], "when": {"schedule_gate": "step"}},
}

#: 2 x 3 points and one child: enumerable.
FINITE: Mapping[str, Any] = {
    "gate_iters": {"choice": [1, 3]},
    "schedule": {"choice": ["multistep", "cosine", "constant"]},
    "milestones": {"choice": [[0.4, 0.6], [0.5, 0.75]], "when": {"schedule": "multistep"}},
}


#: Two points of `RICH`, a confirmation's configurations.
CONFIRM: Mapping[str, Any] = {
    "source": "a/search",
    "source_name": "search",
    "seeds": 10,
    "arms": [
        {"name": f"trial {trial}", "roles": [role], "trial": trial, "promised": 0.9, "settings": settings}
        for trial, role, settings in (
            (4, "winner", {"lr": 0.1, "momentum": 0.9, "gate_iters": 1, "gate_hidden": 64, "weight_decay": 0.0001,
                           "schedule": "cosine", "schedule_gate": "constant"}),
            (9, "runner-up", {"lr": 0.2, "momentum": 0.9, "gate_iters": 2, "gate_hidden": 64, "weight_decay": 0.0001,
                              "schedule": "multistep", "milestones": [0.4, 0.6], "schedule_gate": "constant"}),
        )
    ],
}  # fmt: skip


def spec_of(kind: str, seed: int = 7, **changes: Any) -> StudySpec:
    space = FINITE if kind == "grid" else RICH
    trials = 8 if kind == "grid" else 20
    startup = {"startup": 2, "explore": 0.1} if kind.startswith("tpe") else {}
    if kind == "given":
        changes = {"confirm": CONFIRM, "scheduler": {"kind": "full"}, **changes}
    sampler = {"kind": kind, **startup}
    return study_spec({"seed": seed, "trials": trials, "epochs": 9, "space": space, "sampler": sampler, **changes})


every_kind = pytest.mark.parametrize("kind", sorted(SAMPLERS))
FATES = ("complete", "stop", "diverge", "fail", "wait", "run")


def ready(sampler: Sampler, trial: int) -> TrialSuggested:
    """The suggestion as it stands in a log: through JSON, so without tuples."""
    suggestion = sampler.suggest(trial)
    seed = suggestion.seed or 1
    return TrialSuggested(0.0, trial, json.loads(json.dumps(suggestion.settings)), seed, suggestion.source)


def story(spec: StudySpec, fates: list[tuple[str, float]]) -> list[Event]:
    """The log of a search whose trials meet these fates, with these values, one after the other."""
    sampler, scheduler = build_sampler(spec), build_scheduler(spec)
    log: list[Event] = [SessionStarted(0.0, 1, "host", 1)]

    def tell(event: Event) -> None:
        event = event_from_record(json.loads(json.dumps(event_to_record(event))))  # type: ignore[assignment]
        log.append(event)
        sampler.apply(event)
        scheduler.apply(event)

    for number, (fate, value) in enumerate(fates, start=1):
        tell(ready(sampler, number))
        if fate == "wait":
            continue
        tell(AttemptStarted(0.0, number, 1, 0))
        if fate == "fail":
            tell(AttemptFailed(0.0, number, 1, "error", "boom"))
            tell(TrialFailed(0.0, number, "boom"))
            continue
        last = {"complete": spec.epochs, "stop": 3, "diverge": 2, "run": 2}[fate]
        for epoch in range(1, last + 1):
            diverged = fate == "diverge" and epoch == last
            metrics = {"val_acc": value * epoch / spec.epochs, "diverged": float(diverged), "val_loss": math.nan}
            rung = RungEntry(epoch, metrics["val_acc"], 0.0, 1, 1, 1) if epoch in spec.milestones else None
            at_end = fate if epoch == last and fate != "run" else "continue"
            tell(EpochReported(0.0, number, 1, epoch, metrics, at_end, rung))  # type: ignore[arg-type]
    return log


def told(spec: StudySpec, log: list[Event]) -> Sampler:
    sampler = build_sampler(spec)
    for event in log:
        sampler.apply(event)
    return sampler


histories = st.lists(st.tuples(st.sampled_from(FATES), st.floats(0.0, 1.0)), max_size=7)


# --- conformance


def test_every_kind_that_a_spec_may_name_is_in_the_registry() -> None:
    assert set(SAMPLERS) == {"tpe", "tpe-rung", "random", "grid", "given"}
    assert all(spec_of(kind).sampler.kind == kind for kind in SAMPLERS)


@every_kind
@settings(max_examples=10, deadline=None)
@given(fates=histories, seed=st.integers(0, 2**32))
def test_suggesting_changes_nothing_and_stays_in_the_space(
    kind: str, fates: list[tuple[str, float]], seed: int
) -> None:
    spec = spec_of(kind, seed)
    sampler = told(spec, story(spec, fates))
    first = sampler.suggest(len(fates) + 1)
    random.seed(0)
    assert sampler.suggest(len(fates) + 1) == first
    assert spec.search_space.contains(first.settings)
    assert spec.search_space.contains(json.loads(json.dumps(first.settings)))
    assert spec.trial_settings(first.settings, 1, spec.epochs)["epochs"] == spec.epochs


@every_kind
@settings(max_examples=10, deadline=None)
@given(fates=histories, cut=st.integers(0, 60))
def test_the_suggestion_after_a_crash_is_the_one_that_would_have_been(
    kind: str, fates: list[tuple[str, float]], cut: int
) -> None:
    """The log folded at once, as a resume does, and folded with suggestions drawn in between, as a live search does."""
    spec = spec_of(kind)
    log = story(spec, fates)
    live = build_sampler(spec)
    for number, event in enumerate(log):
        live.apply(event)
        if number < cut:
            live.suggest(len(fates) + 1)
    assert told(spec, log).suggest(len(fates) + 1) == live.suggest(len(fates) + 1)


@every_kind
@settings(max_examples=10, deadline=None)
@given(fates=histories)
def test_every_suggestion_of_a_log_is_drawn_again_from_what_came_before_it(
    kind: str, fates: list[tuple[str, float]]
) -> None:
    spec = spec_of(kind)
    sampler = build_sampler(spec)
    for event in story(spec, fates):
        if isinstance(event, TrialSuggested):
            assert ready(sampler, event.trial) == event
        sampler.apply(event)


@every_kind
def test_a_report_that_arrives_twice_counts_once(kind: str) -> None:
    spec = spec_of(kind)
    log = story(spec, [("complete", 0.9), ("stop", 0.5), ("diverge", 0.0), ("run", 0.2)])
    doubled = [copy for event in log for copy in ([event] * (1 + isinstance(event, EpochReported)))]
    assert told(spec, doubled).suggest(5) == told(spec, log).suggest(5)


@every_kind
def test_the_same_seed_gives_the_same_suggestions(kind: str) -> None:
    fates = [("complete", 0.9), ("stop", 0.5), ("diverge", 0.1), ("complete", 0.3), ("wait", 0.0)]
    assert story(spec_of(kind), fates) == story(spec_of(kind), fates)
    if kind != "grid":  # a grid has no seed
        assert story(spec_of(kind, 8), fates) != story(spec_of(kind), fates)


@pytest.mark.parametrize("kind", ["tpe", "tpe-rung", "random"])
def test_a_condition_is_met_both_ways(kind: str) -> None:
    """Children exist at some of the suggested points, and are absent at others: the tests above are not idle."""
    spec = spec_of(kind)
    sampler = told(spec, story(spec, [("complete", 0.9), ("complete", 0.5), ("stop", 0.4)]))
    points = [sampler.suggest(number).settings for number in range(4, 40)]
    for child, parent, value in [("milestones", "schedule", "multistep"), ("gate_period", "schedule_gate", "step")]:
        assert {child in point for point in points} == {True, False}
        assert all((child in point) == (point[parent] == value) for point in points)
    assert all(point["weight_decay"] == 0.0001 for point in points)


# --- given points, random and grid


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_the_default_comes_first_then_the_points_that_the_spec_names(kind: str) -> None:
    space = {"lr": {"log-float": [0.01, 0.5]}, "schedule": {"choice": ["multistep", "cosine"]}}
    sampler = build_sampler(spec_of(kind, space=space, first=[{"lr": 0.2}, {"schedule": "cosine", "lr": 0.05}]))
    drawn = [sampler.suggest(number) for number in range(1, 5)]
    assert [suggestion.source for suggestion in drawn[:3]] == ["default", "first", "first"]
    assert drawn[0].settings == {"lr": 0.1, "schedule": "multistep"}
    assert drawn[1].settings == {"lr": 0.2, "schedule": "multistep"}
    assert drawn[2].settings == {"lr": 0.05, "schedule": "cosine"}
    assert drawn[3].source == "random"


def test_a_default_outside_the_space_is_not_tried() -> None:
    sampler = build_sampler(spec_of("random", space={"lr": {"log-float": [0.2, 0.5]}}))
    assert sampler.suggest(1).source == "random"


def test_random_draws_differ_from_trial_to_trial_and_fill_the_range() -> None:
    sampler = build_sampler(spec_of("random", space={"lr": {"log-float": [0.001, 1.0]}}))
    rates = [math.log10(float(sampler.suggest(number).settings["lr"])) for number in range(3, 303)]
    assert len(set(rates)) == 300
    assert statistics.mean(rates) == pytest.approx(-1.5, abs=0.15)
    assert min(rates) < -2.8
    assert max(rates) > -0.2


def test_a_grid_is_walked_once_in_its_order() -> None:
    spec = spec_of("grid")
    sampler = build_sampler(spec)
    drawn = [sampler.suggest(number) for number in range(1, spec.trials + 1)]
    assert [dict(suggestion.settings) for suggestion in drawn] == list(spec.search_space.grid())
    assert len({json.dumps(suggestion.settings) for suggestion in drawn}) == spec.search_space.size() == 8
    assert {suggestion.source for suggestion in drawn} == {"grid"}


def test_a_grid_with_fewer_points_than_trials_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^the grid of space 'study' has 8 points, fewer than trials: 9$"):
        build_sampler(spec_of("grid", trials=9))


def test_a_continuous_space_has_no_grid() -> None:
    with pytest.raises(SpaceError, match="has no grid: parameter 'lr' is continuous"):
        build_sampler(spec_of("grid", space=RICH))


def test_a_derived_seed_depends_on_all_that_it_is_for() -> None:
    seeds = {derived_seed(seed, name, trial) for seed in (0, 1) for name in ("tpe", "trial") for trial in (1, 2)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**32 for seed in seeds)


# --- what Optuna is told


def history(spec: StudySpec, log: list[Event]) -> list[FrozenTrial]:
    """The trials in the study that TPE keeps."""
    sampler = TpeSampler(spec)
    for event in log:
        sampler.apply(event)
    return sampler._study.get_trials(deepcopy=True)


@pytest.fixture
def five() -> list[FrozenTrial]:
    """A trial of each fate, in the order completed, stopped, diverged, failed, running."""
    spec = spec_of("tpe")
    return history(
        spec, story(spec, [("complete", 0.9), ("stop", 0.6), ("diverge", 0.5), ("fail", 0.0), ("run", 0.45)])
    )


def test_a_completed_trial_is_told_with_its_last_value(five: list[FrozenTrial]) -> None:
    assert five[0].state == TrialState.COMPLETE
    assert five[0].value == pytest.approx(0.9)
    assert five[0].intermediate_values == pytest.approx({1: 0.1, 3: 0.3, 9: 0.9})


def test_a_stopped_trial_is_pruned_with_its_values_at_rungs(five: list[FrozenTrial]) -> None:
    assert five[1].state == TrialState.PRUNED
    assert five[1].intermediate_values == pytest.approx({1: 0.6 / 9, 3: 0.2})
    assert five[1].last_step == 3  # TPE compares it with others at this step


def test_a_diverged_trial_is_pruned_at_once_with_the_floor(five: list[FrozenTrial]) -> None:
    assert five[2].state == TrialState.PRUNED
    assert five[2].intermediate_values == {1: FLOOR}


def test_a_failed_trial_says_nothing_about_its_settings(five: list[FrozenTrial]) -> None:
    assert five[3].state == TrialState.FAIL
    assert five[3].intermediate_values == {}


def test_a_running_trial_is_in_the_history(five: list[FrozenTrial]) -> None:
    assert five[4].state == TrialState.RUNNING
    assert five[4].params


def test_settings_reach_optuna_as_they_are_and_choices_by_label() -> None:
    spec = spec_of("tpe", first=[{"schedule": "multistep", "milestones": [0.5, 0.75], "lr": 0.25}])
    log = story(spec, [("complete", 0.9), ("complete", 0.8)])
    second = next(event for event in log if isinstance(event, TrialSuggested) and event.trial == 2)
    assert second.settings["milestones"] == [0.5, 0.75]
    params = history(spec, log)[1].params
    assert params["lr"] == 0.25
    assert json.loads(params["milestones"]) == [0.5, 0.75]
    assert params.keys() == second.settings.keys() - {"weight_decay"}  # it never varies


def test_failures_alone_are_survived() -> None:
    spec = spec_of("tpe", sampler={"kind": "tpe", "startup": 2, "explore": 0.0})
    suggestion = told(spec, story(spec, [("fail", 0.0)] * 3)).suggest(4)
    assert suggestion.source == "tpe"
    assert spec.search_space.contains(suggestion.settings)


# --- what TPE makes of it

ONE_RATE: Mapping[str, Any] = {"lr": {"log-float": [0.0001, 1.0]}}
OPTIMUM = -1.0


def on_quadratic(
    explore: float, seed: int, bad: Action = "stop", trials: int = 30
) -> tuple[StudySpec, Sampler, list[float]]:
    """A search on 1 - (log10 lr - OPTIMUM)^2 / 10, in which trials that are far off end as `bad`: the spec, the sampler
    after it, and how far from the optimum each trial was.
    """
    sampler_settings = {"kind": "tpe", "startup": 10, "explore": explore}
    spec = study_spec({"seed": seed, "trials": 200, "epochs": 9, "space": ONE_RATE, "sampler": sampler_settings})
    sampler = build_sampler(spec)
    distances = []
    for trial in range(1, trials + 1):
        event = ready(sampler, trial)
        sampler.apply(event)
        distance = abs(math.log10(event.settings["lr"]) - OPTIMUM)
        distances.append(distance)
        value = 1 - distance**2 / 10
        action: Action = "complete" if distance < 1.0 else bad
        rung = RungEntry(1, value, 0.0, 1, 1, 1) if action == "stop" else None
        metrics = {"val_acc": value, "diverged": float(action == "diverge")}
        sampler.apply(EpochReported(0.0, trial, 1, 9 if action == "complete" else 1, metrics, action, rung))
    return spec, sampler, distances


@pytest.mark.parametrize("bad", ["stop", "diverge"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tpe_learns_where_the_optimum_is(seed: int, bad: Action) -> None:
    """Random draws are a decade away from it in the median."""
    *_, learnt = on_quadratic(0.0, seed, bad, trials=70)
    *_, blind = on_quadratic(1.0, seed, bad, trials=70)
    assert statistics.median(learnt[30:]) < 0.5 * statistics.median(blind[30:])


def test_exploring_always_is_random_search() -> None:
    spec, sampler, _ = on_quadratic(1.0, 0)
    kind = spec.sampler.model_copy(update={"kind": "random"})
    random_search = build_sampler(spec.model_copy(update={"sampler": kind}))
    for trial in range(31, 71):
        assert sampler.suggest(trial) == random_search.suggest(trial)
        assert sampler.suggest(trial).source == "random"


def test_a_share_of_the_suggestions_stays_random() -> None:
    _, sampler, _ = on_quadratic(1 / 3, 0)
    drawn = [sampler.suggest(trial).source for trial in range(31, 231)]
    assert set(drawn) == {"random", "tpe"}
    assert drawn.count("random") == pytest.approx(200 / 3, abs=20)


def test_tpe_waits_until_enough_trials_have_ended() -> None:
    spec = spec_of("tpe", sampler={"kind": "tpe", "startup": 3, "explore": 0.0})
    assert told(spec, story(spec, [("complete", 0.5)] * 2 + [("run", 0.5)] * 3)).suggest(6).source == "random"
    assert told(spec, story(spec, [("complete", 0.5)] * 3 + [("run", 0.5)] * 2)).suggest(6).source == "tpe"


def test_tpe_rung_compares_values_of_the_highest_rung_with_enough_of_them() -> None:
    spec = spec_of("tpe-rung", sampler={"kind": "tpe-rung", "startup": 3, "explore": 0.0})
    sampler = told(spec, story(spec, [("stop", 0.5)] * 4 + [("complete", 0.9)] * 2))
    rungs = sampler._then._rungs  # type: ignore[attr-defined]
    assert {epoch: len(told) for epoch, told in rungs.items()} == {1: 6, 3: 6, 9: 2}
    assert list(rungs[9].values()) == pytest.approx([0.9, 0.9])
    assert sampler.suggest(7).source == "tpe-rung"
    few = told(spec, story(spec, [("stop", 0.5)] * 2))
    assert few.suggest(5).source == "random"


def on_a_ramp(fates: Mapping[float, str], **sampler: Any) -> Sampler:
    """`tpe-rung` after trials at these learning rates: those that ended are the better, the lower the rate."""
    space = {"lr": {"log-float": [0.001, 1.0]}}
    spec = spec_of("tpe-rung", space=space, first=[], sampler={"kind": "tpe-rung", "startup": 3, **sampler})
    drawn = build_sampler(spec)
    for trial, (rate, fate) in enumerate(fates.items(), 1):
        drawn.apply(TrialSuggested(0.0, trial, {"lr": rate}, 1, "random"))
        if fate != "run":
            metrics = {"val_acc": 1.0 - rate, "diverged": float(fate == "diverge")}
            drawn.apply(EpochReported(0.0, trial, 1, spec.epochs, metrics, fate))  # type: ignore[arg-type]
    return drawn


def mean_log_rate(sampler: Sampler) -> float:
    rates = [math.log10(sampler.suggest(trial).settings["lr"]) for trial in range(50, 150)]
    return statistics.mean(rates)


RAMP = {10 ** -(3 * place / 9): "complete" for place in range(10)}


def test_tpe_rung_draws_where_the_good_values_are() -> None:
    sampler = on_a_ramp(RAMP, explore=0.0)
    assert {sampler.suggest(trial).source for trial in range(50, 60)} == {"tpe-rung"}
    assert mean_log_rate(sampler) < -2.2


def test_tpe_rung_keeps_away_from_where_trials_diverged_and_from_where_trials_run() -> None:
    alone = mean_log_rate(on_a_ramp(RAMP, explore=0.0))
    low = {0.001 * (1 + place / 100): "diverge" for place in range(1, 9)}
    assert mean_log_rate(on_a_ramp(RAMP | low, explore=0.0)) > alone + 0.1
    assert mean_log_rate(on_a_ramp(RAMP | dict.fromkeys(low, "run"), explore=0.0)) > alone + 0.1


def test_tpe_rung_tries_no_point_twice_until_all_were_tried() -> None:
    space = {"depth": {"choice": [14, 20, 32]}, "schedule": {"choice": ["multistep", "cosine"]}}
    spec = spec_of("tpe-rung", space=space, trials=8, sampler={"kind": "tpe-rung", "startup": 2, "explore": 0.5})
    log = story(spec, [("complete", 0.9), ("complete", 0.5), ("stop", 0.4)] * 2 + [("complete", 0.6)] * 2)
    points = [json.dumps(event.settings) for event in log if isinstance(event, TrialSuggested)]
    assert len(set(points[:6])) == 6
    assert len(points) == 8
