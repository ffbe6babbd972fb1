"""The search in virtual time, killed anywhere."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.events import EpochReported, SessionEnded, SessionStarted, TrialSuggested
from analysis.log import LOG_FILE, read_log
from analysis.trials import fold_trials
from tests.tune_gate.virtual_cluster import Cluster, Killed, dies_at, essence, metrics_of, run_killed
from tune_gate.errors import LogUnfit, Misuse
from tune_gate.schedulers import build_scheduler
from tune_gate.search import UNFIT_IN_A_ROW, Search
from tune_gate.spec import StudySpec, study_spec
from tune_gate.verify import verify_log


@pytest.fixture
def spec() -> StudySpec:
    return study_spec({"trials": 14, "epochs": 9, "scheduler": {"kind": "asha"}, "sampler": {"startup": 4}})


def test_a_search_runs_exactly_the_trials_asked_for(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path, workers=3).run()
    trials = fold_trials(read_log(tmp_path / LOG_FILE))
    assert sorted(trials) == list(range(1, 15))
    assert all(trial.ended for trial in trials.values())
    assert {trial.state for trial in trials.values()} >= {"completed", "stopped"}
    assert trials[1].source == "default"


def test_stopped_trials_have_no_report_after_their_rung(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path, workers=3).run()
    for trial in fold_trials(read_log(tmp_path / LOG_FILE)).values():
        if trial.state == "stopped":
            assert trial.epoch in spec.milestones
        if trial.state == "completed":
            assert trial.epoch == spec.epochs


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(1, 40), max_size=6), torn=st.integers(0, 30))
def test_a_search_killed_anywhere_equals_the_uninterrupted_one(
    kills: list[int], torn: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = study_spec({"trials": 8, "epochs": 9, "scheduler": {"kind": "asha"}, "sampler": {"startup": 3}})
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    Cluster(spec, whole).run()
    for moment in kills:
        try:
            Cluster(spec, broken, survive=dies_at(moment)).run()
        except Killed:
            with (broken / LOG_FILE).open("ab") as log:  # the death tore the next line
                log.write(b'{"event":"epoch","time":1.0,"trial":1,"attem'[:torn])
    Cluster(spec, broken).run()
    assert essence(read_log(broken / LOG_FILE)) == essence(read_log(whole / LOG_FILE))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), kills=st.lists(st.integers(1, 30), max_size=4))
def test_with_several_workers_nothing_is_lost_or_doubled_and_every_decision_is_a_folds(
    seed: int, kills: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = study_spec({"trials": 9, "epochs": 9, "sampler": {"kind": "random"}})
    folder = tmp_path_factory.mktemp("study")
    order = random.Random(seed)
    run_killed(spec, folder, kills, workers=4, order=order)
    Cluster(spec, folder, workers=4, order=order).run()
    events = read_log(folder / LOG_FILE)
    reports = [(event.trial, event.epoch) for event in events if isinstance(event, EpochReported)]
    assert len(reports) == len(set(reports))
    trials = fold_trials(events)
    assert len(trials) == 9
    for trial in trials.values():
        assert list(trial.reports) == list(range(1, trial.epoch + 1))
    scheduler = build_scheduler(spec)
    for event in events:
        if isinstance(event, EpochReported):
            decision = scheduler.decide(event.trial, event.epoch, event.metrics)
            assert (decision.action, decision.rung) == (event.action, event.rung)
        scheduler.apply(event)


def test_a_stopped_search_saves_its_trials_and_goes_on_with_them_first(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path, workers=2).run(stop_after=7)
    events = read_log(tmp_path / LOG_FILE)
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].reason == "interrupted"
    waiting = [trial.number for trial in fold_trials(events).values() if trial.state == "waiting"]
    assert waiting
    search = Search(spec, tmp_path)
    handed = [search.next_assignment() for _ in waiting]
    search.close()
    assert [(a.trial, a.attempt) for a in handed if a] == [(number, 2) for number in waiting]


def test_a_trial_that_cannot_use_its_device_is_given_up_at_once_with_that_reason(
    spec: StudySpec, tmp_path: Path
) -> None:
    search = Search(spec, tmp_path)
    search.begin("host", 1, {})
    assignment = search.next_assignment()
    assert assignment is not None
    search.fail(1, 1, "unfit", "DeviceError: a GPU was asked for but torch sees none")
    assert (search.trials[1].state, search.trials[1].reason) == (
        "failed",
        "DeviceError: a GPU was asked for but torch sees none",
    )
    following = search.next_assignment()
    assert following is not None
    assert following.trial == 2
    search.close()
    assert verify_log(spec, read_log(tmp_path / LOG_FILE)) == []


def test_a_node_whose_device_cannot_be_used_does_not_devour_the_search(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    handed = [search.next_assignment() for _ in range(UNFIT_IN_A_ROW + 1)]
    search.report(handed[-1].trial, 1, 1, metrics_of(handed[-1].settings, 1))  # type: ignore[union-attr]
    for trial in range(1, UNFIT_IN_A_ROW):
        search.fail(trial, 1, "unfit", "no GPU")
    with pytest.raises(Misuse, match=r"5 trials in a row failed at once \(no GPU\); mend the node"):
        search.fail(UNFIT_IN_A_ROW, 1, "unfit", "no GPU")
    assert search.trials[UNFIT_IN_A_ROW].state == "failed"
    search.close()


def test_a_trial_that_keeps_failing_is_given_up_and_the_search_goes_on(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    for attempt in range(1, 4):
        assignment = search.next_assignment()
        assert assignment is not None
        assert (assignment.trial, assignment.attempt) == (1, attempt)
        search.fail(1, attempt, "error", "ValueError: boom", "Traceback …")
    assert search.trials[1].state == "failed"
    assert "boom" in search.trials[1].reason
    following = search.next_assignment()
    search.close()
    assert following is not None
    assert following.trial == 2


def test_progress_between_failures_starts_the_count_anew(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    for attempt in range(1, 6):
        assignment = search.next_assignment()
        assert assignment is not None
        if attempt < 5:
            search.report(1, attempt, attempt, metrics_of(assignment.settings, attempt))
        search.fail(1, attempt, "lost", "the node died")
    search.close()
    assert search.trials[1].state == "waiting"


def test_epochs_done_over_are_no_progress(tmp_path: Path) -> None:
    spec = study_spec({"trials": 2, "epochs": 9, "scheduler": {"kind": "full"}})
    search = Search(spec, tmp_path)
    for attempt in range(1, 4):
        assignment = search.next_assignment()
        assert assignment is not None
        for epoch in (1, 2, 3):  # its checkpoints are gone: each attempt begins at the start
            search.report(1, attempt, epoch, metrics_of(assignment.settings, epoch))
        search.fail(1, attempt, "error", "ValueError: boom")
    search.close()
    assert search.trials[1].state == "failed"


def test_a_report_of_an_attempt_that_was_given_up_decides_nothing(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    first = search.next_assignment()
    assert first is not None
    search.fail(1, 1, "lost", "the node died")
    second = search.next_assignment()
    assert second is not None
    before = (tmp_path / LOG_FILE).read_bytes()
    assert search.report(1, 1, 1, metrics_of(first.settings, 1)) == "stop"
    assert (tmp_path / LOG_FILE).read_bytes() == before
    search.close()


def test_a_new_session_is_numbered_after_the_last(spec: StudySpec, tmp_path: Path) -> None:
    for _ in range(2):
        Cluster(spec, tmp_path).run(stop_after=1)
    sessions = [e.session for e in read_log(tmp_path / LOG_FILE) if isinstance(e, SessionStarted)]
    assert sessions == [1, 2]


def test_what_the_worker_gets_is_plain_json(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    assignment = search.next_assignment()
    search.close()
    assert assignment is not None
    assert json.loads(json.dumps(assignment.settings)) == assignment.settings


def test_a_gap_in_the_numbers_of_a_log_is_not_filled_with_another_trial(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path).run(stop_after=30)
    log = tmp_path / LOG_FILE
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"trial":2,' not in line))
    known = fold_trials(read_log(log))
    assert 2 not in known
    last = max(known)
    Cluster(spec, tmp_path).run()
    suggested = [event.trial for event in read_log(log) if isinstance(event, TrialSuggested)]
    assert len(suggested) == len(set(suggested)) == spec.trials
    assert min(set(suggested) - set(known)) == last + 1


def test_a_rung_that_the_study_does_not_have_is_named(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path).run(stop_after=10)
    other = study_spec({"trials": 14, "epochs": 9, "scheduler": {"rungs": [2, 4]}})
    with pytest.raises(LogUnfit, match="trial 1 judged at rung 1, and the study's rungs are 2, 4"):
        Search(other, tmp_path)


@pytest.mark.parametrize("epoch", [1, 2])  # at a rung, and between two
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_no_number_is_a_divergence(value: float, epoch: int, spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    assignment = search.next_assignment()
    assert assignment is not None
    said = [metrics_of(assignment.settings, number) for number in range(1, epoch)]
    for number, metrics in enumerate([*said, {"val_acc": value, "seconds": 1.0}], start=1):
        action = search.report(1, 1, number, metrics)
    assert action == "diverge"
    search.close()
    again = Search(spec, tmp_path)
    assert again.trials[1].state == "diverged"
    again.close()


def test_a_report_without_the_metric_is_a_mistake_of_the_trainable(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    search.next_assignment()
    with pytest.raises(Misuse, match="trial 1 reports no 'val_acc'; trainables"):
        search.report(1, 1, 1, {"val_loss": 1.0})
    search.close()
