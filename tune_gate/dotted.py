"""Settings by dotted keys, `scheduler.kind` for one of a group: as `--set` and the log give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tune_gate.errors import SpecError


def with_changes(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `mapping` in which each dotted key of `changes` is set.

    Raises:
        SpecError: a key leads through a value that is no mapping.
    """
    result = dict(mapping)
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place = result
        for step in path:
            inner = place.get(step, {})
            if not isinstance(inner, dict):
                raise SpecError(f"cannot set {dotted!r}: {step!r} is {inner!r}, not a group of settings")
            place[step] = dict(inner)
            place = place[step]
        place[last] = value
    return result


def flat_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a spec's record by dotted key, its groups opened."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": setting for inner, setting in value.items()}
        else:
            flat[name] = value
    return flat


def parse_change(text: str) -> tuple[str, Any]:
    """`a.b=value` as (dotted key, YAML value).

    Raises:
        SpecError: there is no `=`, no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SpecError(f"--set {text!r} is not of the form KEY=VALUE (for example --set trials=20)")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise SpecError(f"--set {text!r}: the value is not YAML") from None
