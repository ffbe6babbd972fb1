"""Ranges: real or whole numbers between two bounds, both included, on a linear or a log scale."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar, Self

from search_spaces.dimension import Dimension
from search_spaces.errors import SpaceError
from search_spaces.values import Json, shown

#: Whole numbers up to here are exact as floats, which samplers compute with.
_LARGEST_INT = 2**53


def _two_bounds(kind: str, form: object) -> Sequence[object]:
    if not isinstance(form, list | tuple) or len(form) != 2:
        raise SpaceError(f"{kind} takes two bounds [low, high], not {shown(form)}")
    return form


def _refuse_empty(kind: str, low: float, high: float) -> None:
    if low == high:
        raise SpaceError(f"{kind} range [{low}, {high}] is empty; low must be below high (one value is 'fixed')")
    if low > high:
        raise SpaceError(f"{kind} range [{low}, {high}] is reversed; low must be below high")


def _refuse_zero(kind: str, low: float, high: float) -> None:
    if low <= 0:
        raise SpaceError(f"{kind} range [{low}, {high}] touches 0; low must be above 0")


def _finite(value: object) -> float | None:
    """`value` as a float; None where it is no number (true is none), or too large for one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _real_bound(kind: str, bound: object) -> float:
    number = _finite(bound)
    if number is None:
        raise SpaceError(f"a bound of {kind} must be a finite number, not {shown(bound)!r}")
    return number


def _spelt(bound: object) -> object:
    """A bound that YAML read as text, such as 1e-3, as the number that it spells."""
    try:
        return float(bound) if isinstance(bound, str) else bound
    except ValueError:
        return bound


@dataclass(frozen=True, slots=True)
class _FloatRange(Dimension):
    low: float
    high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", _real_bound(self.kind, self.low))
        object.__setattr__(self, "high", _real_bound(self.kind, self.high))
        _refuse_empty(self.kind, self.low, self.high)

    @classmethod
    def from_form(cls, form: object) -> Self:
        low, high = map(_spelt, _two_bounds(cls.kind, form))
        return cls(low, high)  # type: ignore[arg-type]  # __post_init__ checks what YAML gave

    def to_form(self) -> Json:
        return [self.low, self.high]

    def canonical(self, value: object) -> float:
        number = _finite(value)
        if number is None or not self.low <= number <= self.high:
            raise SpaceError(f"{shown(value)!r} lies outside {self}")
        return number

    def _clamped(self, value: float) -> float:
        return min(max(value, self.low), self.high)  # rounding may step over a bound

    def finite(self) -> None:
        return None

    def corners(self) -> tuple[float, float]:
        return (self.low, self.high)


@dataclass(frozen=True, slots=True)
class Float(_FloatRange):
    """Real numbers from `low` to `high`, both included."""

    kind: ClassVar[str] = "float"

    def sample(self, rng: random.Random) -> float:
        """A number drawn uniformly."""
        share = rng.random()
        return self._clamped(self.low * (1 - share) + self.high * share)


@dataclass(frozen=True, slots=True)
class LogFloat(_FloatRange):
    """Real numbers from `low` > 0 to `high`, both included, drawn uniformly on a log scale."""

    kind: ClassVar[str] = "log-float"

    def __post_init__(self) -> None:
        _FloatRange.__post_init__(self)
        _refuse_zero(self.kind, self.low, self.high)

    def sample(self, rng: random.Random) -> float:
        """A number drawn uniformly on a log scale."""
        return self._clamped(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))


@dataclass(frozen=True, slots=True)
class _IntRange(Dimension):
    low: int
    high: int

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            bound: object = getattr(self, name)
            if isinstance(bound, bool) or not isinstance(bound, Integral):
                raise SpaceError(f"a bound of {self.kind} must be a whole number, not {shown(bound)!r}")
            if abs(int(bound)) > _LARGEST_INT:
                raise SpaceError(f"a bound of {self.kind} must lie within ±2**53, not at {int(bound)}")
            object.__setattr__(self, name, int(bound))
        _refuse_empty(self.kind, self.low, self.high)

    @classmethod
    def from_form(cls, form: object) -> Self:
        low, high = _two_bounds(cls.kind, form)
        return cls(low, high)  # type: ignore[arg-type]  # __post_init__ checks what YAML gave

    def to_form(self) -> Json:
        return [self.low, self.high]

    def canonical(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral) or not self.low <= int(value) <= self.high:
            raise SpaceError(f"{shown(value)!r} lies outside {self}")
        return int(value)

    def finite(self) -> range:
        return range(self.low, self.high + 1)

    def corners(self) -> tuple[int, int]:
        return (self.low, self.high)


@dataclass(frozen=True, slots=True)
class Int(_IntRange):
    """Whole numbers from `low` to `high`, both included."""

    kind: ClassVar[str] = "int"

    def sample(self, rng: random.Random) -> int:
        """A whole number drawn uniformly."""
        return rng.randint(self.low, self.high)


@dataclass(frozen=True, slots=True)
class LogInt(_IntRange):
    """Whole numbers from `low` >= 1 to `high`, both included, drawn uniformly on a log scale."""

    kind: ClassVar[str] = "log-int"

    def __post_init__(self) -> None:
        _IntRange.__post_init__(self)
        _refuse_zero(self.kind, self.low, self.high)

    def sample(self, rng: random.Random) -> int:
        """A whole number drawn on a log scale: n stands for the interval from n - 1/2 to n + 1/2."""
        drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
        return min(max(round(drawn), self.low), self.high)
