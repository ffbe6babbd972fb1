"""The log as columns: the trials fold for studies of a million epochs.

Decoding a report into Python objects costs tens of microseconds, so lines that look like reports go through
Arrow's JSON reader, block by block. A block in which anything is unusual is decoded by `analysis.log`
instead: it alone decides what is an event and what is damage, and Arrow only hastens what is plain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.json as pj
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.events import EpochReported, Event, TrialSuggested
from analysis.log import LogPosition, decode_lines
from analysis.trials import Trial, TrialsFold

#: What the name of a metric begins with in `LogColumns.reports`.
METRIC_PREFIX = "metrics."

_BLOCK_BYTES = 64 << 20
_PREFIXES = (b'{"event": "epoch",', b'{"event":"epoch",')
_REQUIRED = ("time", "trial", "attempt", "epoch", "action")
_RUNG_PARTS = {
    "milestone": "rung",
    "value": "rung_value",
    "cutoff": "rung_cutoff",
    "rank": "rung_rank",
    "peers": "rung_peers",
    "survivors": "rung_survivors",
}
_RUNG = pa.struct(
    [
        ("milestone", pa.int64()),
        ("value", pa.float64()),
        ("cutoff", pa.float64()),
        ("rank", pa.int64()),
        ("peers", pa.int64()),
        ("survivors", pa.int64()),
    ]
)
_TYPES = {
    "time": pa.float64(),
    "trial": pa.int64(),
    "attempt": pa.int64(),
    "epoch": pa.int64(),
    "action": pa.string(),
}
_LINE = pa.schema([("event", pa.string()), *_TYPES.items(), ("rung", _RUNG)])
_FLAT = pa.schema(
    [
        ("offset", pa.int64()),
        *_TYPES.items(),
        *((name, _RUNG.field(part).type) for part, name in _RUNG_PARTS.items()),
    ]
)


class _Unusual(Exception):  # noqa: N818
    """A block that Arrow may read otherwise than `analysis.log` does."""


@dataclass(frozen=True)
class LogColumns:
    """What a log says once reports for an epoch e have replaced their trial's earlier ones of epoch >= e."""

    #: The standing reports by trial and epoch: offset (bytes, of the line in the log), time, trial, attempt,
    #: epoch, action, rung, rung_value, rung_cutoff, rung_rank, rung_peers, rung_survivors, and a column
    #: `metrics.NAME` for each metric.
    reports: pd.DataFrame
    #: The reports that were replaced, with the same columns, in the order of the log.
    replaced: pd.DataFrame
    #: By trial: `epochs` and `seconds` spent on reports that were replaced.
    redone: pd.DataFrame
    #: The events that are no reports, in the order of the log, each with its offset.
    others: tuple[tuple[int, Event], ...]
    #: The trials by number, folded; their `reports` hold the last one only, without its metrics.
    trials: dict[int, Trial]

    @property
    def all_reports(self) -> pd.DataFrame:
        """The standing and the replaced reports, in the order of the log."""
        parts = [part for part in (self.reports, self.replaced) if len(part)] or [self.reports]
        return pd.concat(parts).sort_values("offset", kind="stable", ignore_index=True)


def read_columns(path: Path, size: int) -> LogColumns:
    """The first `size` bytes of the log at `path`, as columns. Raises as `analysis.log.read_log`."""
    tables, others = [_FLAT.empty_table()], list[tuple[int, Event]]()
    for offset, block in _blocks(path, size):
        table, events = _read_block(path, offset, block)
        tables.append(table)
        others.extend(events)
    reports = pa.concat_tables(tables, promote_options="default").to_pandas()
    known, later = _of_known_trials(reports, others), _earliest_later_epoch
    standing = (known["epoch"] < later(known)).to_numpy()
    kept = known[standing].sort_values(["trial", "epoch"], kind="stable", ignore_index=True)
    replaced = known[~standing]
    return LogColumns(kept, replaced, _redone(replaced), tuple(others), _fold(kept, others))


def _blocks(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """The complete lines of the file's first `size` bytes in large blocks, each with its offset."""
    if not path.exists():
        return
    with path.open("rb") as file:
        offset, rest = 0, b""
        while data := file.read(min(_BLOCK_BYTES, size - offset - len(rest))):
            data = rest + data
            complete = data.rfind(b"\n") + 1
            if complete:
                yield offset, data[:complete]
            offset, rest = offset + complete, data[complete:]


def _read_block(path: Path, offset: int, block: bytes) -> tuple[pa.Table, list[tuple[int, Event]]]:
    starts, ends = _lines(block)
    is_report = _begin_like_reports(block, starts)
    try:
        if offset == 0 and is_report[0]:
            raise _Unusual  # the header is missing
        table = _parse_reports(block, starts[is_report], ends[is_report], offset)
        others = [
            event
            for start, end in _runs(starts[~is_report], ends[~is_report])
            for event in _decode(path, block[start:end], offset + start)
        ]
        if any(isinstance(event, EpochReported) for _, event in others):
            raise _Unusual
    except (_Unusual, pa.ArrowException, AnalysisError):
        return _decode_block(path, offset, block)
    return table, others


def _lines(block: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")) + 1
    return np.concatenate(([0], ends[:-1])), ends


def _begin_like_reports(block: bytes, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    array = np.frombuffer(block, dtype=np.uint8)
    result = np.zeros(len(starts), dtype=np.bool_)
    for prefix in _PREFIXES:
        alike = np.ones(len(starts), dtype=np.bool_)
        for place, byte in enumerate(prefix):
            alike &= array[np.minimum(starts + place, len(array) - 1)] == byte
        result |= alike
    return result


def _runs(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """Lines that follow each other, joined: the start and the end of each run."""
    if not len(starts):
        return []
    new = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    first, last = np.concatenate(([0], new)), np.concatenate((new - 1, [len(starts) - 1]))
    return zip(starts[first].tolist(), ends[last].tolist(), strict=True)


def _parse_reports(block: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], offset: int) -> pa.Table:
    if not len(starts):
        return _FLAT.empty_table()
    view = memoryview(block)
    data = b"".join([view[start:end] for start, end in _runs(starts, ends)])
    lines = pj.read_json(
        pa.BufferReader(data),
        read_options=pj.ReadOptions(block_size=4 << 20),
        parse_options=pj.ParseOptions(explicit_schema=_LINE),
    )
    if len(lines) != len(starts) or set(lines.column_names) != {*_LINE.names, "metrics"}:
        raise _Unusual
    if any(lines.column(name).null_count for name in (*_REQUIRED, "metrics")):
        raise _Unusual
    rung = lines.column("rung").combine_chunks()
    columns: dict[str, Any] = {"offset": pa.array(starts + offset)}
    columns |= {name: lines.column(name) for name in _TYPES}
    columns |= {name: rung.flatten()[rung.type.get_field_index(part)] for part, name in _RUNG_PARTS.items()}
    metrics = lines.select(["metrics"]).flatten()
    return pa.table(columns | {name: _numbers(metrics.column(name)) for name in metrics.column_names})


def _numbers(metric: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = metric.type
    if not (pa.types.is_null(kind) or pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise _Unusual
    return metric.cast(pa.float64())


def _decode(path: Path, data: bytes, offset: int) -> Iterator[tuple[int, Event]]:
    # the header is line 0; which number another line has does not matter
    return decode_lines(path, data, LogPosition(offset, line=min(offset, 1)))


def _decode_block(path: Path, offset: int, block: bytes) -> tuple[pa.Table, list[tuple[int, Event]]]:
    rows, others = list[dict[str, Any]](), list[tuple[int, Event]]()
    for start, event in _decode(path, block, offset):
        if isinstance(event, EpochReported):
            rows.append(_row(start, event))
        else:
            others.append((start, event))
    metrics = sorted({name for row in rows for name in row if name.startswith(METRIC_PREFIX)})
    schema = pa.schema([*_FLAT, *((name, pa.float64()) for name in metrics)])
    try:
        return pa.Table.from_pylist(rows, schema=schema), others
    except (pa.ArrowException, TypeError) as error:
        raise AnalysisError(f"the log {path} has a report with a value of the wrong type: {error}") from None


def _row(offset: int, report: EpochReported) -> dict[str, Any]:
    row: dict[str, Any] = {"offset": offset, **{name: getattr(report, name) for name in _TYPES}}
    if report.rung is not None:
        row |= {name: getattr(report.rung, part) for part, name in _RUNG_PARTS.items()}
    return row | {METRIC_PREFIX + name: value for name, value in report.metrics.items()}


def _of_known_trials(reports: pd.DataFrame, others: list[tuple[int, Event]]) -> pd.DataFrame:
    """The reports that follow the (last) suggestion of their trial, in the order of the log."""
    suggested = {event.trial: offset for offset, event in others if isinstance(event, TrialSuggested)}
    since = reports["trial"].map(pd.Series(suggested, dtype="float64"))
    return reports[(reports["offset"] > since).to_numpy()]


def _earliest_later_epoch(reports: pd.DataFrame) -> pd.Series[float]:
    """For each report, in the order of the log: the smallest epoch that its trial reports after it."""
    backwards = reports[["trial", "epoch"]].iloc[::-1]
    smallest = backwards.groupby("trial")["epoch"].cummin()
    return smallest.groupby(backwards["trial"]).shift(1).fillna(np.inf).iloc[::-1]


def _redone(replaced: pd.DataFrame) -> pd.DataFrame:
    seconds = METRIC_PREFIX + "seconds"
    spent = replaced[seconds].fillna(0.0) if seconds in replaced else pd.Series(0.0, index=replaced.index)
    by_trial = pd.DataFrame({"epochs": 1, "seconds": spent}, index=replaced.index).groupby(replaced["trial"])
    return by_trial.sum()


def _fold(reports: pd.DataFrame, others: list[tuple[int, Event]]) -> dict[int, Trial]:
    """The trials. A trial's last report alone decides its state, so the others are not turned into events."""
    last = reports.drop_duplicates("trial", keep="last")
    names = ["offset", *_TYPES]
    ends = [
        (offset, EpochReported(time, trial, attempt, epoch, {}, action))
        for offset, time, trial, attempt, epoch, action in zip(*(last[name].tolist() for name in names), strict=True)
    ]
    in_order = sorted([*others, *ends], key=lambda pair: pair[0])
    return TrialsFold(event for _, event in in_order).trials
