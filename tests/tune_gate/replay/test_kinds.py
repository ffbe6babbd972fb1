"""The kinds of search that only a replay has, against their published definitions and examples worked by hand."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from analysis.events import EpochReported, Event, TrialFailed, TrialPromoted, TrialSuggested
from search_spaces import space_from_mapping
from tests.tune_gate.test_schedulers import metrics, report
from tune_gate.errors import SpecError
from tune_gate.replay.comparison import ReplaySettings, compare
from tune_gate.replay.grid import grid_points
from tune_gate.replay.hyperband import bracket_sizes
from tune_gate.replay.kinds import replay_folds
from tune_gate.replay.lookup import Lookup
from tune_gate.replay.recorded import RecordedCurves
from tune_gate.replay.simulation import Run, simulate
from tune_gate.replay.spec import ReplaySpec
from tune_gate.replay.variants import Variant, load_variant, replay_spec
from tune_gate.schedulers import Scheduler
from tune_gate.spec import plain_spec


def scheduler_of(kind: str, epochs: int, **more: Any) -> Scheduler:
    return replay_folds(plain_spec(ReplaySpec, {"epochs": epochs, "scheduler": {"kind": kind, **more}}))[0]


def promote(scheduler: Scheduler, milestone: int) -> list[int]:
    """All that deserve to go on now, in order."""
    found = []
    while (trial := scheduler.promotion()) is not None:
        scheduler.apply(TrialPromoted(0.0, trial, milestone))
        found.append(trial)
    return found


def some_curves(configurations: int = 40, epochs: int = 27) -> RecordedCurves:
    """Curves that rise to a plateau, highest in the middle of a square."""
    points = np.random.default_rng(0).random((configurations, 2))
    plateau = 1 - np.abs(points - 0.5).sum(axis=1)
    values = plateau[:, None] * (1 - np.exp(-np.arange(1, epochs + 1) / 5))
    return RecordedCurves(
        name="some",
        space=space_from_mapping({"x": {"float": [0.0, 1.0]}, "y": {"float": [0.0, 1.0]}}, "some"),
        points=tuple({"x": x, "y": y} for x, y in points.tolist()),
        values=values,
        tests=np.full_like(values, np.nan),
        seconds=np.full_like(values, np.nan),
        diverged=np.zeros(configurations, dtype=bool),
        settings={},
    )


def run_of(scheduler: dict[str, Any], sampler: dict[str, Any], trials: int = 60, workers: int = 4) -> Run:
    curves = some_curves()
    spec = replay_spec(curves, Variant("tried", {"scheduler": scheduler, "sampler": sampler}), 3, trials)
    return simulate(spec, curves, Lookup(curves), workers)


# --- Hyperband


def test_brackets_are_as_published() -> None:
    """Li et al. 2018, algorithm 1 with R = 81 and eta = 3: n of s = 4, 3, 2, 1, 0."""
    assert bracket_sizes(4, 3) == (81, 34, 15, 8, 5)
    assert bracket_sizes(2, 3) == (9, 5, 3)
    assert bracket_sizes(3, 2) == (8, 6, 4, 4)
    assert bracket_sizes(0, 3) == (1,)


def test_a_bracket_waits_until_it_is_full_and_its_best_third_go_on() -> None:
    """Epochs 9, rungs at 1 and 3: bracket 2 has trials 1-9, of whom 3 go on from epoch 1, and 1 of these from 3."""
    scheduler = scheduler_of("hyperband", 9)
    values = [0.1, 0.9, 0.3, 0.8, 0.2, 0.5, 0.4, 0.7, 0.6]
    for trial, value in enumerate(values[:8], start=1):
        event = report(scheduler, trial, 1, value)
        assert event.action == "pause"
        assert event.rung is not None
        assert event.rung.survivors == 0
        assert scheduler.promotion() is None
    last = report(scheduler, 9, 1, values[8])  # the fourth best
    assert last.action == "pause"
    assert last.rung is not None
    assert (last.rung.rank, last.rung.peers, last.rung.survivors, last.rung.cutoff) == (4, 9, 3, 0.7)
    assert promote(scheduler, 1) == [2, 4, 8]
    assert report(scheduler, 4, 3, 0.85).action == "pause"
    assert report(scheduler, 2, 3, 0.80).action == "pause"
    assert scheduler.promotion() is None
    assert report(scheduler, 8, 3, 0.95).action == "continue"  # the last, and the best: it need not wait
    assert scheduler.promotion() is None
    assert [(count.paused, count.stopped) for count in scheduler.counts()] == [(6, 0), (2, 0)]


def test_later_brackets_begin_later_and_the_last_never_stops() -> None:
    """Trials 10-14 are bracket 1, judged at epoch 3 only; 15-17 bracket 0; 18 begins bracket 2 anew."""
    scheduler = scheduler_of("hyperband", 9)
    for trial, judged_at in ((9, {1, 3}), (10, {3}), (14, {3}), (15, set()), (17, set()), (18, {1, 3})):
        said = {epoch: scheduler.decide(trial, epoch, metrics(0.5)) for epoch in range(1, 9)}
        assert {epoch for epoch, decision in said.items() if decision.rung is not None} == judged_at
        assert {epoch for epoch, decision in said.items() if decision.action == "pause"} == judged_at


def test_nobody_waits_for_a_trial_that_failed_and_a_diverged_one_never_goes_on() -> None:
    scheduler = scheduler_of("hyperband", 9)
    for trial in range(1, 8):
        report(scheduler, trial, 1, 0.0 if trial > 1 else 0.5)
    report(scheduler, 8, 1, 0.0, diverged=True)
    assert scheduler.promotion() is None
    scheduler.apply(TrialFailed(0.0, 9, "boom"))
    assert promote(scheduler, 1) == [1, 2, 3]
    report(scheduler, 1, 3, 0.5)
    report(scheduler, 2, 3, 0.4)
    assert scheduler.promotion() is None
    report(scheduler, 3, 2, 0.0, diverged=True)
    assert promote(scheduler, 3) == [1]


def brackets_of(events: Sequence[Event], sizes: Sequence[int]) -> list[set[int]]:
    trials = sorted(event.trial for event in events if isinstance(event, TrialSuggested))
    found, begin = [], 0
    while begin < len(trials):
        size = sizes[len(found) % len(sizes)]
        found.append(set(trials[begin : begin + size]))
        begin += size
    return found


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), workers=st.integers(1, 9))
def test_a_full_bracket_is_successive_halving_of_its_trials(seed: int, workers: int) -> None:
    """Against successive halving computed at once from all curves: who reaches which rung, whatever the workers."""
    curves = some_curves()
    variant = Variant("h", {"scheduler": {"kind": "hyperband"}, "sampler": {"kind": "random"}})
    lookup = Lookup(curves)
    run = simulate(replay_spec(curves, variant, seed, 34), curves, lookup, workers)
    again = Lookup(curves)
    rows = {event.trial: again.row(event.settings) for event in run.events if isinstance(event, TrialSuggested)}
    reached = {
        milestone: {e.trial for e in run.events if isinstance(e, EpochReported) and e.epoch == milestone}
        for milestone in (3, 9, 27)
    }
    for place, trials in enumerate(brackets_of(run.events, (9, 5, 3))):
        alive, ladder = set(trials), [3, 9, 27][place % 3 :]
        size = len(trials)
        for stage, milestone in enumerate(ladder):
            assert trials & reached[milestone] >= alive
            if milestone == ladder[-1]:
                assert trials & reached[27] == alive
                break
            ranked = sorted(alive, key=lambda trial: (-curves.values[rows[trial], milestone - 1], trial))
            alive = set(ranked[: max(1, size // 3 ** (stage + 1))])


def test_a_search_that_ends_within_a_bracket_trains_one_to_the_end() -> None:
    run = run_of({"kind": "hyperband"}, {"kind": "random"}, trials=5)
    assert sum(isinstance(event, EpochReported) and event.action == "complete" for event in run.events) == 1


# --- median stopping


def test_a_trial_stops_strictly_below_the_median_of_the_running_averages() -> None:
    """By hand: running averages of the ended trials by epoch 2 are 0.15, 0.25, 0.45; their median is 0.25."""
    scheduler = scheduler_of("median", 4, grace_period=2)
    for trial, curve in enumerate(([0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5], [0.4, 0.5, 0.6, 0.7]), start=1):
        for epoch, value in enumerate(curve, start=1):
            assert report(scheduler, trial, epoch, value).action == ("complete" if epoch == 4 else "continue")
    assert report(scheduler, 4, 1, 0.05).action == "continue"  # before the grace period
    at_two = scheduler.decide(4, 2, metrics(0.25))
    assert at_two.action == "continue"  # equal is not strictly worse
    assert at_two.rung is not None
    assert (at_two.rung.cutoff, at_two.rung.rank, at_two.rung.peers) == (pytest.approx(0.25), 2, 4)
    assert scheduler.decide(4, 2, metrics(0.2499)).action == "stop"


def test_the_best_value_so_far_counts_and_not_the_last() -> None:
    scheduler = scheduler_of("median", 4, grace_period=2)
    for trial in (1, 2, 3):
        for epoch in range(1, 5):
            report(scheduler, trial, epoch, 0.5)
    report(scheduler, 4, 1, 0.6)
    assert scheduler.decide(4, 2, metrics(0.1)).action == "continue"
    report(scheduler, 5, 1, 0.4)
    assert scheduler.decide(5, 2, metrics(0.1)).action == "stop"


def test_the_median_of_an_even_number_lies_in_the_middle() -> None:
    scheduler = scheduler_of("median", 3, grace_period=1)
    for trial, value in enumerate((0.125, 0.25, 0.5, 0.75), start=1):
        scheduler.apply(EpochReported(0.0, trial, 1, 1, metrics(value), "continue"))
        for epoch in (2, 3):
            action = "complete" if epoch == 3 else "continue"
            scheduler.apply(EpochReported(0.0, trial, 1, epoch, metrics(value), action))  # type: ignore[arg-type]
    assert scheduler.decide(9, 1, metrics(0.375)).action == "continue"
    assert scheduler.decide(9, 1, metrics(0.374)).action == "stop"


def test_only_trials_that_ended_and_were_reported_so_far_are_compared_with() -> None:
    scheduler = scheduler_of("median", 4, grace_period=1)
    for trial in (1, 2, 3):
        report(scheduler, trial, 1, 0.9)  # they still run
    assert scheduler.decide(4, 1, metrics(0.1)).action == "continue"
    for trial in (1, 2, 3):
        for epoch in (2, 3, 4):
            report(scheduler, trial, epoch, 0.9)
    assert report(scheduler, 4, 1, 0.1).action == "stop"  # it has ended, at epoch 1: no peer at epoch 2
    first, second = (scheduler.decide(9, epoch, metrics(0.9)).rung for epoch in (1, 2))
    assert first is not None
    assert second is not None
    assert (first.peers, second.peers) == (5, 4)


def test_a_diverged_trial_is_a_peer_with_the_floor_from_there_on() -> None:
    scheduler = scheduler_of("median", 4, grace_period=1)
    report(scheduler, 1, 1, 0.8)
    report(scheduler, 1, 2, 0.0, diverged=True)
    peers = []
    for epoch in (1, 2, 3):
        entry = scheduler.decide(9, epoch, metrics(0.5)).rung
        assert entry is not None
        peers.append((entry.rank, entry.peers))
    assert peers == [(2, 2), (1, 2), (1, 2)]


def rule_by_definition(log: Sequence[EpochReported], epoch: int, best: float, ended: set[int]) -> bool:
    """Whether a trial with this best value by `epoch` goes on, from the log and the words of the definition alone."""
    curves: dict[int, list[float]] = {}
    for event in log:
        curves.setdefault(event.trial, []).append(event.metrics["val_acc"])
    averages = [np.mean(curves[trial][:epoch]) for trial in ended if len(curves[trial]) >= epoch]
    return len(averages) < 3 or best >= np.median(averages)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.lists(st.integers(0, 8), min_size=5, max_size=5), min_size=1, max_size=12),
    order=st.integers(0, 2**16).map(random.Random),
)
def test_decisions_are_those_of_the_definition(values: list[list[int]], order: random.Random) -> None:
    scheduler = scheduler_of("median", 5, grace_period=2)
    running, log, ended = dict.fromkeys(range(len(values)), 0), list[EpochReported](), set[int]()
    while running:
        trial = order.choice(sorted(running))
        running[trial] += 1
        epoch = running[trial]
        best = max(values[trial][:epoch]) / 8
        event = report(scheduler, trial + 1, epoch, values[trial][epoch - 1] / 8)
        if 2 <= epoch < 5:
            assert event.action == ("continue" if rule_by_definition(log, epoch, best, ended) else "stop")
        log.append(event)
        if event.action != "continue":
            del running[trial]
            ended.add(trial + 1)


def test_a_replayed_median_search_sees_every_epoch() -> None:
    run = run_of({"kind": "median"}, {"kind": "random"})
    reports = [event for event in run.events if isinstance(event, EpochReported)]
    assert len(reports) == len(run.best)
    assert {event.action for event in reports} == {"continue", "stop", "complete"}


# --- grid


def test_a_grid_takes_numbers_in_the_middle_of_equal_parts_on_their_scale() -> None:
    space = space_from_mapping(
        {
            "lr": {"log-float": [0.001, 1.0]},
            "size": {"int": [1, 9]},
            "two": {"int": [1, 2]},
            "kind": {"choice": ["a", "b"]},
            "more": {"float": [0.0, 1.0], "when": {"kind": "b"}},
        },
        "s",
    )
    points = grid_points(space, 3)
    assert len(points) == 3 * 3 * 2 * (1 + 3)
    assert sorted({point["lr"] for point in points}) == pytest.approx([10**-2.5, 10**-1.5, 10**-0.5])
    assert sorted({point["size"] for point in points}) == [2, 5, 8]
    more = {point["more"] for point in points if "more" in point}
    assert sorted(more) == pytest.approx([1 / 6, 1 / 2, 5 / 6])  # type: ignore[type-var]
    assert all(space.contains(point) for point in points)


def test_a_replayed_grid_tries_each_point_once_and_ends_there() -> None:
    run = run_of({"kind": "full"}, {"kind": "grid", "levels": 4}, trials=100)
    tried = [tuple(event.settings.items()) for event in run.events if isinstance(event, TrialSuggested)]
    assert len(tried) == len(set(tried)) == 16


def test_a_grid_that_is_too_large_is_refused() -> None:
    with pytest.raises(SpecError, match=r"big: a grid with 400 levels .* set sampler.levels lower"):
        replay_spec(some_curves(), Variant("big", {"sampler": {"kind": "grid", "levels": 400}}), 0, None)


# --- what TPE is told of stopped trials


def history(stopped: str, kind: str = "asha") -> list[Any]:
    """What Optuna knows after a trial that was stopped (or paused) at epoch 1, and one that completed."""
    record = {"trials": 9, "epochs": 9, "scheduler": {"kind": kind}, "sampler": {"kind": "tpe", "stopped": stopped}}
    scheduler, sampler = replay_folds(plain_spec(ReplaySpec, {**record, "first": ()}))
    for trial in range(1, 5):
        suggestion = sampler.suggest(trial)
        sampler.apply(TrialSuggested(0.0, trial, suggestion.settings, 1, suggestion.source))
    for trial, value in ((1, 0.9), (2, 0.8), (3, 0.1)):
        sampler.apply(report(scheduler, trial, 1, value))
    if kind == "promotion":
        sampler.apply(TrialPromoted(0.0, 1, 1))
        scheduler.apply(TrialPromoted(0.0, 1, 1))
    sampler.apply(report(scheduler, 1, 9, 0.95))
    return list(sampler._then._study.get_trials())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("stopped", "state", "value", "at_rungs"),
    [
        ("pruned", TrialState.PRUNED, 0.1, {1: 0.1}),  # Optuna gives a pruned trial its last value
        ("complete", TrialState.COMPLETE, 0.1, {1: 0.1}),
        ("nothing", TrialState.FAIL, None, {}),
    ],
)
@pytest.mark.parametrize("kind", ["asha", "promotion"])
def test_a_stopped_trial_is_told_as_asked(
    stopped: str, state: TrialState, value: float | None, at_rungs: dict[int, float], kind: str
) -> None:
    told = history(stopped, kind)
    assert (told[2].state, told[2].intermediate_values) == (state, at_rungs)
    assert state is not TrialState.COMPLETE or told[2].value == value
    assert (told[0].state, told[0].value) == (TrialState.COMPLETE, 0.95)


def test_the_ways_to_tell_give_other_searches_with_the_same_first_trials() -> None:
    """Over falling curves, whose stopped trials have better last values than those that were trained to the end."""
    rising = some_curves(epochs=9)
    curves = dataclasses.replace(rising, values=rising.values[:, ::-1])
    variants = [
        Variant(stopped, {"scheduler": {"kind": "asha"}, "sampler": {"kind": "tpe", "stopped": stopped, "explore": 0}})
        for stopped in ("pruned", "complete", "nothing")
    ]
    searches = compare(curves, variants, ReplaySettings(seeds=1, trials=40)).searches[1:]
    tried = [
        [dict(event.settings) for event in search.runs[0].events if isinstance(event, TrialSuggested)]
        for search in searches
    ]
    assert tried[0][:4] == tried[1][:4] == tried[2][:4]
    assert tried[0] != tried[1] != tried[2] != tried[0]


# --- settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sampler: {kind: random, stopped: nothing}", "'stopped' is a setting of kind 'tpe', not of 'random'"),
        ("sampler: {kind: tpe, levels: 4}", "'levels' is a setting of kind 'grid', not of 'tpe'"),
        ("sampler: {kind: grid, level: 4}", "did you mean 'levels'"),
        ("sampler: {kind: tpe, stopped: ignored}", "'pruned', 'complete' or 'nothing'"),
        ("scheduler: {kind: hyperbend}", "'hyperband'"),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "tried.yaml").write_text(text)
    with pytest.raises(SpecError, match=message) as raised:
        replay_spec(some_curves(), load_variant(tmp_path / "tried.yaml"), 0, None)
    assert str(raised.value).startswith("tried: ")
