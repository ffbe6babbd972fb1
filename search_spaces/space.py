"""A search space: the set of points that a search draws from."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.dimensions import Fixed
from search_spaces.errors import SpaceError, unknown_name
from search_spaces.parameters import Condition, Parameter, by_name, check_condition, replaced
from search_spaces.values import Value, identity


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A value for every parameter that exists beside the others.

    Parents come before their children. As each parameter has at most one parent, a space is a forest.

    Raises:
        SpaceError: there are no parameters, or a name occurs twice, or a parent is unknown, continuous, comes
            after its child or in a circle, or cannot take a value that a condition wants.
    """

    name: str
    parameters: tuple[Parameter, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        if not self.parameters:
            raise SpaceError(f"space {self.name!r} has no parameters; name at least one")
        named = by_name(self.parameters)
        for place, parameter in enumerate(self.parameters):
            check_condition(parameter, named, self.names[:place])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all parameters, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def suggest(self, choose: Callable[[Parameter], object]) -> dict[str, Value]:
        """The point that `choose` picks: asked for each parameter that exists, in order, parents first.

        A fixed parameter is not asked for. SpaceError where `choose` returns a value outside the dimension.
        """

        def pick(parameter: Parameter) -> object:
            dimension = parameter.dimension
            return dimension.value if isinstance(dimension, Fixed) else choose(parameter)

        return self._walk(pick)

    def sample(self, rng: random.Random) -> dict[str, Value]:
        """A point drawn with `rng`: each parameter independently, where it exists."""
        return self._walk(lambda parameter: parameter.dimension.sample(rng))

    def active(self, settings: Mapping[str, object]) -> tuple[Parameter, ...]:
        """The parameters that exist beside the parents in `settings`; without its parent, none does."""
        point: dict[str, object] = {}
        found = []
        for parameter in self.parameters:
            if parameter.exists(point):
                found.append(parameter)
                if parameter.name in settings:
                    point[parameter.name] = settings[parameter.name]
        return tuple(found)

    def validate(self, settings: Mapping[str, object]) -> dict[str, Value]:
        """The point that `settings` spell, each value as its dimension holds it (a JSON list as a tuple).

        Raises:
            SpaceError: a key is unknown (the nearest is named), missing, or does not exist beside the others,
                or its value lies outside its dimension.
        """
        for name in settings:
            if name not in self.names:
                raise SpaceError(unknown_name(f"parameter of space {self.name!r}", name, self.names))

        def given(parameter: Parameter) -> object:
            if parameter.name not in settings:
                raise SpaceError(f"parameter {parameter.name!r} of space {self.name!r} is missing; give it a value")
            return settings[parameter.name]

        point = self._walk(given)
        for parameter in self.parameters:
            if parameter.name in settings and parameter.name not in point:
                raise SpaceError(
                    f"parameter {parameter.name!r} exists only where {parameter.condition}; leave it out here"
                )
        return point

    def contains(self, settings: Mapping[str, object]) -> bool:
        """Whether `settings` are a point: the keys that exist and no others, each inside its dimension."""
        try:
            self.validate(settings)
        except SpaceError:
            return False
        return True

    def project(self, settings: Mapping[str, object]) -> dict[str, Value] | None:
        """The point that agrees with `settings`, which may hold more keys; None where there is none."""
        try:
            return self.restricted(settings)
        except SpaceError:
            return None

    def restricted(self, settings: Mapping[str, object]) -> dict[str, Value]:
        """The same for a caller who wants to know why there is none, which a SpaceError says."""

        def given(parameter: Parameter) -> object:
            if parameter.name not in settings:
                raise SpaceError(f"parameter {parameter.name!r} has no value")
            return settings[parameter.name]

        return self._walk(given)

    def size(self) -> int | None:
        """How many points `grid` has; None where a dimension is continuous."""
        sizes: dict[str, int] = {}  # points of the tree that a parameter is the root of; children come first
        for parameter in reversed(self.parameters):
            values = parameter.dimension.finite()
            if values is None:
                return None
            children = self._children(parameter)
            deciding = {identity(value): value for _, condition in children for value in condition.values}
            sizes[parameter.name] = len(values) - len(deciding)  # values at which no child exists
            for value in deciding.values():
                here = {parameter.name: value}
                sizes[parameter.name] += math.prod(sizes[name] for name, on in children if on.holds(here))
        return math.prod(sizes[parameter.name] for parameter in self.parameters if parameter.condition is None)

    def grid(self) -> Iterator[dict[str, Value]]:
        """All points, each once; the last parameter varies fastest. SpaceError where one is continuous."""
        for parameter in self.parameters:
            if parameter.dimension.finite() is None:
                raise SpaceError(
                    f"space {self.name!r} has no grid: parameter {parameter.name!r} is continuous "
                    f"({parameter.dimension}); give it choices"
                )
        return _points(self.parameters, {})

    def corners(self) -> Iterator[tuple[Parameter, dict[str, Value]]]:
        """For each parameter, and each corner of its dimension, a point that has it there.

        The others are at a corner too, and exist where it needs them. For a caller who asks, before a search,
        whether a trial accepts everything that the space can draw.
        """
        for parameter in self.parameters:
            for corner in parameter.dimension.corners():
                wanted = {**self._ancestors(parameter), parameter.name: corner}
                yield parameter, self._walk(_corner_unless(wanted))

    def extended(self, name: str, parameters: Iterable[Parameter]) -> SearchSpace:
        """A space called `name` with `parameters` added; one of a known name replaces the old, in its place.

        An old child keeps the part of its condition that its parent can still meet, and goes where none is
        left. SpaceError as for a new space.
        """
        return SearchSpace(name, replaced(self.parameters, parameters))

    def _walk(self, pick: Callable[[Parameter], object]) -> dict[str, Value]:
        point: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.exists(point):
                point[parameter.name] = parameter.canonical(pick(parameter))
        return point

    def _children(self, parent: Parameter) -> list[tuple[str, Condition]]:
        conditions = ((p.name, p.condition) for p in self.parameters)
        return [(name, on) for name, on in conditions if on is not None and on.parent == parent.name]

    def _ancestors(self, parameter: Parameter) -> dict[str, Value]:
        """The values of its ancestors at which `parameter` exists, the first of each condition."""
        named = by_name(self.parameters)
        values: dict[str, Value] = {}
        condition = parameter.condition
        while condition is not None:
            values[condition.parent] = condition.values[0]
            condition = named[condition.parent].condition
        return values


def _corner_unless(wanted: Mapping[str, Value]) -> Callable[[Parameter], Value]:
    def pick(parameter: Parameter) -> Value:
        return wanted[parameter.name] if parameter.name in wanted else parameter.dimension.corners()[0]

    return pick


def _points(parameters: Sequence[Parameter], chosen: dict[str, Value]) -> Iterator[dict[str, Value]]:
    """Every way to go on from the `chosen` values through `parameters`."""
    if not parameters:
        yield chosen
        return
    parameter, rest = parameters[0], parameters[1:]
    if not parameter.exists(chosen):
        yield from _points(rest, chosen)
        return
    for value in parameter.dimension.finite() or ():
        yield from _points(rest, {**chosen, parameter.name: value})
