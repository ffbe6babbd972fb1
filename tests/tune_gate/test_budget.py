"""Extending a study: more trials, more epochs, and what was decided stays decided."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.events import BudgetExtended, EpochReported
from analysis.log import LOG_FILE, read_log
from analysis.trials import fold_trials
from tests.tune_gate.virtual_cluster import Cluster, essence
from tune_gate.budget import Budget, current_budget, extend_study, plan_extension
from tune_gate.errors import Misuse, StudyLocked
from tune_gate.lock import hold
from tune_gate.schedulers import build_scheduler
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import checkpoint_folder, create_study


@pytest.fixture
def spec() -> StudySpec:
    return study_spec({"trials": 8, "epochs": 9, "scheduler": {"kind": "asha"}, "sampler": {"startup": 3}})


@pytest.fixture
def study(spec: StudySpec, tmp_path: Path) -> Path:
    """A finished study."""
    folder = tmp_path / "study"
    create_study(spec, folder)
    Cluster(spec, folder).run()
    return folder


def test_more_trials_are_run_and_the_old_ones_stay(spec: StudySpec, study: Path) -> None:
    before = essence(read_log(study / LOG_FILE))
    extend_study(study, plan_extension(study, trials=12, epochs=None).budget)
    Cluster(spec, study).run()
    events = read_log(study / LOG_FILE)
    assert essence(events)[: len(before)] == before
    trials = fold_trials(events)
    assert len(trials) == 12
    assert all(trial.ended for trial in trials.values())


def test_a_search_for_twelve_equals_one_for_eight_extended_to_twelve(
    spec: StudySpec, study: Path, tmp_path: Path
) -> None:
    extend_study(study, plan_extension(study, trials=12, epochs=None).budget)
    Cluster(spec, study).run()
    whole = tmp_path / "whole"
    Cluster(
        study_spec({"trials": 12, "epochs": 9, "scheduler": {"kind": "asha"}, "sampler": {"startup": 3}}), whole
    ).run()
    assert essence(read_log(study / LOG_FILE)) == essence(read_log(whole / LOG_FILE))


def test_more_epochs_carry_the_completed_trials_on(spec: StudySpec, study: Path) -> None:
    completed = [
        trial.number for trial in fold_trials(read_log(study / LOG_FILE)).values() if trial.state == "completed"
    ]
    stopped = [trial.number for trial in fold_trials(read_log(study / LOG_FILE)).values() if trial.state == "stopped"]
    extend_study(study, plan_extension(study, trials=None, epochs=30).budget)
    Cluster(spec, study).run()
    trials = fold_trials(read_log(study / LOG_FILE))
    assert completed
    assert all(trials[number].epoch > 9 for number in completed)
    assert all(trials[number].state == "stopped" and trials[number].epoch < 9 for number in stopped)
    assert all(list(trial.reports) == list(range(1, trial.epoch + 1)) for trial in trials.values())


def test_rungs_stay_and_new_ones_lie_above(study: Path) -> None:
    assert plan_extension(study, trials=None, epochs=30).budget == Budget(8, 30, (1, 3, 27))
    assert plan_extension(study, trials=None, epochs=90).budget.rungs == (1, 3, 27, 81)
    assert plan_extension(study, trials=9, epochs=None).budget.rungs == (1, 3)


def test_every_decision_after_an_extension_is_a_folds(spec: StudySpec, study: Path) -> None:
    extend_study(study, plan_extension(study, trials=14, epochs=30).budget)
    Cluster(spec, study).run()
    scheduler = build_scheduler(spec)
    for event in read_log(study / LOG_FILE):
        if isinstance(event, EpochReported):
            decision = scheduler.decide(event.trial, event.epoch, event.metrics)
            assert (decision.action, decision.rung) == (event.action, event.rung)
        scheduler.apply(event)


def test_it_says_what_would_be_retrained(study: Path) -> None:
    completed = [
        trial.number for trial in fold_trials(read_log(study / LOG_FILE)).values() if trial.state == "completed"
    ]
    kept = checkpoint_folder(study, completed[0])
    kept.mkdir(parents=True)
    (kept / "epoch-0009.pt").touch()
    planned = plan_extension(study, trials=None, epochs=30)
    assert planned.goes_on == (completed[0],)
    assert planned.retrained == tuple((number, 9) for number in completed[1:])


@pytest.mark.parametrize(("trials", "epochs"), [(7, None), (None, 8), (8, 9), (None, None)])
def test_a_budget_only_grows(study: Path, trials: int | None, epochs: int | None) -> None:
    with pytest.raises(Misuse, match="already has 8 trials of 9 epochs"):
        plan_extension(study, trials, epochs)


def test_a_running_study_is_not_extended(study: Path) -> None:
    with hold(study), pytest.raises(StudyLocked, match="is in use by process"):
        extend_study(study, Budget(20, 9, (1, 3)))


def test_a_grid_has_only_so_many_points(tmp_path: Path) -> None:
    spec = study_spec(
        {
            "trials": 3,
            "epochs": 9,
            "sampler": {"kind": "grid"},
            "space": {"lr": {"choice": [0.01, 0.03, 0.1]}},
        }
    )
    create_study(spec, tmp_path / "study")
    with pytest.raises(Exception, match="3 points, fewer than trials: 4"):
        plan_extension(tmp_path / "study", trials=4, epochs=None)


def test_the_last_extension_counts(spec: StudySpec) -> None:
    events = [BudgetExtended(0.0, 10, 9, (1, 3)), BudgetExtended(0.0, 12, 27, (1, 3))]
    assert current_budget(spec, events) == Budget(12, 27, (1, 3))
