"""What every dimension offers: a set of values, with a way to draw from it and to write it down."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

from search_spaces.errors import SpaceError
from search_spaces.values import Json, Value, freeze, label, thaw


class Dimension(ABC):
    """A set of values. Immutable, hashable and picklable; validated at construction (SpaceError)."""

    __slots__ = ()

    kind: ClassVar[str]  # its name in YAML and in DIMENSIONS

    @classmethod
    @abstractmethod
    def from_form(cls, form: object) -> Self:
        """The dimension that YAML describes by `{kind: form}`; SpaceError where it describes none."""

    @abstractmethod
    def to_form(self) -> Json:
        """What `from_form` reads back as an equal dimension."""

    @abstractmethod
    def canonical(self, value: object) -> Value:
        """`value` as this dimension holds it (a list as a tuple); SpaceError where it lies outside."""

    @abstractmethod
    def sample(self, rng: random.Random) -> Value:
        """A value drawn with `rng`: uniformly, on a log scale where the dimension is logarithmic."""

    @abstractmethod
    def finite(self) -> Sequence[Value] | None:
        """All values in a fixed order; None where the dimension is continuous."""

    @abstractmethod
    def corners(self) -> Sequence[Value]:
        """The extreme values of a range, or every choice."""

    def contains(self, value: object) -> bool:
        """Whether `value` lies inside; lists count as tuples, 1 as 1.0, but true not as 1."""
        try:
            self.canonical(value)
        except SpaceError:
            return False
        return True

    def encode(self, value: object) -> Json:
        """`value` as JSON writes it; `canonical` reads it back. SpaceError where it lies outside."""
        return thaw(self.canonical(value))

    def __str__(self) -> str:
        return f"{self.kind} {label(freeze(self.to_form()))}"
