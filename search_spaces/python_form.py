"""The Python form of a search space: `search_space("mine", lr=LogFloat(0.01, 0.5), momentum=0.9)`."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.dimensions import Dimension, Fixed
from search_spaces.errors import SpaceError
from search_spaces.parameters import Condition, Parameter, parents_first
from search_spaces.space import SearchSpace


@dataclass(frozen=True, slots=True)
class Conditional:
    """A dimension together with the condition under which it exists; made by `when`."""

    dimension: Dimension
    condition: Condition


def when(dimension: object, /, **parent: object) -> Conditional:
    """`dimension`, or a fixed value, where one parent has a value, or one of a list of values.

    `when(Choice(((0.4, 0.6), (0.5, 0.75))), schedule="multistep")`. SpaceError unless one parent is named.
    """
    return Conditional(_dimension(dimension), Condition.from_form(parent))


def parameters(**dimensions: object) -> tuple[Parameter, ...]:
    """Parameters from dimensions, `when(...)` or plain values, which are fixed; parents are moved first.

    Raises:
        SpaceError: a value is none that a setting can take; the parameter is named.
    """
    return parents_first(_parameter(name, form) for name, form in dimensions.items())


def search_space(name: str, /, **dimensions: object) -> SearchSpace:
    """A space called `name` with a parameter for each keyword; see `parameters`. SpaceError as there."""
    return SearchSpace(name, parameters(**dimensions))


def _parameter(name: str, form: object) -> Parameter:
    if isinstance(form, Conditional):
        return Parameter(name, form.dimension, form.condition)
    try:
        return Parameter(name, _dimension(form))
    except SpaceError as error:
        raise SpaceError(f"parameter {name!r}: {error}") from None


def _dimension(form: object) -> Dimension:
    return form if isinstance(form, Dimension) else Fixed.from_form(form)
