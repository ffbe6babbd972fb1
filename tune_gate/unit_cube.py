"""A search space as the unit cube: each point a vector, so that points have distances and densities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import Choice, Fixed, Float, Int, LogFloat, LogInt, Parameter, SearchSpace

Vector = NDArray[np.float64]


class UnitCube:
    """The parameters of a space that vary, as the axes of a cube.

    A number lies between 0 and 1 on the scale on which it is drawn (a whole number in the middle of its share); a
    choice is the index of its value; a parameter that does not exist beside the others is NaN.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.axes: tuple[Parameter, ...] = tuple(p for p in space.parameters if not isinstance(p.dimension, Fixed))
        self.choices: tuple[int, ...] = tuple(  # how many values a choice has; 0 for a number
            len(axis.dimension.values) if isinstance(axis.dimension, Choice) else 0 for axis in self.axes
        )

    def encode(self, settings: Mapping[str, Any]) -> Vector:
        """The vector of a point, of shape (number of axes,)."""
        return np.array([_encode(axis, settings[axis.name]) if axis.name in settings else np.nan for axis in self.axes])

    def decode(self, vector: Vector) -> dict[str, Any]:
        """The point at `vector`; coordinates of parameters that do not exist there are not looked at."""
        coordinates = dict(zip((axis.name for axis in self.axes), vector.tolist(), strict=True))
        return dict(self._space.suggest(lambda parameter: value_at(parameter, coordinates[parameter.name])))


def _encode(axis: Parameter, value: Any) -> float:
    match axis.dimension:
        case Choice() as choice:
            return float(choice.values.index(choice.canonical(value)))
        case Float(low=low, high=high):
            return _share(value, low, high)
        case LogFloat(low=low, high=high):
            return _share(math.log(value), math.log(low), math.log(high))
        case Int(low=low, high=high):
            return _share(value, low - 0.5, high + 0.5)
        case LogInt(low=low, high=high):
            return _share(math.log(value), math.log(low - 0.5), math.log(high + 0.5))
        case other:
            raise TypeError(f"no axis for a dimension of type {type(other).__name__}")


def value_at(axis: Parameter, share: float) -> Any:
    """The value of a parameter at a coordinate: between 0 and 1 for a number, its index for a choice."""
    match axis.dimension:
        case Choice(values=values):
            return values[int(share)]
        case Float(low=low, high=high):
            return min(max(low + share * (high - low), low), high)
        case LogFloat(low=low, high=high):
            return min(max(math.exp(math.log(low) + share * math.log(high / low)), low), high)
        case Int(low=low, high=high):
            return min(max(round(low - 0.5 + share * (high - low + 1)), low), high)
        case LogInt(low=low, high=high):
            start, end = math.log(low - 0.5), math.log(high + 0.5)
            return min(max(round(math.exp(start + share * (end - start))), low), high)
        case other:
            raise TypeError(f"no axis for a dimension of type {type(other).__name__}")


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5
