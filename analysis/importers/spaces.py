"""The search space of foreign trials, made from the values that were tried where the source does not know it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from analysis.importers.foreign import Dimension

#: Up to so many distinct numbers are a choice among them, if each was tried twice on average; more are a range.
_MOST_CHOICES = 10

#: A range of positive numbers that spans this factor is taken as one on a log scale; a rate needs less.
_LOG_FACTOR, _LOG_FACTOR_OF_RATES = 100.0, 5.0
_RATE = re.compile(r"(^|[/_.])(lr|learning_?rate|weight_?decay|wd)($|[/_.])", re.IGNORECASE)


def made_space(settings: Iterable[Mapping[str, Any]]) -> dict[str, Dimension]:
    """A dimension for each setting, in the order in which they appear."""
    values: dict[str, list[Any]] = {}
    for point in settings:
        for name, value in point.items():
            values.setdefault(name, []).append(value)
    return {name: _dimension(name, found) for name, found in values.items()}


def _dimension(name: str, values: list[Any]) -> Dimension:
    distinct = list({json.dumps(value, sort_keys=True): value for value in values}.values())
    kinds = {type(value) for value in distinct}
    if len(distinct) <= min(_MOST_CHOICES, max(1, len(values) // 2)) or not kinds <= {int, float}:
        ordered = sorted(distinct) if kinds <= {int, float} else distinct
        return {"choice": ordered}
    low, high = min(distinct), max(distinct)
    kind = "int" if kinds == {int} else "float"
    factor = _LOG_FACTOR_OF_RATES if _RATE.search(name) else _LOG_FACTOR
    return {f"log-{kind}" if low > 0 and high / low >= factor else kind: [low, high]}
