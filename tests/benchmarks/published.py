"""The 24 published CIFAR-10 runs of depth 110 whose names say everything that varied among them."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np

from search_spaces import space_from_mapping
from tune_gate.replay.recorded import Matrix, RecordedCurves

SHARED = Path(__file__).resolve().parents[3] / "shared"
PUBLISHED = "cifar10-110"

_FOLDER = SHARED / "reference" / "greyc-runs"
_VARIED = ("init", "gate_iters", "lr_gate", "gate_schedule", "milestones", "gamma")


def published() -> RecordedCurves:
    """Their curves: validation accuracy in %, as published; durations are left out, as the searches count epochs."""
    rows = _rows()
    values = _columns(rows, "val_acc")
    choices = {name: {"choice": sorted({row[name] for row in rows})} for name in _VARIED}
    return RecordedCurves(
        name=PUBLISHED,
        space=space_from_mapping(choices, PUBLISHED),
        points=tuple({name: row[name] for name in _VARIED} for row in rows),
        values=values,
        tests=np.full_like(values, np.nan),
        seconds=np.full_like(values, np.nan),
        diverged=np.zeros(len(values), dtype=bool),
        settings={},
        images=5000,
    )


def published_seconds() -> Matrix:
    """How long each epoch of `published` took, in seconds; the runs' logs count from their begin."""
    return np.diff(_columns(_rows(), "seconds"), prepend=0.0)


def _rows() -> list[dict[str, str]]:
    with (_FOLDER / "runs.csv").open(encoding="utf-8") as file:
        wanted = {"dataset": "cifar10", "depth": "110"}
        return [row for row in csv.DictReader(file) if "_vc10_" in row["run"] and wanted.items() <= row.items()]


def _columns(rows: list[dict[str, str]], name: str) -> Matrix:
    """A column of the runs' epochs, of shape (runs, epochs of the shortest)."""
    curves: dict[str, list[float]] = defaultdict(list)
    with gzip.open(_FOLDER / "curves.csv.gz", "rt", encoding="utf-8") as file:
        for record in csv.DictReader(file):
            curves[record["run"]].append(float(record[name]))
    epochs = min(len(curves[row["run"]]) for row in rows)
    return np.array([curves[row["run"]][:epochs] for row in rows])
