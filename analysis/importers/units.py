"""Units of the number by which foreign trials are ranked, and how each becomes one of which more is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

#: To `val_acc`, from the metric in that unit: accuracies and error rates become fractions, other scores stay.
UNITS: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "fraction": lambda value: value,
        "percent": lambda value: value / 100.0,
        "error": lambda value: 1.0 - value,
        "error-percent": lambda value: 1.0 - value / 100.0,
        "score": lambda value: value,
        "loss": lambda value: -value,
    }
)

#: Names under which programs record a validation accuracy, the likeliest first.
ACCURACIES = (
    "val_acc", "val_accuracy", "validation_accuracy", "valid_acc", "mean_accuracy", "accuracy", "acc", "score", "value",
)  # fmt: skip


def guess_unit(values: Iterable[float]) -> str:
    """The unit of a metric of which more is better: fraction in [0, 1], percent in [0, 100], else score."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or (min(finite) >= 0.0 and max(finite) <= 1.0):
        return "fraction"
    return "percent" if min(finite) >= 0.0 and max(finite) <= 100.0 else "score"


def guess_metric(names: Iterable[str]) -> str | None:
    """Which of `names` is an accuracy on validation data, if one is."""
    known = {name.lower().replace("/", "_"): name for name in names}
    return next((known[name] for name in ACCURACIES if name in known), None)
