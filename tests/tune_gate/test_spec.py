"""study.yaml becomes a specification, or one line that says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tune_gate.dotted import parse_change, with_changes
from tune_gate.errors import Misuse, SpecError
from tune_gate.spec import StudySpec, load_spec, parse_spec, study_spec

ONE_RATE = {"lr": {"log-float": [0.01, 0.5]}}


def complaint(mapping: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as raised:
        study_spec(mapping)
    message = str(raised.value)
    assert "\n" not in message
    return message


# --- what is right


def test_nothing_is_a_study() -> None:
    spec = study_spec({})
    assert (spec.name, spec.seed, spec.trials, spec.epochs, spec.metric) == ("study", 0, 16, 27, "val_acc")
    assert (spec.scheduler.kind, spec.sampler.kind) == ("promotion", "tpe-rung")
    assert spec.milestones == (3, 9)
    assert spec.search_space.name == "gate-core"
    assert spec.base_config.epochs == 27
    assert spec.default_point == spec.first_points[0]
    assert spec.first_points[1]["schedule"] == "cosine"


def test_a_specification_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        study_spec({}).trials = 3  # type: ignore[misc]


def test_it_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: night\ntrials: 5\nepochs: 9\nconfig: {data: synthetic, lr: 1e-2}\n"
        "space:\n  lr_gate: {log-float: [1e-4, 1e-1]}\nscheduler: {rungs: [3, 1]}\nsampler: {kind: random}\n"
    )
    spec = load_spec(path)
    assert (spec.name, spec.trials, spec.epochs, spec.milestones) == ("night", 5, 9, (1, 3))
    assert spec.base_config.lr == 0.01
    assert spec.search_space.names == ("lr_gate",)


def test_an_empty_file_is_the_default_study(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("# nothing yet\n")
    assert load_spec(path) == study_spec({})


def test_changes_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("trials: 5\nscheduler: {kind: asha, reduction_factor: 4}\n")
    changes = dict(map(parse_change, ["trials=7", "scheduler.kind=full", "config.depth=20", "sampler.explore=0.5"]))
    spec = load_spec(path, changes)
    assert (spec.trials, spec.base_config.depth, spec.sampler.explore) == (7, 20, 0.5)
    assert (spec.scheduler.kind, spec.scheduler.reduction_factor) == ("full", 4)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("trials=20", ("trials", 20)),
        ("scheduler.rungs=[1, 3]", ("scheduler.rungs", [1, 3])),
        ("config.data=npz:a=b.npz", ("config.data", "npz:a=b.npz")),
        (" name = x ", ("name", "x")),
        ("scheduler.grace_period=", ("scheduler.grace_period", None)),
    ],
)
def test_a_change_is_a_key_and_a_yaml_value(text: str, change: tuple[str, Any]) -> None:
    assert parse_change(text) == change


def test_changes_leave_the_given_mapping_alone() -> None:
    given_mapping = {"config": {"lr": 0.1}}
    assert with_changes(given_mapping, {"config.lr": 0.2, "scheduler.kind": "full"}) == {
        "config": {"lr": 0.2},
        "scheduler": {"kind": "full"},
    }
    assert given_mapping == {"config": {"lr": 0.1}}


@pytest.mark.parametrize(
    ("scheduler", "epochs", "milestones"),
    [
        ({}, 27, (3, 9)),
        ({}, 9, (1, 3)),
        ({}, 10, (2, 6)),
        ({}, 1, ()),
        ({"reduction_factor": 2}, 27, (3, 6, 12, 24)),
        ({"grace_period": 1}, 27, (1, 3, 9)),
        ({"grace_period": 26}, 27, (26,)),
        ({"rungs": [9, 2, 9]}, 27, (2, 9)),
        ({"rungs": []}, 27, ()),
        ({"kind": "full"}, 27, ()),
    ],
)
def test_rungs(scheduler: dict[str, Any], epochs: int, milestones: tuple[int, ...]) -> None:
    assert study_spec({"epochs": epochs, "scheduler": scheduler}).milestones == milestones


def test_trial_settings_are_complete_plain_and_of_the_trial() -> None:
    spec = study_spec({"config": {"data": "synthetic", "depth": 20}, "epochs": 9, "seed": 5})
    settings = spec.trial_settings({"lr": 0.3, "milestones": (0.4, 0.6)}, seed=77, epochs=30)
    assert json.loads(json.dumps(settings)) == settings
    assert (settings["lr"], settings["depth"], settings["seed"], settings["epochs"]) == (0.3, 20, 77, 30)
    assert settings.keys() == spec.base_config.model_dump().keys()


def test_a_space_is_tried_on_whole_points_and_not_value_by_value() -> None:
    """Depth 14, the default, does not exist for bottlenecks; but no point of this space has it."""
    spec = study_spec({"space": {"block": {"choice": ["basic", "bottleneck"]}, "depth": 20}})
    assert spec.search_space.size() == 2
    paths = {"init": {"choice": ["scratch", "baseline"]}, "baseline": {"fixed": "x.pt", "when": {"init": "baseline"}}}
    assert study_spec({"space": paths}).search_space.size() == 2


# --- what is wrong, and the one line about it


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"trial": 3}, "unknown key 'trial'; did you mean 'trials'?"),
        ({"sheduler": {}}, "unknown key 'sheduler'; did you mean 'scheduler'?"),
        ({"scheduler": {"rung": [1]}}, "unknown key 'rung'; did you mean 'rungs'? (in 'scheduler')"),
        ({"resources": {"gpu": 1}}, "unknown key 'gpu'; did you mean 'gpus'? (in 'resources')"),
        ({"config": {"lrr": 0.1}}, "unknown setting 'lrr'; did you mean 'lr'?"),
        ({"config": {"preset": "greyc-2018"}}, "unknown preset 'greyc-2018'; did you mean 'greyc-2019'?"),
        ({"config": {"schedule": "cosin"}}, "unknown schedule 'cosin'; did you mean 'cosine'?"),
        ({"config": {"schedule_gate": "stepp"}}, "unknown gate schedule 'stepp'; did you mean 'step'?"),
        ({"space": "gate-cor"}, "unknown search space 'gate-cor'; did you mean 'gate-core'?"),
        ({"space": {"base": "gate-wid"}}, "unknown search space 'gate-wid'; did you mean 'gate-wide'?"),
        ({"space": {"lrr": {"float": [0.1, 1]}}}, "unknown setting in the space: 'lrr'; did you mean 'lr'?"),
        (
            {"space": {"lr": {"flot": [0.1, 1]}}},
            "parameter 'lr': unknown kind of dimension 'flot'; did you mean 'float'?",
        ),
        (
            {"first": [{"lrr": 0.1}], "space": ONE_RATE},
            "unknown setting in 'first': 'lrr'; did you mean 'lr'?",
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(mapping: dict[str, Any], expected: str) -> None:
    assert complaint(mapping) == expected


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (
            {"trials": "many"},
            "'trials': input should be a valid integer, unable to parse string as an integer (given: 'many')",
        ),
        ({"trials": 0}, "'trials': input should be greater than or equal to 1 (given: 0)"),
        ({"trials": None}, "'trials': input should be a valid integer (given: None)"),
        ({"trials": True}, "'trials': true and false are no value for it (given: True)"),
        ({"seed": -1}, "'seed': input should be greater than or equal to 0 (given: -1)"),
        (
            {"scheduler": {"kind": "ahsa"}},
            "'scheduler.kind': input should be 'promotion', 'asha' or 'full' (given: 'ahsa')",
        ),
        (
            {"scheduler": {"rungs": [0]}},
            "'scheduler.rungs.0': input should be greater than or equal to 1 (given: 0)",
        ),
        (
            {"scheduler": 5},
            "'scheduler': input should be a group of settings (given: 5)",
        ),
        ({"sampler": {"explore": 1.5}}, "'sampler.explore': input should be less than or equal to 1 (given: 1.5)"),
        ({"resources": {"cpus": False}}, "'resources.cpus': true and false are no value for it (given: False)"),
        ({"resources": {"cpus": float("inf")}}, "'resources.cpus': input should be a finite number (given: inf)"),
        ({"checkpoints": {"keep": 1}}, "'checkpoints.keep': input should be greater than or equal to 2 (given: 1)"),
        ({"metric": "loss"}, "'metric': input should be 'val_acc' (given: 'loss')"),
        ({"resources": "aut"}, "'resources': input should be auto, or a group of settings (given: 'aut')"),
        ({"config": 5}, "'config': input should be a group of settings (given: 5)"),
        ({"config": {1: 2}}, "'config.1': input should be a valid string (given: 1)"),
        ({1: 2}, "'1': keys should be strings (given: 1)"),
        ({"space": 5}, "'space': input should be a group of settings (given: 5)"),
        (
            {"config": {"lr": "fast"}},
            "setting 'lr': input should be a valid number, unable to parse string as a number (given: 'fast')",
        ),
        ({"config": {"epochs": 3}}, "'config.epochs' belongs one level up: set 'epochs' of the study"),
        ({"config": {"seed": 3}}, "'config.seed' belongs one level up: set 'seed' of the study"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(mapping: dict[str, Any], expected: str) -> None:
    assert complaint(mapping) == expected


def test_a_name_must_do_as_a_folder() -> None:
    for name in ("a b", "../x", "", ".hidden", "a/b"):
        assert complaint({"name": name}).startswith("'name': string should match pattern")


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({}, "space 'study' has no parameters; name at least one"),
        (
            {"lr": {"log-float": [0, 1]}},
            "parameter 'lr': log-float range [0.0, 1.0] touches 0; low must be above 0",
        ),
        ({"lr": {"float": [0.5, 0.1]}}, "parameter 'lr': float range [0.5, 0.1] is reversed; low must be below high"),
        ({"lr": {"float": ["a", 1]}}, "parameter 'lr': a bound of float must be a finite number, not 'a'"),
        (
            {"epochs": {"int": [1, 3]}},
            "'epochs' cannot be searched: it is the search's budget; set 'epochs' of the study",
        ),
        ({"seed": {"int": [1, 3]}}, "'seed' cannot be searched: it is derived from the study's seed"),
        (
            {"label_noise": {"float": [0.0, 0.3]}},
            "'label_noise' cannot be searched: trials on different data cannot be compared",
        ),
        (
            {"preset": {"choice": ["greyc-2019"]}},
            "'preset' cannot be searched: it is a base for the others; set it in 'config'",
        ),
        (
            {"momentum": {"float": [0.5, 1.5]}},
            "space, 'momentum': setting 'momentum': input should be less than 1 (given: 1.5)",
        ),
        (
            {"lr": {"float": [-0.1, 0.5]}},
            "space, 'lr': setting 'lr': input should be greater than 0 (given: -0.1)",
        ),
        (
            {"block": {"choice": ["basic", "block"]}},
            "space, 'block': setting 'block': input should be 'basic' or 'bottleneck' (given: 'block')",
        ),
        (
            {"schedule": {"choice": ["multistep", "cosin"]}},
            "space, 'schedule': unknown schedule 'cosin'; did you mean 'cosine'?",
        ),
        (
            {"depth": {"int": [14, 20]}},
            "space, 'depth': depth 15 does not exist for block 'basic': it is 6n+2 with n >= 2 (nearest: 14)",
        ),
        (
            {
                "schedule": {"choice": ["multistep", "cosine"]},
                "milestones": {"choice": [[0.4, 0.6], [0.6, 0.4]], "when": {"schedule": "multistep"}},
            },
            "space, 'milestones': milestones [0.6, 0.4] are not in ascending order",
        ),
    ],
)
def test_a_space_that_no_trial_can_use_is_refused(space: dict[str, Any], expected: str) -> None:
    assert complaint({"space": space}) == expected


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"rungs": [3], "grace_period": 3}, "scheduler: give 'rungs' or 'grace_period', not both"),
        ({"kind": "full", "rungs": [3]}, "scheduler: kind 'full' has no rungs; use kind 'promotion' or 'asha'"),
        (
            {"grace_period": 27},
            "scheduler: grace_period 27 is not below epochs 27, so no trial would be stopped; say kind: full if that "
            "is meant",
        ),
        ({"rungs": [3, 27]}, "scheduler: rung 27 is not below epochs 27"),
    ],
)
def test_rungs_that_make_no_sense_are_refused(scheduler: dict[str, Any], expected: str) -> None:
    assert complaint({"scheduler": scheduler}) == expected


def test_a_first_point_must_lie_in_the_space() -> None:
    assert complaint({"space": ONE_RATE, "first": [{"lr": 7}]}) == "'first': {'lr': 7} lies outside the space"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trials: [1,", "{path} line 1 is not YAML: "),
        ("trials: 1\n\tepochs: 3", "{path} line 2 is not YAML: "),
        ("name: \x00", "{path} is not YAML: "),
        ("a: !!python/object:os.system {}", "{path} line 1 is not YAML: "),
        ("- a\n- b", "{path} is not a mapping of settings (for example `trials: 16`)"),
        ("16", "{path} is not a mapping of settings"),
        ("trials: 0", "{path}: 'trials': input should be"),
        ("space: gate-cor", "{path}: unknown search space 'gate-cor'; did you mean 'gate-core'?"),
    ],
)
def test_a_file_that_is_no_study_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as raised:
        load_spec(path)
    assert str(raised.value).startswith(expected.format(path=path))
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, reason in [(tmp_path / "absent.yaml", "No such file or directory"), (tmp_path, "Is a directory")]:
        with pytest.raises(SpecError) as raised:
            load_spec(path)
        assert str(raised.value) == f"cannot read {path}: {reason}"
    binary = tmp_path / "study.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match=r"cannot read .*: it is not a text file"):
        load_spec(binary)


@pytest.mark.parametrize("text", ["trials", "=3", " =3", ""])
def test_a_change_without_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="is not of the form KEY=VALUE"):
        parse_change(text)


def test_a_change_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^--set 'trials=\[': the value is not YAML$"):
        parse_change("trials=[")


def test_a_change_cannot_lead_through_a_value() -> None:
    with pytest.raises(SpecError, match=r"^S: cannot set 'config.lr.x': 'lr' is 0.1, not a group of settings$"):
        parse_spec("config: {lr: 0.1}", "S", {"config.lr.x": 3})
    with pytest.raises(SpecError, match=r"^S: unknown key 'trails'; did you mean 'trials'\?$"):
        parse_spec("", "S", {"trails": 3})


def test_a_wrong_specification_is_misuse() -> None:
    assert issubclass(SpecError, Misuse)


# --- what is kept


KEPT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "full": {"scheduler": {"kind": "full"}},
    "no rungs": {"scheduler": {"rungs": []}},
    "grace": {"epochs": 30, "scheduler": {"grace_period": 4, "reduction_factor": 2}},
    "own space": {
        "space": {
            "lr": {"log-float": ["1e-3", 0.5]},
            "schedule": {"choice": ["multistep", "cosine"]},
            "milestones": {"choice": [[0.4, 0.6], [0.5]], "when": {"schedule": "multistep"}},
            "momentum": 0.8,
        },
        "first": [{"lr": 0.2, "momentum": 0.8}],
    },
    "a base": {"space": {"base": "gate-wide", "lr": 0.1}, "sampler": {"kind": "random"}},
    "a preset": {"config": {"preset": "greyc-2020", "depth": 20}, "epochs": 60, "space": "greyc-grid"},
    "default outside": {"space": {"lr": {"float": [0.2, 0.3]}}},
}


@pytest.mark.parametrize("name", KEPT)
def test_a_record_is_read_back_with_the_same_meaning(name: str) -> None:
    spec = study_spec(KEPT[name])
    record = json.loads(json.dumps(spec.to_record()))
    again = study_spec(record)
    assert again.milestones == spec.milestones
    assert again.search_space.parameters == spec.search_space.parameters
    assert again.base_config == spec.base_config
    assert again.first_points == spec.first_points
    assert again.default_point == spec.default_point
    assert (again.sampler, again.resources, again.failures) == (spec.sampler, spec.resources, spec.failures)
    assert again.to_record() == spec.to_record()


def test_a_record_leaves_nothing_to_look_up() -> None:
    record = study_spec({}).to_record()
    assert record["scheduler"]["rungs"] == [3, 9]
    assert record["space"]["lr"] == {"log-float": [0.01, 0.5]}
    assert record["first"][0]["lr"] == 0.1


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from([*StudySpec.model_fields, "x"]), st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["kind", "lr", "float"]), inner),
    max_leaves=4,
), max_size=3))  # fmt: skip
def test_whatever_is_given_is_a_specification_or_one_line(mapping: dict[str, Any]) -> None:
    message = ""
    try:
        study_spec(yaml.safe_load(yaml.safe_dump(mapping)))
    except SpecError as error:
        message = str(error)
    assert "\n" not in message
