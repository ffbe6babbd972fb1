"""The YAML form: what it says, and one line for everything that it cannot say."""

from __future__ import annotations

import pytest
import yaml

from search_spaces import (
    SPACES,
    Choice,
    Condition,
    Fixed,
    Float,
    Int,
    LogFloat,
    LogInt,
    Parameter,
    SearchSpace,
    SpaceError,
    search_space,
    space_from_mapping,
    space_to_mapping,
    when,
)

EVERYTHING = """
lr: {log-float: [1e-3, 0.5]}
momentum: {float: [0.8, 0.99]}
gate_iters: {int: [1, 3]}
gate_hidden: {log-int: [64, 1024]}
schedule: {choice: [multistep, cosine, constant]}
milestones: {choice: [[0.4, 0.6], [0.5, 0.75]], when: {schedule: multistep}}
warmup_epochs: {fixed: 1, when: {schedule: [cosine, constant]}}
gamma: {float: [0.05, 0.5], when: {milestones: [[0.4, 0.6]]}}
weight_decay: {choice: [1e-4, 5e-4]}
batch_size: 128
block: {fixed: basic}
"""


def test_every_kind_is_read() -> None:
    assert space_from_mapping(yaml.safe_load(EVERYTHING), "all") == SearchSpace(
        "all",
        (
            Parameter("lr", LogFloat(1e-3, 0.5)),
            Parameter("momentum", Float(0.8, 0.99)),
            Parameter("gate_iters", Int(1, 3)),
            Parameter("gate_hidden", LogInt(64, 1024)),
            Parameter("schedule", Choice(("multistep", "cosine", "constant"))),
            Parameter("milestones", Choice(((0.4, 0.6), (0.5, 0.75))), Condition("schedule", ("multistep",))),
            Parameter("warmup_epochs", Fixed(1), Condition("schedule", ("cosine", "constant"))),
            Parameter("gamma", Float(0.05, 0.5), Condition("milestones", ((0.4, 0.6),))),
            Parameter("weight_decay", Choice((1e-4, 5e-4))),
            Parameter("batch_size", Fixed(128)),
            Parameter("block", Fixed("basic")),
        ),
    )


def test_the_python_form_says_the_same() -> None:
    python = search_space(
        "s",
        lr=LogFloat(0.01, 0.5),
        schedule=Choice(("multistep", "cosine")),
        milestones=when(Choice(((0.4, 0.6), (0.5, 0.75))), schedule="multistep"),
        gate_period=when(50, schedule=["cosine"]),
        momentum=0.9,
    )
    text = """
    lr: {log-float: [0.01, 0.5]}
    schedule: {choice: [multistep, cosine]}
    milestones: {choice: [[0.4, 0.6], [0.5, 0.75]], when: {schedule: multistep}}
    gate_period: {fixed: 50, when: {schedule: cosine}}
    momentum: 0.9
    """
    assert space_from_mapping(yaml.safe_load(text), "s") == python
    assert space_to_mapping(python) == yaml.safe_load(text)


def test_a_child_may_be_written_before_its_parent() -> None:
    text = "{milestones: {fixed: [0.5], when: {schedule: multistep}}, schedule: {choice: [multistep, cosine]}}"
    assert space_from_mapping(yaml.safe_load(text), "s").names == ("schedule", "milestones")


def test_a_base_is_extended_narrowed_and_replaced() -> None:
    assert space_from_mapping({"base": "gate-core"}, "gate-core") == SPACES["gate-core"]
    text = "{base: gate-core, schedule: cosine, lr: {float: [0.1, 0.2]}, momentum: 0.8}"
    space = space_from_mapping(yaml.safe_load(text), "mine")
    assert space.name == "mine"
    assert space.names == (
        "lr",
        "lr_gate",
        "gate_iters",
        "schedule",
        "schedule_gate",
        "gate_period",
        "momentum",
    )
    assert space.parameters[0] == Parameter("lr", Float(0.1, 0.2))
    assert space_from_mapping(space_to_mapping(space), "mine") == space


KINDS = "float, log-float, int, log-int, choice, fixed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[lr]", "space 's' must map parameters to dimensions, not be list"),
        ("{}", "space 's' has no parameters; name at least one"),
        ("{lr: {}}", f"parameter 'lr': names no kind of dimension; name one of {KINDS}"),
        ("{lr: {when: {a: 1}}}", f"parameter 'lr': names no kind of dimension; name one of {KINDS}"),
        (
            "{lr: {float: [0, 1], int: [0, 1]}}",
            f"parameter 'lr': names 2 kinds of dimension (float, int); name one of {KINDS}",
        ),
        (
            "{lr: {logfloat: [0, 1]}}",
            "parameter 'lr': unknown kind of dimension 'logfloat'; did you mean 'log-float'?",
        ),
        (
            "{lr: {int: [0, 1], whn: 1}}",
            "parameter 'lr': unknown kind of dimension 'whn'; did you mean 'when'?",
        ),
        ("{lr: {float: [0.1]}}", "parameter 'lr': float takes two bounds [low, high], not [0.1]"),
        ("{lr: {float: [0, 1, 2]}}", "parameter 'lr': float takes two bounds [low, high], not [0, 1, 2]"),
        ("{lr: {float: 0.1}}", "parameter 'lr': float takes two bounds [low, high], not 0.1"),
        ("{lr: {float: {low: 1}}}", "parameter 'lr': float takes two bounds [low, high], not {'low': 1}"),
        ("{lr: {float: []}}", "parameter 'lr': float takes two bounds [low, high], not []"),
        ("{lr: {float: [a, 1]}}", "parameter 'lr': a bound of float must be a finite number, not 'a'"),
        ("{lr: {float: [.nan, 1]}}", "parameter 'lr': a bound of float must be a finite number, not 'nan'"),
        ("{lr: {float: [0, 1e999]}}", "parameter 'lr': a bound of float must be a finite number, not 'inf'"),
        (
            "{lr: {float: [1, 1e-1]}}",
            "parameter 'lr': float range [1.0, 0.1] is reversed; low must be below high",
        ),
        (
            "{lr: {float: [1, 1]}}",
            "parameter 'lr': float range [1.0, 1.0] is empty; low must be below high (one value is 'fixed')",
        ),
        (
            "{lr: {log-float: [0, 1]}}",
            "parameter 'lr': log-float range [0.0, 1.0] touches 0; low must be above 0",
        ),
        ("{n: {int: [1, 2.5]}}", "parameter 'n': a bound of int must be a whole number, not '2.5'"),
        ("{n: {int: [1, true]}}", "parameter 'n': a bound of int must be a whole number, not 'true'"),
        ("{n: {int: [1, x]}}", "parameter 'n': a bound of int must be a whole number, not 'x'"),
        ("{n: {log-int: [0, 8]}}", "parameter 'n': log-int range [0, 8] touches 0; low must be above 0"),
        ("{n: {choice: []}}", "parameter 'n': choice has no values; name at least one"),
        ("{n: {choice: a}}", "parameter 'n': choice takes a list of values, not 'a'"),
        ("{n: {choice: [a, b, a]}}", "parameter 'n': choice names 'a' twice; keep one"),
        (
            "{n: {choice: [{a: 1}]}}",
            "parameter 'n': a value must be a number, text, true, false, null or a list, not dict",
        ),
        ("{n: .inf}", "parameter 'n': a value must be finite, not inf"),
        (
            "{n: 2020-01-01}",
            "parameter 'n': a value must be a number, text, true, false, null or a list, not date",
        ),
        ("{2: 1}", "parameter 2: a name is made of letters, digits and underscores"),
        ("{2: {int: [1, 2]}}", "parameter 2: a name is made of letters, digits and underscores"),
        ("{gate-iters: 1}", "parameter 'gate-iters': a name is made of letters, digits and underscores"),
        (
            "{n: {fixed: 1, when: m}}",
            "parameter 'n': 'when' takes one parent and its values, {parent: value}, not 'm'",
        ),
        (
            "{n: {fixed: 1, when: {a: 1, b: 2}}}",
            "parameter 'n': 'when' takes one parent and its values, {parent: value}, not {'a': 1, 'b': 2}",
        ),
        ("{n: {fixed: 1, when: {m: []}}}", "parameter 'n': its condition on 'm' names no value"),
        (
            "{schedule: {choice: [a]}, n: {fixed: 1, when: {schedul: a}}}",
            "parameter 'n': unknown parent 'schedul'; did you mean 'schedule'?",
        ),
        (
            "{schedule: {choice: [cosine]}, n: {fixed: 1, when: {schedule: cosin}}}",
            "parameter 'n': its condition on 'schedule' can never hold: unknown choice 'cosin'; did you mean 'cosine'?",
        ),
        ("{base: gate-cor}", "unknown search space 'gate-cor'; did you mean 'gate-core'?"),
        ("{base: 1}", "unknown search space '1'; known: gate-core, gate-wide, greyc-grid"),
    ],
)
def test_bad_input_is_refused_in_one_line_that_names_the_parameter(text: str, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space_from_mapping(yaml.safe_load(text), "s")
    assert str(caught.value) == message
