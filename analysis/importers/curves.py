"""A table of recorded learning curves (`.npz`): each configuration a trial; see docs/import.md."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from analysis.curve_tables import CurveTable, TableUnreadable, read_curve_table
from analysis.importers.foreign import (
    ForeignEpoch,
    ForeignState,
    ForeignStudy,
    ForeignTrial,
    ImportFailed,
    ImportOptions,
)
from analysis.importers.units import UNITS, guess_unit

#: What a table's own words for its unit mean here.
_UNITS = {"acc%": "percent", "acc": "fraction", "-loss": "score"}


def read(source: str, options: ImportOptions) -> ForeignStudy:
    """The study in the table at `source`: an epoch that was not recorded is absent, a curve that ends early stopped.

    A table has no times: each trial has its first epoch after one second, its second after two.

    Raises:
        ImportFailed: there is no such table, or another metric is asked for than it has.
    """
    try:
        table = read_curve_table(Path(source))
    except TableUnreadable as error:
        raise ImportFailed(str(error)) from None
    if options.metric not in (None, "val_acc"):
        raise ImportFailed(f"a table of curves has one validation value and no {options.metric!r}")
    unit = options.unit or _UNITS.get(table.unit) or guess_unit(table.values.ravel().tolist())
    trials = tuple(_trials(table, unit, options.val_images))
    return ForeignStudy(table.name, trials, tuple(_notes(table, unit)), table.space)


def _trials(table: CurveTable, unit: str, val_images: int | None) -> Iterator[ForeignTrial]:
    images = {"val_images": float(val_images)} if val_images else {}
    convert = UNITS[unit]
    for row, point in enumerate(table.points):
        curve = zip(table.values[row].tolist(), table.tests[row].tolist(), strict=True)
        epochs = tuple(
            ForeignEpoch(
                epoch,
                float(epoch),
                {"val_acc": convert(value), **({} if math.isnan(test) else {"test_acc": convert(test)}), **images},
            )
            for epoch, (value, test) in enumerate(curve, start=1)
            if not math.isnan(value)
        )
        state, reason = _end(epochs, table.values.shape[1])
        yield ForeignTrial(f"trial {row}", point, epochs, state, 0.0, reason=reason)


def _end(epochs: tuple[ForeignEpoch, ...], length: int) -> tuple[ForeignState, str]:
    if not epochs:
        return "failed", "the table has no value of it"
    if not math.isfinite(epochs[-1].metrics["val_acc"]):
        return "diverged", ""
    return ("completed" if epochs[-1].epoch == length else "stopped"), ""


def _notes(table: CurveTable, unit: str) -> Iterator[str]:
    yield f"val_acc is the table's validation value, read as {unit}; say --unit if that is wrong"
    yield "a table of curves has no times: an epoch counts as a second"
    if not table.named:
        yield "the table does not name its settings: they are x1, x2, … in the unit cube"
