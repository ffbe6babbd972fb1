"""A table as text for people: headings in words, accuracies in percent, intervals beside their value."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

HEADINGS = {
    "val_acc": "Validation accuracy (%)",
    "last_val_acc": "Last validation accuracy (%)",
    "late_val_acc": "Late validation accuracy (%)",
    "test_acc": "Test accuracy (%)",
    "tied": "Tied with the best",
    "val_loss": "Validation loss",
    "lr": "Learning rate",
    "lr_gate": "Gate learning rate",
    "gate_iters": "Gate iterations",
}

#: Columns that hold fractions and are shown in percent.
_PERCENT = ("_acc", "_acc_low", "_acc_high", "_acc_given", "_acc_true", "_acc_sd", "optimism", "difference",
            "difference_low", "difference_high", "difference_sd")  # fmt: skip

#: Those of them that are small, and need another digit.
_SMALL = ("_acc_sd", "optimism", "difference", "difference_low", "difference_high", "difference_sd")


@dataclass(frozen=True, slots=True)
class Display:
    """A table as text; a missing value is an empty string."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]  # by column: whether it is aligned to the right


def display_table(table: pd.DataFrame) -> Display:
    """`table` as text. A value with columns NAME_low and NAME_high beside it reads "93.4 [92.7, 94.0]"."""
    names = [str(name) for name in table.columns]
    hidden = {name + end for name in names for end in ("_low", "_high") if _has_interval(name, names)}
    shown = [name for name in names if name not in hidden]
    values = {name: column_values(table[name]) for name in names}
    columns = []
    for name in shown:
        texts = [_text(name, value) for value in values[name]]
        if _has_interval(name, names):
            ends = zip(values[name + "_low"], values[name + "_high"], strict=True)
            texts = [_with_interval(name, text, *pair) for text, pair in zip(texts, ends, strict=True)]
        columns.append(texts)
    return Display(
        tuple(heading(name) for name in shown),
        tuple(zip(*columns, strict=True)),
        tuple(all(value is None or _is_number(value) for value in values[name]) for name in shown),
    )


def heading(name: str) -> str:
    """The heading of a column: a known one in words, another as its name with spaces."""
    if name in HEADINGS:
        return HEADINGS[name]
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:] + (" (%)" if name.endswith(_PERCENT) else "")


def column_values(column: pd.Series[Any]) -> list[Any]:
    """The values as Python objects, None for a missing one."""
    return [None if missing else value for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)]


def _has_interval(name: str, names: list[str]) -> bool:
    return f"{name}_low" in names and f"{name}_high" in names


def _with_interval(name: str, text: str, low: Any, high: Any) -> str:
    if not text or low is None or high is None:
        return text
    return f"{text} [{_text(name, low)}, {_text(name, high)}]"


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name.endswith(_PERCENT) and _is_number(value):
        decimals = 2 if name.endswith(_SMALL) else 1
        return f"{round(100.0 * value, decimals) + 0.0:.{decimals}f}"  # never -0.00
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not _is_number(value):
        return str(value)
    if isinstance(value, Integral):
        return str(value)
    return f"{value:.0f}" if 1000.0 <= abs(value) < 1e6 else f"{value:.3g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
