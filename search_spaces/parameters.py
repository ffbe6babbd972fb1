"""Parameters: named dimensions, with the condition under which they exist, and the forest that they form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from search_spaces.dimensions import Dimension
from search_spaces.errors import SpaceError, unknown_name
from search_spaces.values import Json, Value, freeze, identity, shown, thaw


@dataclass(frozen=True, slots=True)
class Condition:
    """The parent parameter exists and has one of `values`; SpaceError where these are none or repeat."""

    parent: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        values = tuple(freeze(value) for value in self.values)
        if not values:
            raise SpaceError(f"its condition on {self.parent!r} names no value")
        if len({identity(value) for value in values}) < len(values):
            raise SpaceError(f"its condition on {self.parent!r} names a value twice")
        object.__setattr__(self, "values", values)

    @classmethod
    def from_form(cls, form: object) -> Condition:
        """The condition that `{parent: value}` or `{parent: [value, ...]}` describes; or SpaceError."""
        if not isinstance(form, Mapping) or len(form) != 1:
            raise SpaceError(f"'when' takes one parent and its values, {{parent: value}}, not {form!r}")
        ((parent, values),) = form.items()
        return cls(str(parent), tuple(values) if isinstance(values, list | tuple) else (values,))

    def to_form(self) -> dict[str, Json]:
        """What `from_form` reads back as an equal condition."""
        first = self.values[0]
        alone = len(self.values) == 1 and not isinstance(first, tuple)  # a list would be read as several values
        return {self.parent: thaw(first if alone else self.values)}

    def holds(self, point: Mapping[str, object]) -> bool:
        """Whether `point` has the parent, at one of the values."""
        if self.parent not in point:
            return False
        return identity(freeze(point[self.parent])) in {identity(value) for value in self.values}

    def __str__(self) -> str:
        return f"{self.parent} is {' or '.join(shown(value) for value in self.values)}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting that varies along `dimension`, and exists only where `condition` holds."""

    name: str
    dimension: Dimension
    condition: Condition | None = None

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not name.isidentifier():
            raise SpaceError(f"parameter {name!r}: a name is made of letters, digits and underscores")
        if name == "base":
            raise SpaceError("parameter 'base': this name is reserved for the space to start from")

    def exists(self, point: Mapping[str, object]) -> bool:
        """Whether the parameter exists beside the parents in `point`."""
        return self.condition is None or self.condition.holds(point)

    def canonical(self, value: object) -> Value:
        """`value` as the dimension holds it; SpaceError, with the parameter's name, where it lies outside."""
        try:
            return self.dimension.canonical(value)
        except SpaceError as error:
            raise SpaceError(f"parameter {self.name!r}: {error}") from None


def by_name(parameters: Iterable[Parameter]) -> dict[str, Parameter]:
    """The parameters under their names, in order; SpaceError where a name occurs twice."""
    named: dict[str, Parameter] = {}
    for parameter in parameters:
        if parameter.name in named:
            raise SpaceError(f"parameter {parameter.name!r} is named twice; keep one")
        named[parameter.name] = parameter
    return named


def check_condition(parameter: Parameter, named: Mapping[str, Parameter], earlier: Iterable[str]) -> None:
    """Raise SpaceError unless the parent is `earlier`, finite, and can take the values wanted."""
    condition = parameter.condition
    if condition is None:
        return
    where, parent = f"parameter {parameter.name!r}", condition.parent
    if parent not in named:
        raise SpaceError(f"{where}: {unknown_name('parent', parent, named)}")
    circle = _circle(parameter, named)
    if circle:
        raise SpaceError(f"{where}: its conditions go in a circle, {' -> '.join(circle)}; drop one")
    if parent not in earlier:
        raise SpaceError(f"{where} depends on {parent!r}, which comes later; put {parent!r} first")
    dimension = named[parent].dimension
    if dimension.finite() is None:
        raise SpaceError(f"{where}: its parent {parent!r} is continuous ({dimension}); a parent takes choices")
    for value in condition.values:
        try:
            dimension.canonical(value)
        except SpaceError as error:
            raise SpaceError(f"{where}: its condition on {parent!r} can never hold: {error}") from None


def _circle(parameter: Parameter, named: Mapping[str, Parameter]) -> Sequence[str]:
    """The way from `parameter` over its parents back to a parameter on that way; empty where it ends."""
    way = [parameter.name]
    condition = parameter.condition
    while condition is not None and condition.parent in named:
        way.append(condition.parent)
        if condition.parent in way[:-1]:
            return way
        condition = named[condition.parent].condition
    return ()


def parents_first(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """The parameters with every parent moved before its first child; the order is otherwise kept.

    Circles and unknown parents are left for the space to refuse.
    """
    named = by_name(parameters)
    placed: dict[str, Parameter] = {}
    for parameter in named.values():
        branch = [parameter]  # from the parameter up to the first ancestor that is placed, or to the root
        condition = parameter.condition
        while condition is not None and condition.parent in named:
            ancestor = named[condition.parent]
            if ancestor.name in placed or ancestor in branch:
                break
            branch.append(ancestor)
            condition = ancestor.condition
        placed.update((member.name, member) for member in reversed(branch) if member.name not in placed)
    return tuple(placed.values())


def replaced(old: Iterable[Parameter], new: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """The `old` parameters with the `new` ones in the place of their namesakes, or at the end; parents first.

    An old child keeps the part of its condition that its parent can still meet, and goes where none is left.
    """
    given = by_name(new)
    kept: dict[str, Parameter] = {}
    for parameter in (by_name(old) | given).values():
        possible = parameter if parameter.name in given else _still_possible(parameter, kept)
        if possible is not None:
            kept[parameter.name] = possible
    return parents_first(kept.values())


def _still_possible(child: Parameter, parents: Mapping[str, Parameter]) -> Parameter | None:
    condition = child.condition
    if condition is None:
        return child
    parent = parents.get(condition.parent)
    if parent is None:
        return None
    values = tuple(value for value in condition.values if parent.dimension.contains(value))
    return replace(child, condition=Condition(condition.parent, values)) if values else None
