"""A new study that knows an earlier one's trials: what fits, what its sampler is told, and that nobody counts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState
from rich.console import Console

from analysis.event_records import event_from_record, event_to_record
from analysis.events import EpochReported, TrialInherited, TrialSuggested, Warned
from analysis.log import LOG_FILE, opening_events, read_log
from analysis.study import open_study
from analysis.trials import fold_trials
from tests.tune_gate.virtual_cluster import Cluster, Killed, dies_at, essence
from tune_gate import api
from tune_gate.budget import extend_study, plan_extension
from tune_gate.errors import Misuse, StudyExists
from tune_gate.inheritance import first_events, forked_settings, inherit
from tune_gate.mending import mend, read_lines
from tune_gate.progress import ProgressReader
from tune_gate.schedulers import FLOOR
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import SPEC_FILE, create_study
from tune_gate.tpe import TpeSampler
from tune_gate.verify import verify_log

SPACE: dict[str, Any] = {
    "lr": {"log-float": [0.01, 0.5]},
    "schedule": {"choice": ["multistep", "cosine"]},
    "milestones": {"choice": [[0.4, 0.6], [0.5, 0.75]], "when": {"schedule": "multistep"}},
}
GIVEN: dict[str, Any] = {
    "name": "night",
    "trials": 12,
    "epochs": 9,
    "space": SPACE,
    "sampler": {"kind": "tpe", "startup": 4, "explore": 0.1},
}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study that no test changes."""
    folder = tmp_path_factory.mktemp("old") / "night"
    create_study(study_spec(GIVEN), folder)
    Cluster(study_spec(GIVEN), folder, workers=3).run()
    return folder


def heirs(old: Path, **changes: Any) -> tuple[StudySpec, list[TrialInherited], dict[str, tuple[int, ...]]]:
    """The spec of a new study, what it inherits, and what it does not."""
    spec = study_spec({**GIVEN, **changes})
    (inheritance,) = inherit(spec, [old])
    return spec, list(inheritance.trials), dict(inheritance.unfit)


def test_every_trial_fits_the_same_space(old: Path) -> None:
    spec, taken, unfit = heirs(old)
    before = fold_trials(read_log(old / LOG_FILE))
    assert not unfit
    assert [trial.source_trial for trial in taken] == list(before)
    for trial in taken:
        own = before[trial.source_trial]
        assert trial.study == str(old)
        assert dict(trial.settings) == dict(own.settings)
        assert trial.state == own.state
        assert trial.epochs == 9
        if own.state != "diverged":
            expected = sorted({*spec.milestones, own.epoch} & own.reports.keys())
            assert list(trial.values) == [(epoch, own.reports[epoch].metrics["val_acc"]) for epoch in expected]
        assert event_from_record(json.loads(json.dumps(event_to_record(trial)))) == trial


def test_what_does_not_fit_is_counted_and_named_with_its_reason(old: Path) -> None:
    _, taken, unfit = heirs(old, space={"lr": {"log-float": [0.05, 0.2]}})
    before = fold_trials(read_log(old / LOG_FILE))
    reasons = " / ".join(unfit)
    assert "parameter 'lr': " in reasons
    assert "schedule is 'cosine' there and 'multistep' here" in unfit
    assert sorted([*(t.source_trial for t in taken), *(n for ns in unfit.values() for n in ns)]) == list(before)
    for trial in taken:
        assert set(trial.settings) == {"lr"}
        assert 0.05 <= trial.settings["lr"] <= 0.2


def test_a_setting_that_both_fix_otherwise_lets_nothing_pass(old: Path) -> None:
    _, taken, unfit = heirs(old, config={"depth": 20})
    assert not taken
    assert unfit == {"depth is 14 there and 20 here": tuple(range(1, 13))}


def test_a_wider_space_takes_what_was_fixed_as_a_point(old: Path) -> None:
    _, taken, unfit = heirs(old, space={**SPACE, "momentum": {"float": [0.5, 0.95]}})
    assert not unfit
    assert {trial.settings["momentum"] for trial in taken} == {0.9}


def test_another_trainable_is_another_kind(old: Path) -> None:
    with pytest.raises(Misuse, match=r"no trial of .* can be history here: it ran trainables"):
        heirs(old, trainable="tests.tune_gate.curve_trainable:CurveTrainable")


def test_trials_that_failed_or_never_reported_say_nothing(tmp_path: Path) -> None:
    from tune_gate.search import Search

    spec = study_spec(GIVEN)
    create_study(spec, tmp_path / "old")
    search = Search(spec, tmp_path / "old")
    search.begin("host", 1, {})
    for attempt in range(1, 4):
        search.next_assignment()
        search.fail(1, attempt, "error", "boom")
    search.next_assignment()
    search.end()
    _, taken, unfit = heirs(tmp_path / "old")
    assert not taken
    assert unfit == {"it failed, which says nothing about its settings": (1,), "it has reported no epoch": (2,)}


# --- what the sampler makes of it


def inherited(state: Any, epochs: int, values: tuple[tuple[int, float], ...]) -> TrialInherited:
    return TrialInherited(0.0, "old", 1, {"lr": 0.1, "schedule": "cosine"}, state, epochs, values)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (inherited("completed", 9, ((1, 0.2), (9, 0.8))), (TrialState.COMPLETE, {1: 0.2, 9: 0.8})),
        (inherited("completed", 3, ((1, 0.2), (3, 0.8))), (TrialState.PRUNED, {1: 0.2, 3: 0.8})),  # shorter
        (inherited("completed", 27, ((3, 0.2), (9, 0.4), (27, 0.8))), (TrialState.PRUNED, {3: 0.2, 9: 0.4})),
        (inherited("stopped", 9, ((1, 0.2),)), (TrialState.PRUNED, {1: 0.2})),
        (inherited("diverged", 9, ()), (TrialState.PRUNED, {1: FLOOR})),
        (inherited("stopped", 81, ((27, 0.2),)), None),
    ],
)
def test_the_sampler_is_told_at_the_trials_own_fidelity(event: TrialInherited, told: Any) -> None:
    sampler = TpeSampler(study_spec(GIVEN))
    sampler.apply(event)
    trials = sampler._study.get_trials()
    assert [(trial.state, trial.intermediate_values) for trial in trials] == ([told] if told else [])


def test_history_replaces_the_random_start_but_not_the_first_points(old: Path, tmp_path: Path) -> None:
    settings = {**GIVEN, "config": {"lr": 0.05}, "sampler": {"kind": "tpe", "startup": 10, "explore": 0.0}}
    space = {**SPACE, "lr_gate": {"log-float": [0.001, 0.1]}}
    spec = study_spec({**settings, "space": space})
    create_study(spec, tmp_path / "new", first_events(inherit(spec, [old])))
    Cluster(spec, tmp_path / "new").run()
    suggested = [event for event in read_log(tmp_path / "new" / LOG_FILE) if isinstance(event, TrialSuggested)]
    assert [event.source for event in suggested[:4]] == ["default", "first", "first", "tpe"]
    assert [event.settings["lr"] for event in suggested[:3]] == [0.05, 0.05, 0.1]  # the authors' own is the third
    assert {event.source for event in suggested[3:]} == {"tpe"}


# --- nobody else counts it


@pytest.fixture
def new(old: Path, tmp_path: Path) -> Path:
    """A study that has inherited, and has not begun."""
    spec = study_spec({**GIVEN, "seed": 1})
    return_to = tmp_path / "new"
    create_study(spec, return_to, first_events(inherit(spec, [old])))
    return return_to


def test_the_new_study_runs_its_own_number_of_trials_and_shows_no_others(new: Path) -> None:
    spec = study_spec({**GIVEN, "seed": 1})
    Cluster(spec, new, workers=2).run()
    events = read_log(new / LOG_FILE)
    assert sorted(fold_trials(events)) == list(range(1, 13))
    first_rung = next(event.rung for event in events if isinstance(event, EpochReported) and event.rung)
    assert first_rung.peers == 1
    assert verify_log(spec, events) == []
    study = open_study(new)
    assert len(study.trials) == 12
    assert study.inherited == 12
    reader = ProgressReader(new)
    reader.read()
    assert reader.progress(alive=False).to_record()["inherited"] == 12
    assert mend(spec, read_lines(new / LOG_FILE)).whole


def test_killed_anywhere_it_inherits_once(new: Path, tmp_path: Path) -> None:
    spec = study_spec({**GIVEN, "seed": 1})
    broken = tmp_path / "broken"
    (broken / "log").mkdir(parents=True)
    (broken / LOG_FILE).write_bytes((new / LOG_FILE).read_bytes())
    Cluster(spec, new).run()
    for moment in (0, 1, 7, 20):
        with pytest.raises(Killed):
            Cluster(spec, broken, survive=dies_at(moment)).run()
    Cluster(spec, broken).run()
    assert essence(read_log(broken / LOG_FILE)) == essence(read_log(new / LOG_FILE))
    assert sum(isinstance(event, TrialInherited) for event in read_log(broken / LOG_FILE)) == 12


def test_an_inheritance_in_the_middle_of_a_log_is_found(new: Path) -> None:
    spec = study_spec({**GIVEN, "seed": 1})
    Cluster(spec, new).run()
    events = read_log(new / LOG_FILE)
    found = [str(each) for each in verify_log(spec, [*events, events[0]])]
    assert any(
        f"trial 1 of {getattr(events[0], 'study', '')} is inherited after session 1 began" in each for each in found
    )


def test_an_extended_heir_compares_at_the_new_length(new: Path) -> None:
    spec = study_spec({**GIVEN, "seed": 1})
    Cluster(spec, new).run()
    extend_study(new, plan_extension(new, trials=14, epochs=27).budget)
    Cluster(spec, new).run()
    assert verify_log(spec, read_log(new / LOG_FILE)) == []


def test_a_grandchild_inherits_from_both_and_each_trial_once(old: Path, new: Path) -> None:
    spec = study_spec({**GIVEN, "seed": 1})
    Cluster(spec, new).run()
    grandchild = study_spec({**GIVEN, "seed": 2})
    of_new, of_old = inherit(grandchild, [new, old])
    assert len(of_new.trials) == 24
    assert len(of_old.trials) == 0
    assert {trial.study for trial in of_new.trials} == {str(new), str(old)}


def test_opening_events_are_read_and_nothing_after_them(new: Path) -> None:
    spec = study_spec({**GIVEN, "seed": 1})
    Cluster(spec, new).run(stop_after=3)
    log = new / LOG_FILE
    log.write_bytes(log.read_bytes() + b"not JSON\n")
    assert len(list(opening_events(log))) == 12
    assert list(opening_events(new / "absent")) == []


# --- the commands


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches run in virtual time."""

    def run_virtually(folder: Path, *_: Any) -> None:
        from tune_gate.study_dir import read_spec

        Cluster(read_spec(folder), folder).run()

    monkeypatch.setattr(api, "supervise", run_virtually)


@pytest.mark.usefixtures("run")
def test_a_fork_takes_the_edited_file_and_its_own_name(old: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    create_study(study_spec(GIVEN), source)
    (source / "log").mkdir()
    (source / LOG_FILE).write_bytes((old / LOG_FILE).read_bytes())
    edited = {**yaml.safe_load((source / SPEC_FILE).read_text()), "space": {"lr": {"log-float": [0.02, 0.5]}}}
    (source / SPEC_FILE).write_text(yaml.safe_dump(edited))
    console = Console(record=True, width=500)
    outcome = api.fork(source, tmp_path / "branch", changes={"trials": 4}, console=console)
    assert outcome.study.name == "branch"
    assert len(outcome.study.trials) == 4
    assert outcome.study.inherited > 0
    said = console.export_text()
    assert f"of 12 trials of {source} are history here; left out: trial" in said
    warned = next(event for event in outcome.study.events if isinstance(event, Warned))
    assert "schedule is 'cosine' there and 'multistep' here" in warned.message
    assert forked_settings(source, "not a name!")["name"] == "night"


def test_a_fork_onto_a_study_is_refused_before_anything_is_counted(old: Path) -> None:
    console = Console(record=True, width=500)
    with pytest.raises(StudyExists, match="already holds a study"):
        api.fork(old, old, console=console)
    assert console.export_text() == ""


def test_a_fork_of_an_extended_study_has_its_present_budget(tmp_path: Path) -> None:
    source = tmp_path / "source"
    spec = create_study(study_spec(GIVEN), source)
    Cluster(spec, source).run()
    extend_study(source, plan_extension(source, trials=14, epochs=27).budget)
    assert {"trials": 14, "epochs": 27}.items() <= forked_settings(source, "branch").items()
    (source / SPEC_FILE).write_text(yaml.safe_dump({**GIVEN, "trials": 5}))
    assert {"trials": 5, "epochs": 27}.items() <= forked_settings(source, "branch").items()


@pytest.mark.usefixtures("run")
def test_launch_takes_several_earlier_studies(old: Path, new: Path, tmp_path: Path) -> None:
    outcome = api.launch({**GIVEN, "trials": 4}, tmp_path / "third", history=[old, new])
    assert outcome.study.inherited == 12  # `new` has run nothing, and hands on what it inherited
    assert next(event.settings for event in outcome.study.events if isinstance(event, TrialSuggested))["lr"] == 0.1
