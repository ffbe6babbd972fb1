"""Arbitrary search spaces for property tests."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from search_spaces import (
    Choice,
    Condition,
    Dimension,
    Fixed,
    Float,
    Int,
    LogFloat,
    LogInt,
    Parameter,
    SearchSpace,
)

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=5)
VALUES = SCALARS | st.lists(SCALARS, max_size=3).map(tuple)


def generator(seed: int) -> random.Random:
    return random.Random(seed)


def _setting(value: object) -> object:
    """1, 1.0 and -0.0 are each one setting with its equal; true is not 1."""
    return Fixed(value).canonical(value), isinstance(value, bool)  # type: ignore[arg-type]


@st.composite
def finite_dimensions(draw: st.DrawFn) -> Dimension:
    kind = draw(st.sampled_from(["int", "log-int", "choice", "fixed"]))
    low, width = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    if kind == "int":
        return Int(low - 3, low - 3 + width)
    if kind == "log-int":
        return LogInt(low, low + width)
    if kind == "fixed":
        return Fixed(draw(VALUES))
    return Choice(tuple(draw(st.lists(SCALARS, min_size=1, max_size=4, unique_by=_setting))))


@st.composite
def continuous_dimensions(draw: st.DrawFn) -> Dimension:
    low, width = draw(st.floats(1e-3, 10)), draw(st.floats(0.1, 10))
    return draw(st.sampled_from([Float(low, low + width), LogFloat(low, low + width)]))


@st.composite
def spaces(draw: st.DrawFn, dimensions: st.SearchStrategy[Dimension] | None = None) -> SearchSpace:
    """A space of up to six parameters, each of which may hang on an earlier finite one."""
    drawn = finite_dimensions() | continuous_dimensions() if dimensions is None else dimensions
    parameters: list[Parameter] = []
    for number in range(draw(st.integers(1, 6))):
        parents = [p for p in parameters if p.dimension.finite() is not None]
        condition = None
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            values = list(parent.dimension.finite() or ())
            places = draw(st.lists(st.sampled_from(range(len(values))), min_size=1, unique=True))
            condition = Condition(parent.name, tuple(values[place] for place in places))
        parameters.append(Parameter(f"p{number}", draw(drawn), condition))
    return SearchSpace("drawn", tuple(parameters))
