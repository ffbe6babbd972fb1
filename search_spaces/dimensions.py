"""Dimensions: the sets of values that one setting may take, and the registry of their kinds.

A new dimension is a subclass of `Dimension` and an entry in `DIMENSIONS`; the conformance tests in
tests/search_spaces/test_dimensions.py run over that registry.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

from search_spaces.dimension import Dimension
from search_spaces.errors import SpaceError, unknown_name
from search_spaces.ranges import Float, Int, LogFloat, LogInt
from search_spaces.values import Json, Value, freeze, identity, label, shown, thaw

__all__ = ["DIMENSIONS", "Choice", "Dimension", "Fixed", "Float", "Int", "LogFloat", "LogInt"]


@dataclass(frozen=True, slots=True)
class Choice(Dimension):
    """One of several distinct values of any kind; lists are held as tuples. No order is assumed."""

    kind: ClassVar[str] = "choice"

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        values: object = self.values
        if not isinstance(values, list | tuple):
            raise SpaceError(f"{self.kind} takes a list of values, not {shown(values)!r}")
        if not values:
            raise SpaceError(f"{self.kind} has no values; name at least one")
        object.__setattr__(self, "values", tuple(freeze(value) for value in values))
        seen = set()
        for value in self.values:
            if identity(value) in seen:
                raise SpaceError(f"{self.kind} names {shown(value)!r} twice; keep one")
            seen.add(identity(value))

    @classmethod
    def from_form(cls, form: object) -> Self:
        """The choice among the listed values."""
        return cls(form)  # type: ignore[arg-type]  # __post_init__ checks what YAML gave

    def to_form(self) -> Json:
        """The list of values."""
        return [thaw(value) for value in self.values]

    def canonical(self, value: object) -> Value:
        """The choice that equals `value`; SpaceError, with the nearest choice, where there is none."""
        wanted = identity(freeze(value))
        for choice in self.values:
            if identity(choice) == wanted:
                return choice
        raise SpaceError(unknown_name("choice", shown(value), map(shown, self.values)))

    def sample(self, rng: random.Random) -> Value:
        """One of the values, each as likely as any other."""
        return rng.choice(self.values)

    def finite(self) -> tuple[Value, ...]:
        """The values, in the order given."""
        return self.values

    def corners(self) -> tuple[Value, ...]:
        """The values, in the order given."""
        return self.values

    def label(self, value: object) -> str:
        """The text that stands for `value` where only text is accepted; SpaceError where it lies outside."""
        return label(self.canonical(value))

    def labels(self) -> tuple[str, ...]:
        """The labels of all values, in the order given."""
        return tuple(label(value) for value in self.values)

    def value_of(self, text: str) -> Value:
        """The value that `text` is the label of; SpaceError, with the nearest label, where there is none."""
        for value in self.values:
            if label(value) == text:
                return value
        raise SpaceError(unknown_name("label of a choice", text, self.labels()))


@dataclass(frozen=True, slots=True)
class Fixed(Dimension):
    """One value, always."""

    kind: ClassVar[str] = "fixed"

    value: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", freeze(self.value))

    @classmethod
    def from_form(cls, form: object) -> Self:
        """The value itself."""
        return cls(form)  # type: ignore[arg-type]  # __post_init__ checks what YAML gave

    def to_form(self) -> Json:
        """The value itself."""
        return thaw(self.value)

    def canonical(self, value: object) -> Value:
        """The fixed value, where `value` equals it; SpaceError otherwise."""
        if identity(freeze(value)) != identity(self.value):
            raise SpaceError(f"{shown(value)!r} is not the fixed value {shown(self.value)!r}")
        return self.value

    def sample(self, rng: random.Random) -> Value:  # noqa: ARG002  every dimension samples alike
        """The value; nothing is drawn from `rng`."""
        return self.value

    def finite(self) -> tuple[Value, ...]:
        """The one value."""
        return (self.value,)

    def corners(self) -> tuple[Value, ...]:
        """The one value."""
        return (self.value,)


#: Every kind of dimension, by its name in YAML.
DIMENSIONS: Mapping[str, type[Dimension]] = MappingProxyType(
    {dimension.kind: dimension for dimension in (Float, LogFloat, Int, LogInt, Choice, Fixed)}
)
