"""The conformance suite of dimensions: a new kind passes it after adding its examples."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import fields
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spaces import generator

from search_spaces import DIMENSIONS, Choice, Dimension, Fixed, Float, Int, LogFloat, LogInt, SpaceError

#: At least one example of every kind, and a value outside it.
EXAMPLES: list[tuple[Dimension, object]] = [
    (Float(-1.0, 2.0), 2.1),
    (Float(-1e308, 1e308), math.inf),
    (LogFloat(1e-4, 0.5), 0.0),
    (Int(-3, 3), 4),
    (LogInt(1, 1000), 0),
    (Choice(("multistep", "cosine", None, True, 1, 0.5, (0.4, 0.6), ("a", ("b",)))), "step"),
    (Choice((1,)), True),
    (Fixed((133, 200)), (133,)),
    (Fixed(0), False),
]
BOTH = pytest.mark.parametrize(("dimension", "outside"), EXAMPLES, ids=str)
EACH = pytest.mark.parametrize("dimension", [dimension for dimension, _ in EXAMPLES], ids=str)


def test_every_kind_has_an_example() -> None:
    assert {type(dimension) for dimension, _ in EXAMPLES} == set(DIMENSIONS.values())
    assert all(kind == dimension.kind for kind, dimension in DIMENSIONS.items())


@EACH
def test_samples_lie_inside_and_depend_on_the_generator_only(dimension: Dimension) -> None:
    drawn = [dimension.sample(rng) for rng in [generator(7)] for _ in range(200)]
    assert all(dimension.contains(value) for value in drawn)
    assert drawn == [dimension.sample(rng) for rng in [generator(7)] for _ in range(200)]


@EACH
def test_a_value_survives_json(dimension: Dimension) -> None:
    for value in [dimension.sample(generator(3)), *dimension.corners()]:
        read = dimension.canonical(json.loads(json.dumps(dimension.encode(value))))
        assert read == value
        assert type(read) is type(value)


@BOTH
def test_what_lies_outside_is_refused_in_one_line(dimension: Dimension, outside: object) -> None:
    for value in (outside, math.nan, math.inf, {"a": 1}, object(), 10**400, "no such value", b"1"):
        assert not dimension.contains(value)
        with pytest.raises(SpaceError, match=r"\A[^\n]+\Z"):
            dimension.canonical(value)


@EACH
def test_corners_lie_inside(dimension: Dimension) -> None:
    assert dimension.corners()
    assert all(dimension.contains(corner) for corner in dimension.corners())


@EACH
def test_a_finite_dimension_lists_each_value_once(dimension: Dimension) -> None:
    values = dimension.finite()
    if values is None:
        assert isinstance(dimension, Float | LogFloat)
        return
    assert all(dimension.contains(value) for value in values)
    keys = [json.dumps(dimension.encode(value)) for value in values]
    assert len(set(keys)) == len(keys)
    assert json.dumps(dimension.encode(dimension.sample(generator(1)))) in keys


@EACH
def test_it_is_read_back_from_its_form(dimension: Dimension) -> None:
    form = json.loads(json.dumps(dimension.to_form()))
    assert type(dimension).from_form(form) == dimension


@EACH
def test_it_is_frozen_hashable_and_picklable(dimension: Dimension) -> None:
    assert hash(dimension) == hash(pickle.loads(pickle.dumps(dimension)))  # noqa: S301  our own bytes
    assert pickle.loads(pickle.dumps(dimension)) == dimension  # noqa: S301
    with pytest.raises(AttributeError):
        setattr(dimension, fields(dimension)[0].name, 0)  # type: ignore[arg-type]


@EACH
def test_its_text_is_one_line_that_begins_with_the_kind(dimension: Dimension) -> None:
    assert str(dimension).startswith(f"{dimension.kind} ")
    assert "\n" not in str(dimension)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Float(1.0, 0.0), "float range [1.0, 0.0] is reversed; low must be below high"),
        (
            lambda: Float(1, 1),
            "float range [1.0, 1.0] is empty; low must be below high (one value is 'fixed')",
        ),
        (lambda: Float(math.nan, 1), "a bound of float must be a finite number, not 'nan'"),
        (lambda: Float(0, 10**400), f"a bound of float must be a finite number, not '{10**400}'"),
        (lambda: Float(low=False, high=1), "a bound of float must be a finite number, not 'false'"),
        (lambda: LogFloat(0, 1), "log-float range [0.0, 1.0] touches 0; low must be above 0"),
        (lambda: LogFloat(-1, 1), "log-float range [-1.0, 1.0] touches 0; low must be above 0"),
        (lambda: LogInt(0, 9), "log-int range [0, 9] touches 0; low must be above 0"),
        (lambda: Int(1.0, 3), "a bound of int must be a whole number, not '1.0'"),  # type: ignore[arg-type]
        (lambda: Int(low=1, high=True), "a bound of int must be a whole number, not 'true'"),
        (lambda: Int(3, 1), "int range [3, 1] is reversed; low must be below high"),
        (lambda: Int(0, 2**60), f"a bound of int must lie within ±2**53, not at {2**60}"),
        (lambda: Choice(()), "choice has no values; name at least one"),
        (lambda: Choice("abc"), "choice takes a list of values, not 'abc'"),  # type: ignore[arg-type]
        (lambda: Choice((1, 2, 1.0)), "choice names '1.0' twice; keep one"),
        (lambda: Choice((math.inf,)), "a value must be finite, not inf"),
        (
            lambda: Fixed({"a": 1}),  # type: ignore[arg-type]
            "a value must be a number, text, true, false, null or a list, not dict",
        ),
    ],
)
def test_an_ill_formed_dimension_is_refused(build: object, message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        build()  # type: ignore[operator]
    assert str(caught.value) == message


def test_logarithmic_dimensions_are_drawn_on_a_log_scale() -> None:
    rng = generator(0)
    reals = [LogFloat(1e-4, 1.0).sample(rng) for _ in range(4000)]
    wholes = [LogInt(1, 9999).sample(rng) for _ in range(4000)]
    assert median(reals) == pytest.approx(1e-2, rel=0.2)
    assert median(wholes) == pytest.approx(70, rel=0.2)  # sqrt(0.5 * 9999.5)


def test_every_whole_number_and_choice_is_drawn() -> None:
    rng = generator(0)
    assert {Int(1, 3).sample(rng) for _ in range(200)} == {1, 2, 3}
    assert {LogInt(1, 4).sample(rng) for _ in range(400)} == {1, 2, 3, 4}
    assert {Choice(("a", "b", "c")).sample(rng) for _ in range(200)} == {"a", "b", "c"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(JSON, min_size=1, max_size=5))
def test_labels_are_distinct_and_stand_for_their_values(values: list[object]) -> None:
    try:
        choice = Choice(values)  # type: ignore[arg-type]
    except SpaceError as error:
        assert str(error).endswith("twice; keep one")  # noqa: PT017  the only fault that JSON values can have
        return
    assert len(set(choice.labels())) == len(choice.values)
    for value in choice.values:
        assert choice.value_of(choice.label(value)) == value


def test_an_unknown_label_or_choice_names_the_nearest() -> None:
    choice = Choice(("multistep", "cosine"))
    with pytest.raises(SpaceError, match="unknown choice 'cosin'; did you mean 'cosine'"):
        choice.canonical("cosin")
    with pytest.raises(SpaceError, match="unknown label of a choice 'cosine'; did you mean"):
        choice.value_of("cosine")


def test_equal_numbers_are_one_setting_but_true_is_not_1() -> None:
    choice = Choice((1, True, (0.0, 3)))
    assert choice.canonical(1.0) is choice.values[0]
    assert choice.canonical(json.loads("true")) is choice.values[1]
    assert choice.canonical([0, 3.0]) is choice.values[2]


def test_numbers_of_numpy_are_taken_as_plain_ones() -> None:
    assert type(Float(0, 1).canonical(np.float32(0.5))) is float
    assert type(Int(0, 3).canonical(np.int64(2))) is int
    assert Choice((np.float64(0.5), 2)).labels() == ("0.5", "2")


def test_an_exponent_that_yaml_reads_as_text_is_a_number() -> None:
    assert Choice(("1e-3", "5E-4", "2019")).values == (0.001, 0.0005, "2019")
    assert LogFloat.from_form(["1e-3", "0.5"]) == LogFloat(0.001, 0.5)
