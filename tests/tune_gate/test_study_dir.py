"""Making a study's folder, and reading it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.errors import AnalysisError, SchemaUnknown, StudyNotFound
from analysis.study import STUDY_FILE, open_study
from tune_gate.errors import Misuse, SpecError, StudyExists
from tune_gate.spec import study_spec
from tune_gate.study_dir import SPEC_FILE, checkpoint_folder, create_study, free_folder, read_spec, versions


def test_a_new_study_holds_the_spec_as_given_and_as_understood(tmp_path: Path) -> None:
    given = {"name": "night", "trials": 5, "config": {"data": "synthetic"}, "scheduler": {"reduction_factor": 2}}
    study = tmp_path / "deep" / "study"
    create_study(study_spec(given), study)
    assert sorted(path.name for path in study.iterdir()) == [STUDY_FILE, SPEC_FILE]
    assert yaml.safe_load((study / SPEC_FILE).read_text()) == given
    record = json.loads((study / STUDY_FILE).read_text())
    assert record["schema"] == 1
    assert record["spec"]["scheduler"]["rungs"] == [3, 6, 12, 24]
    assert record["base_config"]["data"] == "synthetic"
    assert record["versions"] == versions()
    assert record["git_commit"] is None or len(record["git_commit"].removesuffix("+changes")) == 40
    header = open_study(study).spec
    assert (header.name, header.trials, header.epochs, header.rungs) == ("night", 5, 27, (3, 6, 12, 24))
    assert "lr" in header.space


def test_versions_name_what_can_change_a_result() -> None:
    assert {"python", "tune-gate", "ray", "optuna", "torch", "torchvision", "numpy"} <= versions().keys()


def test_a_study_is_not_made_twice(tmp_path: Path) -> None:
    study = tmp_path / "study"
    create_study(study_spec({}), study)
    before = {path.name: path.read_bytes() for path in study.iterdir()}
    with pytest.raises(StudyExists, match=f"^{study} already holds a study; `tune-gate resume {study}` goes on with"):
        create_study(study_spec({"trials": 3}), study)
    assert {path.name: path.read_bytes() for path in study.iterdir()} == before


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    create_study(study_spec({}), tmp_path)
    assert read_spec(tmp_path).trials == 16


@pytest.mark.parametrize("kind", ["folder with files", "file"])
def test_nothing_is_written_over(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "thesis"
    precious = place
    if kind == "folder with files":
        place.mkdir()
        precious = place / "chapter.tex"
    precious.write_text("years of work")
    with pytest.raises(StudyExists, match="is not an empty folder, and nothing is written over; choose another --dir"):
        create_study(study_spec({}), place)
    assert precious.read_text() == "years of work"
    assert not (place / STUDY_FILE).exists()


def test_a_folder_that_cannot_be_made_is_misuse(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misuse, match=r"cannot make the study .*: Not a directory"):
        create_study(study_spec({}), tmp_path / "file" / "study")


@pytest.mark.parametrize(
    ("config", "absolute"),
    [
        ({"data": "npz:data/set.npz"}, {"data": "npz:{here}/data/set.npz"}),
        ({"data": "folder:../images"}, {"data": "folder:{above}/images"}),
        ({"data": "npz:~/set.npz"}, {"data": "npz:{home}/set.npz"}),
        ({"data": "npz:/data/set.npz"}, {"data": "npz:/data/set.npz"}),
        ({"data": "cifar10", "data_dir": "downloads"}, {"data": "cifar10", "data_dir": "{here}/downloads"}),
        ({"init": "baseline", "baseline": "plain.pt"}, {"init": "baseline", "baseline": "{here}/plain.pt"}),
        ({"data": "digits"}, {"data": "digits"}),
    ],
)
def test_relative_paths_are_those_of_the_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], absolute: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = study_spec({"config": config, "trials": 3})
    kept = create_study(spec, Path("study"))
    places = {"here": tmp_path, "above": tmp_path.parent, "home": Path.home()}
    wanted = {key: value.format(**places) for key, value in absolute.items()}
    assert dict(kept.config) == wanted
    assert dict(read_spec(Path("study")).config) == wanted
    assert yaml.safe_load(Path("study/study.yaml").read_text()) == {"config": wanted, "trials": 3}


def test_what_is_read_back_means_what_was_created(tmp_path: Path) -> None:
    spec = study_spec({"epochs": 10, "space": {"lr": {"log-float": [0.01, 0.5]}}, "sampler": {"kind": "random"}})
    create_study(spec, tmp_path)
    again = read_spec(tmp_path)
    assert again.to_record() == spec.to_record()
    assert (again.milestones, again.base_config, again.first_points) == (
        spec.milestones,
        spec.base_config,
        spec.first_points,
    )
    assert again.search_space.parameters == spec.search_space.parameters


def test_the_kept_yaml_launches_the_same_study(tmp_path: Path) -> None:
    create_study(study_spec({"epochs": 10, "config": {"depth": 20}}), tmp_path / "one")
    kept = yaml.safe_load((tmp_path / "one" / SPEC_FILE).read_text())
    create_study(study_spec(kept), tmp_path / "two")
    assert read_spec(tmp_path / "two") == read_spec(tmp_path / "one")


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFound, match=f"^no study at {tmp_path}: it holds no study.json$"):
        read_spec(tmp_path)
    with pytest.raises(StudyNotFound, match="is no folder"):
        read_spec(tmp_path / "absent")


def changed(study: Path, **changes: Any) -> None:
    record = json.loads((study / STUDY_FILE).read_text())
    (study / STUDY_FILE).write_text(json.dumps({**record, **changes}))


def test_a_damaged_or_foreign_study_is_refused(tmp_path: Path) -> None:
    create_study(study_spec({}), tmp_path)
    whole = (tmp_path / STUDY_FILE).read_text()
    changed(tmp_path, schema=2)
    with pytest.raises(SchemaUnknown, match="schema version 2"):
        read_spec(tmp_path)
    (tmp_path / STUDY_FILE).write_text(whole)
    changed(tmp_path, spec={**json.loads(whole)["spec"], "pruner": "x"})
    with pytest.raises(SpecError, match="unknown key 'pruner'"):
        read_spec(tmp_path)
    (tmp_path / STUDY_FILE).write_text(whole[:100])
    with pytest.raises(AnalysisError, match="is damaged: it is not JSON"):
        read_spec(tmp_path)


def test_a_free_folder_is_numbered_from_two(tmp_path: Path) -> None:
    assert free_folder(tmp_path, "demo") == tmp_path / "demo"
    for expected in ("demo", "demo-2", "demo-3"):
        assert free_folder(tmp_path, "demo") == tmp_path / expected
        (tmp_path / expected).mkdir()
    (tmp_path / "demo-2").rmdir()
    assert free_folder(tmp_path, "demo") == tmp_path / "demo-2"


def test_each_trial_has_a_folder_of_its_own() -> None:
    assert checkpoint_folder(Path("s"), 7) == Path("s/trials/0007")
    assert checkpoint_folder(Path("s"), 12345) == Path("s/trials/12345")
