"""The log as columns: the trials fold for studies of a million epochs.

Decoding a report into Python objects costs tens of microseconds, so the lines that look like reports are read many at
once by `analysis.report_lines`. Lines that it refuses are decoded by `analysis.log`: it alone decides what is an
event and what is damage, and the other only hastens what is plain. Parts of the log are read side by side.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.events import EpochReported, Event, TrialSuggested, is_about
from analysis.log import LogPosition, decode_lines
from analysis.probes import probe_seconds
from analysis.report_lines import (
    FIELDS,
    METRIC_PREFIX,
    RUNG_FIELDS,
    SCHEMA,
    Lines,
    Unusual,
    parse_reports,
)
from analysis.trials import Trial, TrialsFold

_BLOCK_BYTES = 16 << 20  # larger ones cost page faults
_MAX_THREADS = 8  # each holds a block and what was made of it


@dataclass(frozen=True)
class LogColumns:
    """What a log says once reports for an epoch e have replaced their trial's earlier ones of epoch >= e."""

    #: The standing reports by trial and epoch: offset (bytes, of the line in the log), time, trial, attempt,
    #: epoch, action, rung, rung_value, rung_cutoff, rung_rank, rung_peers, rung_survivors, and a column
    #: `metrics.NAME` for each metric.
    reports: pd.DataFrame
    #: The reports that were replaced, with the same columns, in the order of the log.
    replaced: pd.DataFrame
    #: By trial: `epochs` and `seconds` spent on reports that were replaced, their probes included.
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

    def of_trials(self, numbers: Collection[int]) -> LogColumns:
        """What it says of these trials, and of none in particular."""
        return LogColumns(
            _pick(self.reports, self.reports["trial"].isin(numbers).to_numpy()).reset_index(drop=True),
            _pick(self.replaced, self.replaced["trial"].isin(numbers).to_numpy()),
            self.redone[self.redone.index.isin(numbers)],
            tuple((offset, event) for offset, event in self.others if is_about(event, numbers)),
            {number: trial for number, trial in self.trials.items() if number in numbers},
        )


def read_columns(path: Path, size: int) -> LogColumns:
    """The first `size` bytes of the log at `path`, as columns. Raises as `analysis.log.read_log`."""
    tables, others = [SCHEMA.empty_table()], list[tuple[int, Event]]()
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for found, events in pool.map(partial(_read_block, path), *zip(*_blocks(path, size), strict=True)):
            tables.extend(found)
            others.extend(events)
    others.sort(key=lambda found: found[0])
    reports = pa.concat_tables(tables, promote_options="default").to_pandas()
    reports = _of_known_trials(_in_order(reports, "offset"), others)
    standing = reports["epoch"].to_numpy() < _smallest_later_epoch(reports)
    kept = _in_order(_pick(reports, standing), "trial", "epoch")
    replaced = reports[~standing]
    return LogColumns(kept, replaced, _redone(replaced), tuple(others), _fold(kept, others))


def _blocks(path: Path, size: int) -> list[tuple[int, int]]:
    """The whole lines of the file's first `size` bytes in blocks: where each begins and ends."""
    blocks = list[tuple[int, int]]()
    if not path.exists():
        return blocks
    with path.open("rb") as file:
        begin = 0
        while begin < size:
            end = _end_of_block(file, begin, size)
            if end == begin:
                break  # a torn last line
            blocks.append((begin, end))
            begin = end
    return blocks


def _end_of_block(file: BinaryIO, begin: int, size: int) -> int:
    if begin + _BLOCK_BYTES < size:
        file.seek(begin + _BLOCK_BYTES - 1)
        file.readline()  # to the end of the line
        if file.tell() < size:
            return file.tell()
    file.seek(begin)
    return begin + file.read(size - begin).rfind(b"\n") + 1


def _read_block(path: Path, begin: int, end: int) -> tuple[list[pa.Table], list[tuple[int, Event]]]:
    """The reports, and the other events with their offsets."""
    with path.open("rb") as file:
        file.seek(begin)
        block = file.read(end - begin)
    lines = Lines.of(block)
    is_report = lines.begin_like_reports()
    is_report[0] &= begin > 0  # the header must be there
    tables, slow = _parse(lines.pick(is_report), begin)
    slow.append(lines.pick(~is_report))
    try:
        table, others = _decode(path, begin, ((start, bytes(run)) for part in slow for start, run in part.runs()))
    except AnalysisError:  # which damage comes first?
        table, others = _decode(path, begin, [(0, block)])
    return [*tables, table], others


def _parse(lines: Lines, begin: int) -> tuple[list[pa.Table], list[Lines]]:
    """The reports in `lines`, and the lines that `analysis.log` must decode."""
    tables, slow = list[pa.Table](), list[Lines]()
    for part in lines.by_rung():
        try:
            tables.append(parse_reports(part, begin))
        except Unusual:
            for shape in part.by_separators():
                try:
                    tables.append(parse_reports(shape, begin))
                except Unusual:
                    slow.append(shape)
    return tables, slow


def _decode(path: Path, begin: int, runs: Iterable[tuple[int, bytes]]) -> tuple[pa.Table, list[tuple[int, Event]]]:
    """What `analysis.log` reads in runs of lines, each given with its offset from `begin`."""
    rows, others = list[dict[str, Any]](), list[tuple[int, Event]]()
    for offset, data in runs:
        # the header is line 0; which number another line has does not matter
        for start, event in decode_lines(path, data, LogPosition(begin + offset, line=min(begin + offset, 1))):
            if isinstance(event, EpochReported):
                rows.append(_row(start, event))
            else:
                others.append((start, event))
    metrics = sorted({name for row in rows for name in row if name.startswith(METRIC_PREFIX)})
    schema = pa.schema([*SCHEMA, *((name, pa.float64()) for name in metrics)])
    try:
        return pa.Table.from_pylist(rows, schema=schema), others
    except (pa.ArrowException, TypeError) as error:
        raise AnalysisError(f"the log {path} has a report with a value of the wrong type: {error}") from None


def _row(offset: int, report: EpochReported) -> dict[str, Any]:
    row: dict[str, Any] = {"offset": offset, **{name: getattr(report, name) for name in FIELDS}}
    if report.rung is not None:
        row |= {name: getattr(report.rung, part) for part, name, _ in RUNG_FIELDS}
    return row | {METRIC_PREFIX + name: value for name, value in report.metrics.items()}


def _in_order(reports: pd.DataFrame, *names: str) -> pd.DataFrame:
    """`reports` sorted by the columns `names`, with a new index."""
    order = np.lexsort([reports[name].to_numpy() for name in reversed(names)])
    if np.array_equal(order, np.arange(len(order))):
        return reports.reset_index(drop=True)
    return reports.take(order).reset_index(drop=True)


def _of_known_trials(reports: pd.DataFrame, others: list[tuple[int, Event]]) -> pd.DataFrame:
    """The reports that follow the (last) suggestion of their trial, in the order of the log."""
    suggested = {event.trial: offset for offset, event in others if isinstance(event, TrialSuggested)}
    since = reports["trial"].map(pd.Series(suggested, dtype="float64"))
    return _pick(reports, (reports["offset"] > since).to_numpy())


def _pick(reports: pd.DataFrame, which: NDArray[np.bool_]) -> pd.DataFrame:
    """The rows of `reports` for which `which` is true; no copy where that is all of them, as it mostly is."""
    return reports if which.all() else reports[which]


def _smallest_later_epoch(reports: pd.DataFrame) -> NDArray[np.float64]:
    """For each report, in the order of the log: the smallest epoch that its trial reports after it."""
    backwards = reports[["trial", "epoch"]].iloc[::-1]
    smallest = backwards.groupby("trial")["epoch"].cummin()
    return smallest.groupby(backwards["trial"]).shift(1).fillna(np.inf).iloc[::-1].to_numpy()


def _redone(replaced: pd.DataFrame) -> pd.DataFrame:
    seconds = METRIC_PREFIX + "seconds"
    spent = replaced[seconds].fillna(0.0) if seconds in replaced else pd.Series(0.0, index=replaced.index)
    by_trial = pd.DataFrame({"epochs": 1, "seconds": spent + probe_seconds(replaced)}, index=replaced.index).groupby(
        replaced["trial"]
    )
    return by_trial.sum()


def _fold(reports: pd.DataFrame, others: list[tuple[int, Event]]) -> dict[int, Trial]:
    """The trials. A trial's last report alone decides its state, so the others are not turned into events."""
    last = reports.drop_duplicates("trial", keep="last")
    names = ["offset", *FIELDS]
    ends = [
        (offset, EpochReported(time, trial, attempt, epoch, {}, action))
        for offset, time, trial, attempt, epoch, action in zip(*(last[name].tolist() for name in names), strict=True)
    ]
    in_order = sorted([*others, *ends], key=lambda pair: pair[0])
    return TrialsFold(event for _, event in in_order).trials
