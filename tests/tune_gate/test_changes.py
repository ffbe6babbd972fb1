"""What may change under a study, what is refused, and what the log says of it."""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.events import BudgetExtended, CodeAccepted, Event, SessionStarted, SpecChanged, Warned
from analysis.log import LOG_FILE, read_log
from analysis.study import STUDY_FILE
from tests.tune_gate.virtual_cluster import Cluster
from tune_gate.changes import (
    accept_code,
    code_changes,
    current_spec,
    edits_of,
    refuse_changed_code,
    take_over_edits,
)
from tune_gate.errors import Misuse, SpecError
from tune_gate.fingerprint import changed_files, code_fingerprints
from tune_gate.search import Search
from tune_gate.spec import study_spec
from tune_gate.study_dir import SPEC_FILE, create_study, read_spec
from tune_gate.verify import verify_log

GIVEN: dict[str, Any] = {
    "name": "night",
    "trials": 6,
    "epochs": 9,
    "config": {"depth": 14, "data": "npz:set.npz"},
    "sampler": {"kind": "random"},
    "resources": {"concurrency": 2},
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    create_study(study_spec(GIVEN), tmp_path / "study")
    Cluster(read_spec(tmp_path / "study"), tmp_path / "study").run(stop_after=5)
    return tmp_path / "study"


def edit(study: Path, **changes: Any) -> None:
    """Edit study.yaml as its author would; None takes a key out."""
    given = yaml.safe_load((study / SPEC_FILE).read_text())
    for name, value in changes.items():
        given[name] = {**given[name], **value} if isinstance(value, dict) and name in given else value
        if value is None:
            del given[name]
    (study / SPEC_FILE).write_text(yaml.safe_dump(given))


def log_of(study: Path) -> list[Event]:
    return read_log(study / LOG_FILE)


def test_a_study_that_nobody_touched_has_no_edits(study: Path) -> None:
    assert take_over_edits(study, log_of(study)) == []
    (study / SPEC_FILE).write_text("# a remark\n" + (study / SPEC_FILE).read_text())
    edit(study, space="gate-core", seed=0)  # what it was anyway
    assert take_over_edits(study, log_of(study)) == []
    (study / SPEC_FILE).unlink()
    assert take_over_edits(study, log_of(study)) == []


def test_a_study_keeps_the_defaults_that_it_began_with(study: Path) -> None:
    record = json.loads((study / STUDY_FILE).read_text())
    assert "scheduler" not in record["given"]
    record["spec"]["scheduler"]["kind"] = "asha"  # an earlier version's default
    (study / STUDY_FILE).write_text(json.dumps(record))
    edit(study, resources={"concurrency": 5})
    assert take_over_edits(study, log_of(study)) == ["changed in study.yaml: resources.concurrency 2 → 5"]
    assert current_spec(read_spec(study), log_of(study)).scheduler.kind == "asha"


def test_where_and_how_trials_run_may_change(study: Path) -> None:
    edit(study, resources={"concurrency": 5}, failures={"retries": 7}, config={"data_dir": "/data"})
    assert take_over_edits(study, log_of(study)) == [
        'changed in study.yaml: config.data_dir default → "/data"',
        "changed in study.yaml: failures.retries 2 → 7",
        "changed in study.yaml: resources.concurrency 2 → 5",
    ]
    assert isinstance(log_of(study)[-1], SpecChanged)
    assert take_over_edits(study, log_of(study)) == []  # once
    with closing(Search(read_spec(study), study)) as search:
        search.begin("host", 1, {})
        assert search.spec.resources.concurrency == 5
        assert search.spec.failures.retries == 7
        assignment = search.next_assignment()
        assert assignment is not None
        assert assignment.settings["data_dir"] == "/data"
    edit(study, resources={"concurrency": 2}, failures=None)
    assert len(take_over_edits(study, log_of(study))) == 2
    spec = current_spec(read_spec(study), log_of(study))
    assert (spec.resources.concurrency, spec.failures.retries) == (2, 2)
    Cluster(read_spec(study), study).run()
    assert verify_log(read_spec(study), log_of(study)) == []


@pytest.mark.parametrize(
    ("changes", "listed"),
    [
        ({"config": {"depth": 20}}, "config.depth 14 → 20"),
        ({"config": {"batch_size": 64}}, "config.batch_size default → 64"),
        ({"config": {"data": "digits"}}, 'config.data "npz:'),
        ({"config": {"split_seed": 3}}, "config.split_seed default → 3"),
        ({"seed": 1}, "seed 0 → 1"),
        ({"space": {"lr": {"log-float": [0.01, 0.5]}}}, "space."),
        ({"scheduler": {"kind": "full"}}, 'scheduler.kind "promotion" → "full"'),
        ({"scheduler": {"grace_period": 2}}, r"scheduler.rungs \[1, 3\] → \[2, 6\]"),
        ({"sampler": {"kind": "tpe"}}, 'sampler.kind "random" → "tpe"'),
        ({"trainable": "tests.tune_gate.curve_trainable:CurveTrainable"}, "trainable"),
    ],
)
def test_what_would_mix_results_is_refused_and_nothing_is_recorded(
    changes: dict[str, Any], listed: str, study: Path
) -> None:
    before = (study / LOG_FILE).read_bytes()
    edit(study, resources={"concurrency": 5}, trials=9, **changes)
    with pytest.raises(Misuse, match=rf"results of two kinds: .*{listed}.*; put it back, or .*`tune-gate fork"):
        take_over_edits(study, log_of(study))
    assert (study / LOG_FILE).read_bytes() == before


def test_an_edit_that_is_no_study_is_one_line(study: Path) -> None:
    edit(study, trails=9)
    with pytest.raises(SpecError, match="unknown key 'trails'; did you mean 'trials'"):
        take_over_edits(study, log_of(study))


def test_the_budget_may_grow_and_the_rungs_stay(study: Path) -> None:
    edit(study, trials=8, epochs=30)
    assert take_over_edits(study, log_of(study)) == [
        "changed in study.yaml: the budget is now 8 trials of up to 30 epochs"
    ]
    event = log_of(study)[-1]
    assert isinstance(event, BudgetExtended)
    assert (event.trials, event.epochs, event.rungs) == (8, 30, (1, 3, 27))
    assert take_over_edits(study, log_of(study)) == []
    edit(study, trials=7)
    with pytest.raises(Misuse, match="asks for trials 7, and the study has 8; a budget only grows"):
        edits_of(study, log_of(study))


def test_a_file_that_an_extension_has_overtaken_is_no_edit(study: Path) -> None:
    from tune_gate.budget import extend_study, plan_extension

    extend_study(study, plan_extension(study, trials=20, epochs=None).budget)
    assert take_over_edits(study, log_of(study)) == []


def test_trials_are_not_retrained_unasked(study: Path) -> None:
    Cluster(read_spec(study), study).run()  # in virtual time nothing is saved
    edit(study, epochs=30)
    with pytest.raises(Misuse, match=r"trials would be retrained; say so: `tune-gate extend .* --epochs 30`"):
        take_over_edits(study, log_of(study))


def test_a_study_from_before_there_were_fingerprints_goes_on(study: Path) -> None:
    record = json.loads((study / STUDY_FILE).read_text())
    del record["given"], record["code"]
    (study / STUDY_FILE).write_text(json.dumps(record))
    assert take_over_edits(study, log_of(study)) == []
    refuse_changed_code(study, log_of(study))
    assert accept_code(study) is None
    edit(study, config={"depth": 20})
    with pytest.raises(Misuse, match=r"config\.depth 14 → 20"):
        take_over_edits(study, log_of(study))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a trainable of somebody else's."""
    path = tmp_path / "my_trainable.py"
    path.write_text("class Mine: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return path


def test_changed_code_is_refused_by_file_until_it_is_accepted(module: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    create_study(study_spec({**GIVEN, "trainable": "my_trainable:Mine"}), study)
    refuse_changed_code(study, log_of(study))
    module.write_text("class Mine: ...\r\n")  # another checkout's line ends
    refuse_changed_code(study, log_of(study))
    module.write_text("class Mine: '''Better.'''\n")
    with pytest.raises(Misuse, match=r"has changed since the study began: my_trainable.py; .*resume .* --accept-code"):
        refuse_changed_code(study, log_of(study))
    assert accept_code(study) is not None
    warned, accepted = log_of(study)[-2:]
    assert isinstance(warned, Warned)
    assert "changed code: my_trainable.py" in warned.message
    assert isinstance(accepted, CodeAccepted)
    refuse_changed_code(study, log_of(study))
    assert accept_code(study) is None
    module.write_text("class Mine: '''Better still.'''\n")
    assert list(code_changes(study, log_of(study))) == ["my_trainable.py"]
    module.unlink()
    sys.modules.pop("my_trainable", None)
    importlib.invalidate_caches()
    assert code_changes(study, log_of(study)) == {"my_trainable.py": None}
    assert "my_trainable.py (gone)" in str(accept_code(study))
    refuse_changed_code(study, log_of(study))
    assert verify_log(read_spec(study), log_of(study)) == []


def test_a_trainable_in_the_working_folder_is_found_as_its_driver_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A console script has the folder of the script on its path, `python -m` the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "somewhere_else.py").write_text("class Mine: ...\n")
    by_script = code_fingerprints("somewhere_else:Mine")
    assert "somewhere_else.py" in by_script
    monkeypatch.syspath_prepend(tmp_path)
    assert code_fingerprints("somewhere_else:Mine") == by_script


def test_our_own_code_is_known_file_by_file() -> None:
    ours = code_fingerprints("trainables.tune_trainable:GatedResNetTrainable")
    assert {"trainables/resnet.py", "trainables/data/loading.py", "search_spaces/catalog.py"} <= ours.keys()
    other = {**ours, "trainables/resnet.py": "0"}
    del other["trainables/gates.py"]
    assert changed_files(ours, other) == {"trainables/gates.py": None, "trainables/resnet.py": "0"}
    assert not any(name.startswith("tests") for name in ours)
    theirs = code_fingerprints("tests.tune_gate.curve_trainable:CurveTrainable")
    assert "tests/tune_gate/curve_trainable.py" in theirs
    assert "trainables/resnet.py" not in theirs
    assert code_fingerprints("no.such.module:Thing").keys() == {n for n in ours if n.startswith("search_spaces")}


def test_other_versions_than_before_are_told_in_the_log(study: Path) -> None:
    for versions in ({"torch": "2.14.0", "ray": "2.60"}, {"torch": "2.14.0", "ray": "2.60"}, {"torch": "2.14.1"}):
        with closing(Search(read_spec(study), study)) as search:
            search.begin("host", 1, versions)
            search.end()
    events = log_of(study)
    assert [type(event) for event in events[-3:]][:2] == [SessionStarted, Warned]
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert warnings == ["other versions than in session 3: torch 2.14.0 → 2.14.1, ray 2.60 → none; results may differ"]
