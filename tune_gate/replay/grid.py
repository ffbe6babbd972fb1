"""Grid search over a space that may have no grid of its own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from search_spaces import Choice, Dimension, Fixed, Parameter, SearchSpace
from tune_gate.errors import SpecError
from tune_gate.samplers import derived_seed
from tune_gate.unit_cube import value_at

#: More points than any replay needs; a grid of a space with many numbers soon has millions.
_LARGEST = 100_000


def grid_points(space: SearchSpace, levels: int) -> list[dict[str, Any]]:
    """The points of the grid in which every number with more than `levels` values has so many, each in the middle of
    an equal part of its range, on the scale on which it is drawn.

    Raises:
        SpecError: there are too many of them.
    """
    deciding = {parameter.condition.parent for parameter in space.parameters if parameter.condition is not None}
    coarse = SearchSpace(
        space.name,
        tuple(
            parameter if parameter.name in deciding else replace(parameter, dimension=_coarse(parameter, levels))
            for parameter in space.parameters
        ),
    )
    points = list(itertools.islice(coarse.grid(), _LARGEST + 1))
    if len(points) > _LARGEST:
        raise SpecError(f"a grid with {levels} levels has more than {_LARGEST:,} points; set sampler.levels lower")
    return points


def shuffled_grid(space: SearchSpace, levels: int, seed: int) -> list[dict[str, Any]]:
    """The points of the grid in a random order: a budget that ends before the grid does sees all parts of it."""
    points = grid_points(space, levels)
    random.Random(derived_seed(seed, "grid")).shuffle(points)  # noqa: S311  not for secrets
    return points


def _coarse(parameter: Parameter, levels: int) -> Dimension:
    known = parameter.dimension.finite()
    if isinstance(parameter.dimension, Choice | Fixed) or (known is not None and len(known) <= levels):
        return parameter.dimension
    middles = [(level + 0.5) / levels for level in range(levels)]
    values: Mapping[Any, None] = dict.fromkeys(value_at(parameter, middle) for middle in middles)
    return Choice(tuple(values))
