"""A space: what is drawn from it, what it accepts, and what it refuses to be."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from spaces import finite_dimensions, generator, spaces

from search_spaces import (
    Choice,
    Condition,
    Fixed,
    Float,
    Int,
    LogFloat,
    Parameter,
    SearchSpace,
    SpaceError,
    parameters,
    search_space,
    space_from_mapping,
    space_to_mapping,
    when,
)

SEEDS = st.integers(0, 2**32)
SPACE = search_space(
    "example",
    lr=LogFloat(0.01, 0.5),
    schedule=Choice(("multistep", "cosine", "constant")),
    milestones=when(Choice(((0.4, 0.6), (0.5, 0.75))), schedule="multistep"),
    gamma=when(Float(0.05, 0.5), milestones=[(0.5, 0.75)]),
    momentum=0.9,
)


@given(spaces(), SEEDS)
def test_a_sample_is_a_point_and_repeats_with_the_seed(space: SearchSpace, seed: int) -> None:
    point = space.sample(generator(seed))
    assert space.validate(point) == point
    assert space.validate(json.loads(json.dumps(point))) == point
    assert space.sample(generator(seed)) == point
    assert space.project({**point, "unrelated": 1}) == point


@given(spaces(), SEEDS)
def test_exactly_the_active_parameters_are_drawn(space: SearchSpace, seed: int) -> None:
    point = space.sample(generator(seed))
    assert list(point) == [parameter.name for parameter in space.active(point)]
    for parameter in space.parameters:
        assert (parameter.name in point) == parameter.exists(point)


@given(spaces(), SEEDS)
def test_a_point_less_or_more_is_none(space: SearchSpace, seed: int) -> None:
    point = space.sample(generator(seed))
    assert not space.contains({**point, "unknown": 1})
    for name in point:
        assert not space.contains({key: value for key, value in point.items() if key != name})
    for parameter in space.parameters:
        if parameter.name not in point:
            assert not space.contains({**point, parameter.name: parameter.dimension.corners()[0]})


@given(spaces(finite_dimensions()), SEEDS)
def test_a_grid_holds_every_point_once(space: SearchSpace, seed: int) -> None:
    size = space.size()
    assert size is not None
    if size > 500:
        return
    points = list(space.grid())
    texts = {json.dumps(point, sort_keys=True) for point in points}
    assert len(points) == len(texts) == size
    assert all(space.contains(point) for point in points)
    assert json.dumps(space.sample(generator(seed)), sort_keys=True) in texts
    assert points == list(space.grid())


@given(spaces())
def test_a_space_survives_yaml_and_pickle(space: SearchSpace) -> None:
    text = yaml.safe_dump(space_to_mapping(space), sort_keys=False)
    read = space_from_mapping(yaml.safe_load(text), space.name)
    assert read == space
    assert repr(read) == repr(space)  # 1 stays 1, 1.0 stays 1.0
    assert pickle.loads(pickle.dumps(space)) == space  # noqa: S301  our own bytes


@given(spaces())
def test_corners_are_points_that_reach_every_corner(space: SearchSpace) -> None:
    reached = [(parameter.name, point[parameter.name]) for parameter, point in space.corners()]
    assert reached == [(p.name, corner) for p in space.parameters for corner in p.dimension.corners()]
    assert all(space.contains(point) for _, point in space.corners())


def test_the_size_of_a_large_space_is_not_counted_by_ones() -> None:
    space = search_space("large", a=Int(0, 10**12), b=when(Int(0, 10**12), a=[0, 1]))
    assert space.size() == (10**12 - 1) + 2 * (10**12 + 1)


def test_choose_is_asked_for_what_exists_and_not_for_what_is_fixed() -> None:
    asked = []

    def choose(parameter: Parameter) -> object:
        asked.append(parameter.name)
        return {"lr": 0.1, "schedule": "cosine"}[parameter.name]

    assert SPACE.suggest(choose) == {"lr": 0.1, "schedule": "cosine", "momentum": 0.9}
    assert asked == ["lr", "schedule"]


def test_a_choice_outside_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"parameter 'lr': '7' lies outside log-float \[0.01, 0.5\]"):
        SPACE.suggest(lambda _: 7)


POINT = {"lr": 0.1, "schedule": "multistep", "milestones": [0.4, 0.6], "momentum": 0.9}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ler": 0.1}, "unknown parameter of space 'example' 'ler'; did you mean 'lr'?"),
        ({"lr": 1.0}, "parameter 'lr': '1.0' lies outside log-float [0.01, 0.5]"),
        ({"schedule": "cosin"}, "parameter 'schedule': unknown choice 'cosin'; did you mean 'cosine'?"),
        (
            {"schedule": "cosine"},
            "parameter 'milestones' exists only where schedule is multistep; leave it out here",
        ),
        ({"gamma": 0.1}, "parameter 'gamma' exists only where milestones is [0.5, 0.75]; leave it out here"),
        ({"momentum": 0.8}, "parameter 'momentum': '0.8' is not the fixed value '0.9'"),
        ({"milestones": [0.5, 0.75]}, "parameter 'gamma' of space 'example' is missing; give it a value"),
    ],
)
def test_settings_that_are_no_point_are_refused(change: dict[str, object], message: str) -> None:
    assert SPACE.validate(POINT) == {**POINT, "milestones": (0.4, 0.6)}
    with pytest.raises(SpaceError) as caught:
        SPACE.validate({**POINT, **change})
    assert str(caught.value) == message


def test_project_takes_what_exists_and_gives_none_for_what_lies_outside() -> None:
    full = {**POINT, "gamma": 0.1, "depth": 14}
    assert SPACE.project(full) == {**POINT, "milestones": (0.4, 0.6)}
    assert SPACE.project({**full, "schedule": "constant"}) == {
        "lr": 0.1,
        "schedule": "constant",
        "momentum": 0.9,
    }
    assert SPACE.project({**full, "lr": 2.0}) is None
    assert SPACE.project({**full, "momentum": 0.5}) is None
    assert SPACE.project({**full, "schedule": object()}) is None
    assert SPACE.project({"lr": 0.1}) is None


def test_a_grid_wants_choices() -> None:
    assert SPACE.size() is None
    with pytest.raises(SpaceError) as caught:
        SPACE.grid()
    expected = "space 'example' has no grid: parameter 'lr' is continuous (log-float [0.01, 0.5]); give it choices"
    assert str(caught.value) == expected


def test_a_grid_goes_through_the_last_parameter_first() -> None:
    space = search_space("s", a=Choice(("x", "y")), b=when(Int(1, 2), a="y"), c=Choice((0, 1)))
    assert [tuple(point.values()) for point in space.grid()] == [
        ("x", 0),
        ("x", 1),
        ("y", 1, 0),
        ("y", 1, 1),
        ("y", 2, 0),
        ("y", 2, 1),
    ]


A, B = Parameter("a", Int(1, 3)), Parameter("b", Float(0, 1))


def _on(name: str, parent: str, *values: object) -> Parameter:
    return Parameter(name, Int(1, 3), Condition(parent, values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SearchSpace("s", ()), "space 's' has no parameters; name at least one"),
        (lambda: SearchSpace("s", (A, A)), "parameter 'a' is named twice; keep one"),
        (
            lambda: SearchSpace("s", (Parameter("lr", Int(1, 2)), _on("c", "lt", 1))),
            "parameter 'c': unknown parent 'lt'; did you mean 'lr'?",
        ),
        (
            lambda: SearchSpace("s", (_on("c", "a", 1), A)),
            "parameter 'c' depends on 'a', which comes later; put 'a' first",
        ),
        (
            lambda: SearchSpace("s", (_on("c", "d", 1), _on("d", "c", 1))),
            "parameter 'c': its conditions go in a circle, c -> d -> c; drop one",
        ),
        (
            lambda: search_space("s", c=when(Int(1, 2), c=1)),
            "parameter 'c': its conditions go in a circle, c -> c; drop one",
        ),
        (
            lambda: SearchSpace("s", (B, _on("c", "b", 0.5))),
            "parameter 'c': its parent 'b' is continuous (float [0.0, 1.0]); a parent takes choices",
        ),
        (
            lambda: SearchSpace("s", (A, _on("c", "a", 1, 4))),
            "parameter 'c': its condition on 'a' can never hold: '4' lies outside int [1, 3]",
        ),
        (lambda: Condition("a", ()), "its condition on 'a' names no value"),
        (lambda: Condition("a", (1, 1.0)), "its condition on 'a' names a value twice"),
        (
            lambda: Parameter("l r", A.dimension),
            "parameter 'l r': a name is made of letters, digits and underscores",
        ),
        (
            lambda: Parameter("base", A.dimension),
            "parameter 'base': this name is reserved for the space to start from",
        ),
        (
            lambda: when(Int(1, 2), a=1, b=2),
            "'when' takes one parent and its values, {parent: value}, not {'a': 1, 'b': 2}",
        ),
        (
            lambda: search_space("s", a={"x": 1}),
            "parameter 'a': a value must be a number, text, true, false, null or a list, not dict",
        ),
    ],
)
def test_an_ill_formed_space_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        build()
    assert str(caught.value) == message


def test_the_builder_moves_parents_first_and_keeps_the_order_otherwise() -> None:
    space = search_space("s", z=1, child=when(2, parent="x"), y=3, parent=when(Choice(("x",)), root=1), root=Int(1, 2))
    assert space.names == ("z", "root", "parent", "child", "y")


def test_an_extended_space_replaces_in_place_and_adds_at_the_end() -> None:
    wider = SPACE.extended("wider", parameters(batch_size=Choice((64, 128)), lr=Float(0.1, 0.2)))
    assert wider.names == (*SPACE.names, "batch_size")
    assert wider.parameters[0].dimension == Float(0.1, 0.2)
    assert wider.name == "wider"


def test_a_child_that_can_no_longer_exist_goes_with_its_own_children() -> None:
    assert SPACE.extended("s", parameters(schedule="cosine")).names == ("lr", "schedule", "momentum")
    kept = SPACE.extended("s", parameters(schedule="multistep"))
    assert kept.names == SPACE.names
    assert kept.parameters[1].dimension == Fixed("multistep")
    space = search_space("s", a=Int(1, 3), b=when(Float(0, 1), a=[1, 3]))
    assert space.extended("s", parameters(a=Int(2, 3))).parameters[1].condition == Condition("a", (3,))


def test_a_child_given_for_a_parent_that_cannot_is_still_refused() -> None:
    with pytest.raises(SpaceError, match="parameter 'x': its condition on 'schedule' can never hold"):
        SPACE.extended("s", parameters(schedule="cosine", x=when(1, schedule="multistep")))
