"""The values that a setting can take: JSON values without mappings, held immutably."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable
from numbers import Integral, Real
from typing import TypeAlias

from search_spaces.errors import SpaceError

#: What a setting can be; a list is held as a tuple.
Value: TypeAlias = "bool | int | float | str | tuple[Value, ...] | None"
#: What JSON and YAML write for it.
Json: TypeAlias = "bool | int | float | str | list[Json] | None"

#: `1e-3`: a number to YAML 1.2 and to every user, but text to PyYAML, which wants `1.0e-3`.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", re.ASCII)


def freeze(value: object) -> Value:
    """`value` in immutable form: lists become tuples, and text such as '1e-3' the number that it spells.

    Raises:
        SpaceError: it is not finite, or no JSON value, or a mapping.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return freeze(float(value)) if _EXPONENT.fullmatch(value) else value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        if not math.isfinite(value):
            raise SpaceError(f"a value must be finite, not {float(value)}")
        return float(value)
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    raise SpaceError(f"a value must be a number, text, true, false, null or a list, not {type(value).__name__}")


def thaw(value: Value) -> Json:
    """`value` as JSON and YAML write it: tuples become lists."""
    return [thaw(item) for item in value] if isinstance(value, tuple) else value


def identity(value: Value) -> Hashable:
    """A key that is equal for equal settings: 1 and 1.0 are one, 1 and true are two."""
    if isinstance(value, tuple):
        return ("list", *(identity(item) for item in value))
    return ("bool", value) if isinstance(value, bool) else value


def label(value: Value) -> str:
    """The JSON text of `value`: stable, and different for different values."""
    return json.dumps(thaw(value), ensure_ascii=False)


def shown(value: object) -> str:
    """`value` in a message for the user: text as it is, JSON otherwise."""
    if isinstance(value, str):
        return value
    try:
        return label(freeze(value))
    except SpaceError:
        return repr(value)
