"""Two tables: trials.csv, one row per trial, and epochs.csv, one row per trial and epoch; see docs/import.md.

trials.csv: `trial` (any text), and where known `state` (completed, stopped, diverged, failed, running or waiting;
completed where it is empty), `started` (Unix time or ISO 8601), `seed`, `reason`; every other column is a setting.
epochs.csv: `trial`, `epoch` (counted from 1), and where known `time` (Unix time or ISO 8601) and `attempt`; every
other column is a metric. An empty cell is absent.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast, get_args

from analysis.importers.foreign import (
    ForeignEpoch,
    ForeignState,
    ForeignStudy,
    ForeignTrial,
    ImportFailed,
    ImportOptions,
)
from analysis.importers.ranking import chosen_ranking, ranked
from analysis.names import unknown_name

_TRIAL_COLUMNS = ("trial", "state", "started", "seed", "reason")
_EPOCH_COLUMNS = ("trial", "epoch", "time", "attempt")


def read(source: str, options: ImportOptions) -> ForeignStudy:
    """The study in the folder `source`.

    Raises:
        ImportFailed: a table is absent, lacks a column, or has a cell that is not what its column holds.
    """
    folder = Path(source)
    rows = _rows(folder / "trials.csv", ("trial",))
    epochs: dict[str, list[ForeignEpoch]] = {row["trial"]: [] for _, row in rows}
    if len(epochs) < len(rows):
        raise ImportFailed(f"{folder / 'trials.csv'} names a trial twice")
    for place, row in _rows(folder / "epochs.csv", ("trial", "epoch")):
        if row["trial"] not in epochs:
            raise ImportFailed(f"{place}: trial {row['trial']!r} is not in trials.csv")
        epochs[row["trial"]].append(_epoch(place, row, len(epochs[row["trial"]])))
    trials = [_trial(place, row, epochs[row["trial"]]) for place, row in rows]
    ranking = chosen_ranking(trials, options)
    notes = () if ranking.metric == "val_acc" else (ranking.note,)
    return ForeignStudy(folder.resolve().name, tuple(ranked(trials, ranking)), notes)


def _rows(path: Path, wanted: tuple[str, ...]) -> list[tuple[str, dict[str, str]]]:
    """The rows without their empty cells, each with its place in words."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            rows = [
                (f"{path}, line {reader.line_num}", {name: cell for name, cell in row.items() if name and cell})
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImportFailed(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    for name in wanted:
        if name not in columns:
            raise ImportFailed(f"{path} has no column {name!r}")
        for place, row in rows:
            if name not in row:
                raise ImportFailed(f"{place}: {name!r} is empty")
    return rows


def _trial(place: str, row: Mapping[str, str], epochs: list[ForeignEpoch]) -> ForeignTrial:
    state = row.get("state", "completed")
    if state not in get_args(ForeignState):
        raise unknown_name(f"state ({place})", state, get_args(ForeignState))
    settings = {name: _value(cell) for name, cell in row.items() if name not in _TRIAL_COLUMNS}
    first = min((epoch.time for epoch in epochs), default=0.0)
    started = _time(place, row["started"]) if "started" in row else first
    seed, reason = int(_number(place, "seed", row.get("seed", "0"))), row.get("reason", "")
    return ForeignTrial(row["trial"], settings, tuple(epochs), cast(ForeignState, state), started, seed, reason)


def _epoch(place: str, row: Mapping[str, str], before: int) -> ForeignEpoch:
    number = _number(place, "epoch", row["epoch"])
    if number != int(number) or number < 1:
        raise ImportFailed(f"{place}: epochs are counted from 1, and {row['epoch']!r} is none")
    metrics = {name: _number(place, name, cell) for name, cell in row.items() if name not in _EPOCH_COLUMNS}
    time = _time(place, row["time"]) if "time" in row else float(before + 1)
    return ForeignEpoch(int(number), time, metrics, int(_number(place, "attempt", row.get("attempt", "1"))))


def _number(place: str, name: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ImportFailed(f"{place}: {name} is {cell!r}, not a number") from None


def _time(place: str, cell: str) -> float:
    try:
        seconds = float(cell)
    except ValueError:
        try:
            told = datetime.fromisoformat(cell)
        except ValueError:
            raise ImportFailed(f"{place}: {cell!r} is no time (Unix seconds or ISO 8601)") from None
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise ImportFailed(f"{place}: {cell!r} is no time")
    return seconds


def _value(cell: str) -> Any:
    """A setting: JSON where it is JSON, with Python's True and False, else text."""
    if cell in ("True", "False"):
        return cell == "True"
    try:
        value = json.loads(cell)
    except ValueError:
        return cell
    return value if not isinstance(value, float) or math.isfinite(value) else cell
