"""Confirmations in virtual time: what is trained anew, with which seeds, and that the test split is opened once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.events import BudgetExtended, Event, MeasuredOnTest, SessionEnded, SessionStarted
from analysis.log import LOG_FILE, read_log
from analysis.study import open_study
from analysis.trials import fold_trials
from tests.tune_gate.test_search import Cluster, Killed
from tune_gate.budget import Budget, extend_study, plan_extension
from tune_gate.confirm import confirmation_spec
from tune_gate.errors import Misuse, SpecError, TuneGateError
from tune_gate.search import Search
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import create_study, read_spec
from tune_gate.verify import verify_log

SEARCH = {"name": "search", "trials": 8, "epochs": 6, "sampler": {"startup": 3}, "scheduler": {"rungs": [2]}}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search."""
    folder = tmp_path_factory.mktemp("search") / "study"
    spec = create_study(study_spec(SEARCH), folder)
    Cluster(spec, folder, workers=2).run()
    return folder


@pytest.fixture
def spec(search: Path) -> StudySpec:
    return confirmation_spec(search, top=2, seeds=3)


def test_of_trial(trial: int) -> dict[str, float]:
    return {"test_acc": 0.8 + 0.001 * trial, "test_loss": 0.5, "test_images": 360.0}


test_of_trial.__test__ = False  # type: ignore[attr-defined]  # the test split's word, and no test


def measure(spec: StudySpec, folder: Path, survive: Any = lambda: None, at_most: int | None = None) -> None:
    """A session that measures what is unmeasured, and dies where `survive` raises."""
    search = Search(spec, folder, clock=lambda: 0.0)
    try:
        search.begin("host", 1, {})
        for trial in search.unmeasured[:at_most]:
            search.measured(trial.number, test_of_trial(trial.number))
            survive()
        search.end()
    finally:
        search.close()


def measured(folder: Path) -> list[int]:
    return [event.trial for event in read_log(folder / LOG_FILE) if isinstance(event, MeasuredOnTest)]


def test_the_best_the_default_and_the_plain_resnet_are_trained_with_the_same_seeds(
    search: Path, spec: StudySpec, tmp_path: Path
) -> None:
    assert spec.confirm is not None
    arms = {arm.name: arm for arm in spec.confirm.arms}
    best = open_study(search).trials.sort_values("val_acc", ascending=False)["trial"].tolist()
    assert [arm.roles[0] for arm in spec.confirm.arms][:2] == ["winner", "runner-up"]
    assert spec.confirm.arms[0].trial == best[0]
    assert arms["control"].settings["gate"] == "none"
    assert arms["control"].settings["gate_iters"] == 1
    assert arms["control"].settings["lr"] == spec.confirm.arms[0].settings["lr"]
    assert "lr_gate" not in arms["control"].settings
    assert spec.milestones == ()
    Cluster(spec, tmp_path, workers=2).run()
    trials = fold_trials(read_log(tmp_path / LOG_FILE))
    assert len(trials) == 3 * len(arms)
    assert all(trial.state == "completed" and trial.epoch == 6 for trial in trials.values())
    seeds = {name: [t.seed for t in trials.values() if t.source == name] for name in arms}
    assert len({tuple(found) for found in seeds.values()}) == 1
    assert len(set(next(iter(seeds.values())))) == 3
    assert not {t.seed for t in trials.values()} & set(open_study(search).trials["seed"])


def test_the_spec_survives_its_study_folder(spec: StudySpec, tmp_path: Path) -> None:
    made = create_study(spec, tmp_path / "study")
    read = read_spec(tmp_path / "study")
    assert read.to_record() == made.to_record()
    header = open_study(tmp_path / "study").spec
    assert header.confirmation is not None
    assert [arm.name for arm in header.confirmation.arms] == [arm.name for arm in spec.confirm.arms]  # type: ignore[union-attr]


def test_configurations_that_are_the_same_train_once(tmp_path: Path) -> None:
    grid = {"space": {"gate": {"choice": ["none"]}, "lr": {"choice": [0.1, 0.01]}}, "sampler": {"kind": "grid"}}
    made = create_study(study_spec({"trials": 2, "epochs": 2, "scheduler": {"kind": "full"}, **grid}), tmp_path)
    Cluster(made, tmp_path).run()
    confirm = confirmation_spec(tmp_path, top=2, seeds=1).confirm
    assert confirm is not None
    # the winner has the default's lr, and no gate already: it is winner, default and control
    assert [(arm.name, arm.roles) for arm in confirm.arms] == [
        ("trial 1", ("winner", "control")),
        ("trial 2", ("runner-up",)),
        ("default", ("default",)),
    ]


def test_nothing_is_measured_before_the_last_trial_has_ended(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path).run(stop_after=4 * 6)
    search = Search(spec, tmp_path)
    assert len(search.unmeasured) == 4
    with pytest.raises(TuneGateError, match="not to be measured"):
        search.measured(1, test_of_trial(1))
    search.close()


def test_a_search_measures_nothing(search: Path) -> None:
    opened = Search(read_spec(search), search)
    assert opened.finished
    assert opened.unmeasured == []
    with pytest.raises(TuneGateError, match="not to be measured"):
        opened.measured(1, test_of_trial(1))
    opened.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deaths=st.lists(st.integers(0, 12), min_size=1, max_size=4))
def test_the_test_split_is_opened_once_per_trial_whatever_dies(
    search: Path, tmp_path_factory: pytest.TempPathFactory, deaths: list[int]
) -> None:
    spec = confirmation_spec(search, top=1, seeds=3)
    folder = tmp_path_factory.mktemp("confirm")
    Cluster(spec, folder).run()
    for moment in deaths:
        left = iter(range(moment))

        def survive(left: Any = left) -> None:
            if next(left, None) is None:
                raise Killed

        try:
            measure(spec, folder, survive)
        except Killed:
            continue
    measure(spec, folder)
    assert sorted(measured(folder)) == list(range(1, spec.trials + 1))
    events = read_log(folder / LOG_FILE)
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].reason == "finished"
    assert verify_log(spec, events) == []


def test_a_session_that_leaves_something_unmeasured_is_not_finished(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path).run()
    measure(spec, tmp_path, at_most=2)
    last = read_log(tmp_path / LOG_FILE)[-1]
    assert isinstance(last, SessionEnded)
    assert last.reason == "interrupted"
    assert measured(tmp_path) == [1, 2]


def _twice(events: list[Event]) -> list[Event]:
    last = next(event for event in reversed(events) if isinstance(event, MeasuredOnTest))
    return [*events[:-1], last, events[-1]]


def _early(events: list[Event]) -> list[Event]:
    return [*events[:9], MeasuredOnTest(0.0, 1, 6, test_of_trial(1)), *events[9:]]


def _of_another_epoch(events: list[Event]) -> list[Event]:
    return [replace(event, epoch=5) if isinstance(event, MeasuredOnTest) else event for event in events]


@pytest.mark.parametrize(
    ("tamper", "found"),
    [(_twice, "a second time"), (_early, "trials were left to train"), (_of_another_epoch, "measured at epoch 5")],
)
def test_an_audit_sees_a_test_split_that_was_opened_otherwise(
    spec: StudySpec, tmp_path: Path, tamper: Any, found: str
) -> None:
    Cluster(spec, tmp_path).run()
    measure(spec, tmp_path)
    events = read_log(tmp_path / LOG_FILE)
    assert verify_log(spec, events) == []
    assert any(found in str(difference) for difference in verify_log(spec, tamper(events)))


def test_an_audit_sees_a_search_that_opened_the_test_split(search: Path) -> None:
    events = read_log(search / LOG_FILE)
    tampered = [*events[:-1], MeasuredOnTest(0.0, 1, 6, test_of_trial(1)), events[-1]]
    assert any("in a search" in str(difference) for difference in verify_log(read_spec(search), tampered))


def test_more_seeds_are_an_extension_and_more_epochs_are_refused(spec: StudySpec, tmp_path: Path) -> None:
    made = create_study(spec, tmp_path / "study")
    Cluster(made, tmp_path / "study").run()
    measure(made, tmp_path / "study")
    with pytest.raises(Misuse, match="give more --trials"):
        plan_extension(tmp_path / "study", trials=None, epochs=12)
    with pytest.raises(SpecError, match="no multiple of"):
        plan_extension(tmp_path / "study", trials=made.trials + 1, epochs=None)
    more = made.trials + len(made.confirm.arms)  # type: ignore[union-attr]
    extend_study(tmp_path / "study", plan_extension(tmp_path / "study", trials=more, epochs=None).budget)
    Cluster(made, tmp_path / "study").run()
    measure(made, tmp_path / "study")
    assert sorted(measured(tmp_path / "study")) == list(range(1, more + 1))


def test_an_extended_search_is_confirmed_at_its_new_length(tmp_path: Path) -> None:
    made = create_study(study_spec({**SEARCH, "trials": 3}), tmp_path)
    Cluster(made, tmp_path).run()
    extend_study(tmp_path, Budget(3, 8, made.milestones))
    Cluster(made, tmp_path).run()
    assert any(isinstance(event, BudgetExtended) for event in read_log(tmp_path / LOG_FILE))
    assert confirmation_spec(tmp_path, top=1, seeds=1).epochs == 8


def test_what_cannot_be_confirmed(spec: StudySpec, tmp_path: Path) -> None:
    create_study(study_spec(SEARCH), tmp_path / "empty")
    with pytest.raises(AnalysisError, match="nothing to confirm yet"):
        confirmation_spec(tmp_path / "empty", top=1, seeds=1)
    create_study(spec, tmp_path / "confirm")
    with pytest.raises(Misuse, match="confirmation of 'search' already"):
        confirmation_spec(tmp_path / "confirm", top=1, seeds=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": {"kind": "random"}}, "go together"),
        ({"confirm": None}, "go together"),
        ({"scheduler": {"kind": "asha"}}, "to the end"),
        ({"trials": 7}, "no multiple"),
        ({"confirm.arms": []}, "at least 1 item"),
        ({"confirm.arms": [{"name": "a", "roles": ["best"], "settings": {}}]}, "'winner', 'runner-up'"),
        ({"confirm.arms": [{"name": "a", "roles": ["top"], "settings": {"lrr": 1}}], "trials": 1}, "did you mean 'lr'"),
        ({"confirm.arms": [{"name": "a", "roles": ["top"], "settings": {"lr": -1}}], "trials": 1}, "confirm, 'a'"),
        ({"confirm.arms": [{"name": "a", "roles": ["top"], "setings": {}, "settings": {}}]}, "'settings'"),
        ({"confirm.sorce": "x"}, "did you mean 'source'"),
    ],
)
def test_a_wrong_section_is_one_line(spec: StudySpec, changes: dict[str, Any], message: str) -> None:
    mapping = json.loads(json.dumps(spec.to_record()))
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place = mapping
        for step in path:
            place = place[step]
        place[last] = value
    if changes.get("scheduler"):
        mapping["first"] = []
    with pytest.raises(SpecError, match=message):
        study_spec(mapping)


def test_sessions_are_told_apart(spec: StudySpec, tmp_path: Path) -> None:
    """A measuring session is a session like any other."""
    Cluster(spec, tmp_path).run()
    measure(spec, tmp_path)
    sessions = [event.session for event in read_log(tmp_path / LOG_FILE) if isinstance(event, SessionStarted)]
    assert sessions == [1, 2]
