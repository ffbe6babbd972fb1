"""Replay: curves, look-up, the search in virtual time, and what a comparison says."""

from __future__ import annotations

import heapq
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from analysis.events import EpochReported, TrialSuggested
from analysis.log import LOG_FILE, read_log
from search_spaces import space_from_mapping
from tests.tune_gate.virtual_cluster import metrics_of, probe_of
from tune_gate.cli import app
from tune_gate.errors import Misuse, SpecError
from tune_gate.replay.comparison import ReplaySettings, Spread, compare
from tune_gate.replay.lookup import Lookup
from tune_gate.replay.proposal import proposed_rungs
from tune_gate.replay.recorded import RecordedCurves, load_curves
from tune_gate.replay.session import Request, advise_study, replay_study
from tune_gate.replay.simulation import Run, epoch_hours, simulate
from tune_gate.replay.variants import REFERENCE, Variant, load_variant, replay_spec
from tune_gate.rung_check import rung_warnings
from tune_gate.search import Assignment, Search
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import create_study
from tune_gate.unit_cube import UnitCube

RICH = {
    "lr": {"log-float": [0.001, 1.0]},
    "momentum": {"float": [0.5, 0.95]},
    "gate_iters": {"int": [1, 4]},
    "gate_hidden": {"log-int": [16, 1024]},
    "weight_decay": 0.0001,
    "schedule": {"choice": ["multistep", "cosine"]},
    "milestones": {"choice": [[0.4, 0.6], [0.5, 0.75]], "when": {"schedule": "multistep"}},
}


def table(folder: Path, configurations: int = 40, epochs: int = 9, **more: Any) -> Path:
    """A table whose curves rise to a plateau that falls with the distance from the middle."""
    generator = np.random.default_rng(0)
    points = generator.random((configurations, 2))
    plateau = 1 - np.abs(points - 0.5).sum(axis=1)
    values = plateau[:, None] * (1 - np.exp(-np.arange(1, epochs + 1) / 3))
    path = folder / "curves.npz"
    np.savez(path, X=points, V=values, S=values - 0.01, **more)
    return path


def seconds_of(settings: dict[str, Any], epoch: int) -> float:
    return 1.0 + math.modf(math.sin(settings["seed"] + epoch) * 1e4)[0] ** 2


def lasts(assignment: Assignment, epoch: int) -> float:
    """Seconds of the epoch, and of its probe where it is probed."""
    settings = dict(assignment.settings)
    probe = probe_of(settings, epoch)["probe_seconds"] if epoch in assignment.probed else 0.0
    return seconds_of(settings, epoch) + probe


def record_study(spec: StudySpec, folder: Path, workers: int) -> None:
    """An uninterrupted search with asynchronous workers, in a study folder as the driver leaves one."""
    create_study(spec, folder)
    now = 0.0
    search = Search(spec, folder, clock=lambda: now)
    search.begin("host", 1, {})
    queue: list[tuple[float, int, int, Assignment]] = []
    while True:
        while len(queue) < workers and (assignment := search.next_assignment()) is not None:
            ready = now + lasts(assignment, assignment.from_epoch + 1)
            heapq.heappush(queue, (ready, assignment.trial, assignment.from_epoch + 1, assignment))
        if not queue:
            break
        now, trial, epoch, assignment = heapq.heappop(queue)
        chosen = dict(assignment.settings)
        said = {**metrics_of(chosen, epoch), "seconds": seconds_of(chosen, epoch)}
        if epoch in assignment.probed:
            said |= probe_of(chosen, epoch)
        if search.report(trial, assignment.attempt, epoch, said) == "continue":
            heapq.heappush(queue, (now + lasts(assignment, epoch + 1), trial, epoch + 1, assignment))
    search.end()


def decisions(events: Any) -> list[Any]:
    """What was suggested, and what was decided where something was."""
    return [
        (event.trial, dict(event.settings), event.source)
        if isinstance(event, TrialSuggested)
        else (event.trial, event.epoch, event.action, event.rung)
        for event in events
        if isinstance(event, TrialSuggested)
        or (isinstance(event, EpochReported) and (event.rung is not None or event.action != "continue"))
    ]


# --- the unit cube


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_point_and_its_vector_are_the_same(seed: int) -> None:
    import random

    space = space_from_mapping(RICH, "rich")
    cube, point = UnitCube(space), space.sample(random.Random(seed))
    vector = cube.encode(point)
    inside = vector[~np.isnan(vector)]
    assert ((inside >= 0) & (inside <= 1)).all()
    assert np.isnan(vector[-1]) == (point["schedule"] == "cosine")
    again = cube.decode(np.nan_to_num(vector))
    assert again.keys() == point.keys()
    for name, value in point.items():
        assert again[name] == (pytest.approx(value) if isinstance(value, float) else value)


# --- curves and look-up


def test_a_table_says_its_settings_on_their_own_scale(tmp_path: Path) -> None:
    axes = [
        {"name": "lr", "type": "float", "lo": 0.01, "hi": 1.0, "log": True},
        {"name": "size", "type": "cat", "choices": [3, 5]},
    ]
    path = tmp_path / "t.npz"
    np.savez(path, X=np.array([[0.5, 1.0]]), V=np.array([[0.1, 0.2]]), space=json.dumps(axes))
    curves = load_curves(path)
    assert curves.points == ({"lr": pytest.approx(0.1), "size": 5},)
    assert curves.vectors.tolist() == [[pytest.approx(0.5), 1.0]]
    assert (curves.epochs, curves.best) == (2, 0.2)


def test_what_is_no_table_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="no file"):
        load_curves(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("no table")
    with pytest.raises(Misuse, match="no table of learning curves"):
        load_curves(tmp_path / "text.npz")
    np.savez(tmp_path / "odd.npz", X=np.zeros((3, 2)), V=np.zeros((4, 2)))
    with pytest.raises(Misuse, match=r"must be \(n, d\) and \(n, T\)"):
        load_curves(tmp_path / "odd.npz")


def test_the_nearest_configuration_stands_for_a_point_and_repeats_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    np.savez(path, X=np.array([[0.1], [0.9], [0.9]]), V=np.zeros((3, 2)))
    curves = load_curves(path)
    nearest = Lookup(curves)
    assert [nearest.row({"x1": x}) for x in (0.8, 0.8, 0.8, 0.2)] == [1, 2, 1, 0]
    unused = Lookup(curves, "unused")
    assert [unused.row({"x1": x}) for x in (0.8, 0.8, 0.8)] == [1, 2, 0]


# --- the search in virtual time


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("sampler", ["random", "tpe", "tpe-rung"])
@pytest.mark.parametrize(("scheduler", "held"), [("asha", "stop"), ("promotion", "pause")])
def test_a_study_replayed_with_its_own_settings_gives_the_same_decisions(
    workers: int, sampler: str, scheduler: str, held: str, tmp_path: Path
) -> None:
    kinds = {"scheduler": {"kind": scheduler}, "sampler": {"kind": sampler}}
    spec = study_spec({"trials": 24, "epochs": 9, "seed": 5, **kinds})
    record_study(spec, tmp_path / "study", workers)
    curves = load_curves(tmp_path / "study")
    run = simulate(replay_spec(curves, Variant("own", {}), 5, 24), curves, Lookup(curves), workers)
    recorded = read_log(tmp_path / "study" / LOG_FILE)
    assert decisions(run.events) == decisions(recorded)
    assert run.censored == 0
    states = {event.action for event in recorded if isinstance(event, EpochReported)}
    assert states >= {held, "complete"}


def test_a_curve_that_ends_early_is_never_continued(tmp_path: Path) -> None:
    record_study(study_spec({"trials": 12, "epochs": 9, "sampler": {"kind": "random"}}), tmp_path / "study", 2)
    curves = load_curves(tmp_path / "study")
    full = Variant("full", {"scheduler": {"kind": "full"}, "sampler": {"kind": "random"}})
    run = simulate(replay_spec(curves, full, 0, 12), curves, Lookup(curves), 2)
    short = int(((curves.lengths < curves.epochs) & ~curves.diverged).sum())
    assert run.censored == short > 0
    assert len(run.best) == int(curves.lengths.sum())
    comparison = compare(curves, [full], ReplaySettings(seeds=2, trials=12))
    assert comparison.summaries()[1].censored == 1.0


def brute_force(run: Run, curves: RecordedCurves, rows: dict[int, int]) -> list[float]:
    """Best values so far, from the reports of a search without rungs and one worker."""
    values = [value for trial in sorted(rows) for value in curves.values[rows[trial]]]
    return np.maximum.accumulate(values).tolist()[: len(run.best)]


def test_the_trace_is_the_best_value_so_far_epoch_by_epoch(tmp_path: Path) -> None:
    curves = load_curves(table(tmp_path))
    spec = replay_spec(curves, REFERENCE, 3, 6)
    lookup = Lookup(curves)
    run = simulate(spec, curves, lookup, 1, budget=50)
    again = Lookup(curves)
    suggested = [event for event in run.events if isinstance(event, TrialSuggested)]
    rows = {event.trial: again.row(event.settings) for event in suggested}
    assert run.best.tolist() == brute_force(run, curves, rows)
    assert len(run.best) == 50
    assert run.hours.tolist() == list(range(1, 51))
    assert run.test[-1] == pytest.approx(run.best[-1] - 0.01)


def test_workers_share_the_clock(tmp_path: Path) -> None:
    curves = load_curves(table(tmp_path))
    runs = [simulate(replay_spec(curves, REFERENCE, 3, 8), curves, Lookup(curves), n) for n in (1, 4)]
    assert [run.hours[-1] for run in runs] == [72, 18]
    assert runs[0].best[-1] == runs[1].best[-1]
    assert epoch_hours(curves).shape == curves.values.shape


# --- comparisons


def test_a_comparison_says_what_each_search_found(tmp_path: Path) -> None:
    settings_file = tmp_path / "quick.yaml"
    settings_file.write_text("scheduler: {kind: asha, reduction_factor: 3}\nsampler: {kind: random}\n")
    comparison = replay_study(table(tmp_path), Request(tried=(settings_file,), seeds=6, budget=8.0, tolerance=0.05))
    reference, quick = comparison.summaries()
    assert (reference.name, quick.name) == ("random, full length", "quick")
    assert reference.epochs.median == quick.epochs.median == 72
    assert quick.trials > reference.trials
    assert reference.reached >= 0.5
    assert 0 <= quick.regret.median <= reference.regret.median
    assert reference.lost == {}
    record = json.loads(json.dumps(quick.to_record()))
    assert record["runs"] == 6


def test_a_spread_that_is_never_reached_is_infinite() -> None:
    assert Spread.of([1.0, math.inf, math.inf]).median == math.inf
    assert math.isnan(Spread.of([]).median)


def test_a_setting_that_a_replay_cannot_vary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("schedular: {kind: full}\n")
    with pytest.raises(SpecError, match="scheduler"):
        load_variant(path)
    path.write_text("scheduler: {kind: fool}\n")
    with pytest.raises(SpecError, match=r"wrong.*full"):
        replay_spec(load_curves(table(tmp_path)), load_variant(path), 0, None)


def test_the_command_prints_a_table_draws_a_figure_and_speaks_json(tmp_path: Path) -> None:
    path, drawing = table(tmp_path), tmp_path / "figure.svg"
    options = ["--seeds", "2", "--budget", "4"]
    shown = CliRunner().invoke(app, ["replay", str(path), "--compare", "--figure", str(drawing), *options])
    assert shown.exit_code == 0, shown.output
    assert "random, full length" in shown.output
    assert "ASHA, TPE" in shown.output
    assert "promotion, TPE of one rung" in shown.output
    assert drawing.read_text().startswith("<?xml")
    told = CliRunner().invoke(app, ["replay", str(path), "--json", *options])
    assert json.loads(told.output)[0]["searches"][0]["runs"] == 2


def test_advice_prefers_rungs_that_keep_the_winner_and_cost_less(tmp_path: Path) -> None:
    """The curves of this table never cross: the earliest rung is as good as any, and the cheapest."""
    comparison, advice = advise_study(table(tmp_path, epochs=27), Request(seeds=8, budget=12.0, tolerance=0.05))
    assert len(comparison.searches) == 1 + 3 * 3
    assert advice.scheduler is not None
    assert "grace_period: 1," in advice.scheduler
    assert advice.lines[0].startswith("advice: scheduler.grace_period=1 ")


def test_advice_against_rungs_that_see_nothing(tmp_path: Path) -> None:
    """Before the last epoch the values are the ranks turned round: whoever stops early stops the best."""
    generator = np.random.default_rng(0)
    points = generator.random((60, 1))
    values = np.repeat(1 - points, 27, axis=1) * 0.5
    values[:, -1] = points[:, 0]
    np.savez(tmp_path / "curves.npz", X=points, V=values)
    _, advice = advise_study(tmp_path / "curves.npz", Request(seeds=8, budget=15.0, tolerance=0.02))
    assert advice.scheduler is None
    assert "scheduler.kind=full" in advice.lines[0]


def test_the_command_gives_advice(tmp_path: Path) -> None:
    options = ["--advise", "--seeds", "2", "--budget", "4"]
    shown = CliRunner().invoke(app, ["replay", str(table(tmp_path)), *options])
    assert shown.exit_code == 0, shown.output
    assert "advice: " in shown.output


def test_rungs_are_proposed_as_parts_of_the_budget(tmp_path: Path) -> None:
    spec = study_spec({"trials": 8, "epochs": 54, "space": {"lr": {"log-float": [0.01, 0.5]}}})
    lines = proposed_rungs(spec, table(tmp_path, epochs=27), Request(seeds=4, budget=12.0, tolerance=0.05))
    assert "scheduler: {kind: promotion, grace_period: 2, " in lines[0]
    assert "rungs at 2, " in lines[0]
    assert lines[1].startswith("advice: ")
    assert lines[-2:] == [
        "doubt: a trial has 27 epochs there and 54 here",
        "doubt: only here or only there is searched: lr, x1, x2",
    ]


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"epochs": 27, "space": {"lr": {"log-float": [0.01, 0.5]}}}, "rung 3 lies before the first drop"),
        ({"epochs": 27, "config": {"warmup_epochs": 3}}, "rung 3 lies inside the warm-up of 3 epochs"),
    ],
)
def test_a_rung_that_comes_too_early_is_warned_of(changes: dict[str, Any], warning: str) -> None:
    assert any(line.startswith(warning) for line in rung_warnings(study_spec(changes)))


def test_rungs_after_the_drop_and_no_rungs_are_not_warned_of() -> None:
    space = {"lr": {"log-float": [0.01, 0.5]}}
    late = {"epochs": 27, "space": space, "config": {"milestones": [4, 8]}, "scheduler": {"rungs": [5, 15]}}
    assert rung_warnings(study_spec(late)) == []
    assert rung_warnings(study_spec({**late, "scheduler": {"kind": "full"}})) == []
    assert rung_warnings(study_spec({"epochs": 27, "space": space, "config": {"schedule": "cosine"}})) == []


def test_the_recorded_benchmarks_load(shared: Path) -> None:
    for path in sorted((shared / "data" / "curves").glob("*.npz")):
        curves = load_curves(path)
        assert len(curves.points) == len(curves.values) >= 600
        assert (curves.lengths == curves.epochs).all()
        assert ((curves.vectors >= 0) | np.isnan(curves.vectors)).all()
