"""The lines of a log that report epochs, thousands at a time.

Such a line is a JSON object of one fixed shape, and a study has few shapes: every report of a space has the same
metrics, and a report at a rung has the rung's entry besides. Once `:` and `}` have become commas, lines of one shape
are comma-separated values in which most columns hold a key, the same one in every line. Arrow reads that several
times as fast as JSON. The first line, decoded as JSON, says which column holds what; every other line must have its
keys in the same places, or the lot is refused and `analysis.log` decodes it.

What is refused is a matter of speed only, never of the result. A damaged number alone can pass that is none in
JSON ("00.5"): like a flipped digit, it is read as the number that it still is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from numpy.typing import NDArray

from analysis.event_records import event_from_record
from analysis.events import ACTIONS, EpochReported

#: What the name of a metric begins with in a table of reports.
METRIC_PREFIX = "metrics."

#: Columns of every report, with their types.
FIELDS: Mapping[str, pa.DataType] = {
    "time": pa.float64(),
    "trial": pa.int64(),
    "attempt": pa.int64(),
    "epoch": pa.int64(),
    "action": pa.string(),
}

#: Columns from the entry of a rung: part of the entry, name of the column, its type.
RUNG_FIELDS = (
    ("milestone", "rung", pa.int64()),
    ("value", "rung_value", pa.float64()),
    ("cutoff", "rung_cutoff", pa.float64()),
    ("rank", "rung_rank", pa.int64()),
    ("peers", "rung_peers", pa.int64()),
    ("survivors", "rung_survivors", pa.int64()),
)

#: The columns that a table of reports has at least.
SCHEMA = pa.schema(
    [("offset", pa.int64()), *FIELDS.items(), *((name, kind) for _, name, kind in RUNG_FIELDS)]
)  # fmt: skip

_PREFIXES = (b'{"event":"epoch",', b'{"event": "epoch",')
_RUNG_NAMES = {part: name for part, name, _ in RUNG_FIELDS}
_RUNG_TYPES = {name: kind for _, name, kind in RUNG_FIELDS}
_KEYS = frozenset({"event", "metrics", *FIELDS})
_PIECE_BYTES = 64 << 10
_SEPARATORS = bytes.maketrans(b":}", b",,")
_KEY_TEXT = pa.dictionary(pa.int32(), pa.string())


class Unusual(Exception):  # noqa: N818
    """Lines that this module might read otherwise than `analysis.log` does."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines of a block of the log."""

    block: bytes
    starts: NDArray[np.int64]  # within the block; so the ends
    ends: NDArray[np.int64]  # each after the newline

    @classmethod
    def of(cls, block: bytes) -> Lines:
        """All lines of `block`, which ends with a newline."""
        ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")) + 1
        return cls(block, np.concatenate(([0], ends[:-1])), ends)

    def __len__(self) -> int:
        return len(self.starts)

    def pick(self, which: NDArray[np.bool_]) -> Lines:
        """The lines for which `which` is true."""
        return Lines(self.block, self.starts[which], self.ends[which])

    def begin_like_reports(self) -> NDArray[np.bool_]:
        """Which lines begin as a report does."""
        result = np.zeros(len(self), dtype=np.bool_)
        if len(self.block) < 8:
            return result
        words = np.ndarray((len(self.block) - 7,), dtype="<u8", buffer=self.block, strides=(1,))
        for prefix in _PREFIXES:
            alike = np.ones(len(self), dtype=np.bool_)
            for place in (0, 8, len(prefix) - 8):
                word = int.from_bytes(prefix[place : place + 8], "little")
                alike &= words[np.minimum(self.starts + place, len(words) - 1)] == word
            result |= alike
        return result

    def runs(self) -> list[tuple[int, memoryview]]:
        """Lines that follow each other, joined; each run with its place in the block."""
        if not len(self):
            return []
        new = np.flatnonzero(self.starts[1:] != self.ends[:-1]) + 1
        first, last = np.concatenate(([0], new)), np.concatenate((new - 1, [len(self) - 1]))
        spans = zip(self.starts[first].tolist(), self.ends[last].tolist(), strict=True)
        view = memoryview(self.block)
        return [(start, view[start:end]) for start, end in spans]

    def by_rung(self) -> list[Lines]:
        """The lines without and those with the entry of a rung, which comes last: as a rule, two shapes."""
        if len(self.block) < 3:
            return [self] if len(self) else []
        has_rung = np.frombuffer(self.block, dtype=np.uint8)[self.ends - 3] == ord("}")
        return [part for part in (self.pick(~has_rung), self.pick(has_rung)) if len(part)]

    def by_separators(self) -> list[Lines]:
        """The lines, parted by how many commas they have: slower than `by_rung`, and finer."""
        before = np.cumsum(np.frombuffer(b"\0" + self.block, dtype=np.uint8) == ord(","), dtype=np.int32)
        commas = before[self.ends] - before[self.starts]
        return [self.pick(commas == count) for count in np.unique(commas)]


def parse_reports(lines: Lines, begin: int) -> pa.Table:
    """The reports in `lines`, whose block begins at byte `begin` of the log.

    Returns:
        The columns `offset` (bytes, of the line in the log), `FIELDS`, those of `RUNG_FIELDS` where the lines have a
        rung, and one `metrics.NAME` (float64) for each metric; a missing value is null.

    Raises:
        Unusual: the lines are not all of one shape, or one of them is no plain report.
    """
    first = lines.block[lines.starts[0] : lines.ends[0] - 1]
    cells, names = first.translate(_SEPARATORS).split(b","), _column_names(first)
    if len(cells) != len(names):
        raise Unusual  # a separator within a string, or a key that is there twice
    columns = [name or f"key {place}" for place, name in enumerate(names)]
    numbers = {name: kind for name in names if name is not None and (kind := _type(name)) is not None}
    try:
        table = pv.read_csv(
            pa.BufferReader(_separated(lines)),
            read_options=pv.ReadOptions(column_names=columns, block_size=4 << 20, use_threads=False),
            parse_options=pv.ParseOptions(quote_char=False),
            convert_options=pv.ConvertOptions(
                column_types={name: numbers.get(name, _KEY_TEXT) for name in columns},
                null_values=["null", " null"],
                check_utf8=False,  # keys equal those of the first line, which is decoded
            ),
        )
    except pa.ArrowException:
        raise Unusual from None
    if len(table) != len(lines) or any(table.column(name).null_count for name in FIELDS):
        raise Unusual
    _check_keys(table, {column: cell for column, cell, name in zip(columns, cells, names, strict=True) if not name})
    found: dict[str, Any] = {"offset": pa.array(lines.starts + begin)}
    found |= {name: _numbers(table.column(name)) for name in numbers}
    return pa.table(found | {"action": _actions(table.column("action"))})


def _separated(lines: Lines) -> bytearray:
    """The lines, joined, as comma-separated values; piece by piece, for a large copy costs page faults."""
    result, end = bytearray(int((lines.ends - lines.starts).sum())), 0
    for _, run in lines.runs():
        for start in range(0, len(run), _PIECE_BYTES):
            piece = bytes(run[start : start + _PIECE_BYTES]).translate(_SEPARATORS)
            result[end : end + len(piece)] = piece
            end += len(piece)
    return result


def _column_names(line: bytes) -> list[str | None]:
    """What each cell of a report's line is: the name of its column, or None for a key.

    Raises:
        Unusual: the line is no plain report.
    """
    try:
        record = json.loads(line)
        event = event_from_record(record)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unusual from None
    if not isinstance(event, EpochReported) or record.keys() - {"rung"} != _KEYS:
        raise Unusual
    if "rung" in record and record["rung"].keys() != _RUNG_NAMES.keys():
        raise Unusual
    return list(_cells(record))


def _cells(record: Mapping[str, Any]) -> Iterator[str | None]:
    for key, value in record.items():
        yield None  # the key
        if key == "metrics":
            yield from (name for metric in value for name in (None, METRIC_PREFIX + metric))
            yield None  # what follows the closing brace
        elif key == "rung":
            yield from (name for part in value for name in (None, _RUNG_NAMES[part]))
            yield None
        else:
            yield None if key == "event" else key
    yield None


def _type(name: str) -> pa.DataType | None:
    """The type of a column of numbers; None for `action`."""
    if name.startswith(METRIC_PREFIX):
        return pa.float64()
    return None if name == "action" else FIELDS.get(name, _RUNG_TYPES.get(name))


def _check_keys(table: pa.Table, keys: Mapping[str, bytes]) -> None:
    for name, key in keys.items():
        if any(chunk.dictionary.to_pylist() != [key.decode()] for chunk in table.column(name).chunks):
            raise Unusual


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """`column`; "nan" and "inf" are numbers to a CSV reader but not in JSON, or not under these names."""
    if pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column), min_count=0).as_py():
        raise Unusual
    return column


def _actions(column: pa.ChunkedArray) -> pa.ChunkedArray:
    plain = pc.utf8_trim(column.cast(pa.string()), " ")
    names = pc.unique(plain).to_pylist()
    if any(name[1:-1] not in ACTIONS or f'"{name[1:-1]}"' != name for name in names):
        raise Unusual
    return pc.utf8_trim(plain, '"')
