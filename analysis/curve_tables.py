"""Tables of recorded learning curves (`.npz`): what a search space gives, evaluated in full once and for all.

Keys: `X` (n, d), settings in the unit cube (a category as its index); `V` (n, T), the validation value after each
epoch, larger is better, NaN where it was not recorded. Optional: `S` (n, T), test values; `space`, a JSON list of the d
settings (`name`, `type` float, int or cat, `lo`, `hi`, `log`, `choices`); `unit`, `acc%` where values are percentages.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError


class TableUnreadable(AnalysisError):  # noqa: N818
    """There is no table of learning curves at this place."""


@dataclass(frozen=True)
class CurveTable:
    """Configurations on their own scale, and how each of them trained. Matrices are configurations x epochs."""

    name: str
    space: Mapping[str, Mapping[str, Any]]  # as a study's space has it
    points: tuple[Mapping[str, Any], ...]
    values: NDArray[np.float64]  # validation; larger is better; NaN where not recorded
    tests: NDArray[np.float64]  # NaN where not known
    unit: str = ""  # as the table says it
    named: bool = True  # whether the table says what its settings are


def read_curve_table(path: Path) -> CurveTable:
    """The table at `path`.

    Raises:
        TableUnreadable: there is no such file, or it is no such table.
    """
    cells = _cells(path)
    points, values = cells["X"], cells["V"]
    tests = cells.get("S", np.full_like(values, np.nan))
    if points.ndim != 2 or values.ndim != 2 or len(points) != len(values) or tests.shape != values.shape:
        shapes = f"X {points.shape}, V {values.shape}" + (f", S {tests.shape}" if "S" in cells else "")
        raise TableUnreadable(f"{path}: {shapes} must be (n, d) and (n, T)")
    try:
        axes = json.loads(str(cells["space"])) if "space" in cells else _plain_axes(points.shape[1])
        space = {axis["name"]: _dimension(axis) for axis in axes}
        settings = tuple(_point(axes, row) for row in points.tolist())
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise TableUnreadable(f"{path}: its space and X do not fit: {type(error).__name__}: {error}") from None
    return CurveTable(path.stem, space, settings, values, tests, str(cells.get("unit", "")), "space" in cells)


def _cells(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as table:
            cells = {name: np.asarray(table[name]) for name in table.files}
        numbers = {name: cells[name].astype(np.float64) for name in ("X", "V")}
        if "S" in cells:
            numbers["S"] = cells["S"].astype(np.float64)
    except FileNotFoundError:
        raise TableUnreadable(f"there is no file {path}") from None
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise TableUnreadable(f"{path} is no table of learning curves: {error}") from None
    return {**cells, **numbers}


def _plain_axes(count: int) -> list[dict[str, Any]]:
    return [{"name": f"x{axis + 1}", "type": "float", "lo": 0.0, "hi": 1.0} for axis in range(count)]


def _dimension(axis: Mapping[str, Any]) -> dict[str, Any]:
    if axis["type"] == "cat":
        return {"choice": axis["choices"]}
    return {("log-" if axis.get("log") else "") + axis["type"]: [axis["lo"], axis["hi"]]}


def _point(axes: Sequence[Mapping[str, Any]], row: Sequence[float]) -> dict[str, Any]:
    return {axis["name"]: _setting(axis, share) for axis, share in zip(axes, row, strict=True)}


def _setting(axis: Mapping[str, Any], share: float) -> Any:
    if axis["type"] == "cat":
        return axis["choices"][int(share)]
    low, high = axis["lo"], axis["hi"]
    value = low * (high / low) ** share if axis.get("log") else low + share * (high - low)
    return round(value) if axis["type"] == "int" else min(max(value, low), high)
