"""The YAML form of a search space, as `yaml.safe_load` hands it over.

    lr: {log-float: [0.01, 0.5]}
    gate_iters: {int: [1, 3]}                  # both included
    schedule: {choice: [multistep, cosine]}
    milestones: {choice: [[0.4, 0.6], [0.5, 0.75]], when: {schedule: multistep}}
    momentum: 0.9                              # or {fixed: 0.9}
    base: gate-core                            # optional: the space to start from

`when` takes one value of the parent or a list of them; a value that is a list goes into such a list. Keys
beside `base` add parameters or replace those of the same name, condition and all. The order of keys is the
order of parameters, except that parents come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from search_spaces.catalog import named_space
from search_spaces.dimensions import DIMENSIONS, Dimension, Fixed
from search_spaces.errors import SpaceError, unknown_name
from search_spaces.parameters import Condition, Parameter, parents_first
from search_spaces.space import SearchSpace
from search_spaces.values import Json

#: One parameter: a plain value, or `{kind: ..., when: ...}`.
Form: TypeAlias = "Json | dict[str, Json | dict[str, Json]]"


def space_from_mapping(mapping: object, name: str) -> SearchSpace:
    """The space that a YAML mapping describes.

    Raises:
        SpaceError: it is no mapping, or a dimension, condition, kind or base is ill-formed or unknown; the
            message names the parameter and the nearest known name.
    """
    if not isinstance(mapping, Mapping):
        raise SpaceError(f"space {name!r} must map parameters to dimensions, not be {type(mapping).__name__}")
    own = tuple(_parameter(key, form) for key, form in mapping.items() if key != "base")
    if "base" in mapping:
        return named_space(mapping["base"]).extended(name, own)
    return SearchSpace(name, parents_first(own))


def space_to_mapping(space: SearchSpace) -> dict[str, Form]:
    """The mapping, of JSON values only, that `space_from_mapping` reads back as an equal space."""
    return {parameter.name: _form(parameter) for parameter in space.parameters}


def _parameter(name: object, form: object) -> Parameter:
    condition = None
    try:
        if not isinstance(form, Mapping):
            return Parameter(name, Fixed.from_form(form))  # type: ignore[arg-type]  # Parameter checks the name
        if "when" in form:
            condition = Condition.from_form(form["when"])
        dimension = _dimension({key: value for key, value in form.items() if key != "when"})
    except SpaceError as error:
        raise SpaceError(f"parameter {name!r}: {str(error).removeprefix(f'parameter {name!r}: ')}") from None
    return Parameter(name, dimension, condition)  # type: ignore[arg-type]  # Parameter checks the name


def _dimension(form: Mapping[object, object]) -> Dimension:
    for kind in form:
        if kind not in DIMENSIONS:
            raise SpaceError(unknown_name("kind of dimension", kind, [*DIMENSIONS, "when"]))
    if len(form) != 1:
        found = f"{len(form)} kinds of dimension ({', '.join(map(str, form))})" if form else "no kind of dimension"
        raise SpaceError(f"names {found}; name one of {', '.join(DIMENSIONS)}")
    ((kind, argument),) = form.items()
    return DIMENSIONS[str(kind)].from_form(argument)


def _form(parameter: Parameter) -> Form:
    dimension, condition = parameter.dimension, parameter.condition
    if condition is not None:
        return {dimension.kind: dimension.to_form(), "when": condition.to_form()}
    if isinstance(dimension, Fixed):
        return dimension.to_form()
    return {dimension.kind: dimension.to_form()}
