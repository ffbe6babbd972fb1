"""Tables as files: one function and one registry entry for each format."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from analysis.display import column_values, display_table
from analysis.names import unknown_name

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Exporter:
    """A format: how a table is written in it, and the suffix of its files."""

    write: Callable[[pd.DataFrame], bytes | str]
    suffix: str


def export_table(table: pd.DataFrame, fmt: str) -> bytes | str:
    """`table` in the format of that name: text, or bytes where the format is binary. The index is left out.

    Raises:
        UnknownName: there is no such format.
    """
    if fmt not in EXPORTERS:
        raise unknown_name("format", fmt, EXPORTERS)
    return EXPORTERS[fmt].write(table)


def to_csv(table: pd.DataFrame) -> str:
    """Comma-separated values (RFC 4180, lines end in LF); empty where missing; lists as JSON."""
    return _with_plain_columns(table).to_csv(index=False, lineterminator="\n")


def to_json(table: pd.DataFrame) -> str:
    """A list with one object per row; null where missing; timestamps in ISO 8601."""
    return json.dumps(_records(table), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_yaml(table: pd.DataFrame) -> str:
    """A list with one mapping per row; null where missing; timestamps in ISO 8601."""
    return yaml.dump(_records(table), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def to_markdown(table: pd.DataFrame) -> str:
    """A pipe table in words and percent, for reading; see `analysis.display`."""
    shown = display_table(table)
    rules = ["---:" if numeric else ":---" for numeric in shown.numeric]
    rows = [[_escape(text, _MARKDOWN) for text in row] for row in (shown.headings, *shown.rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], rules, *rows[1:]))


def to_latex(table: pd.DataFrame) -> str:
    r"""A `tabular` in words and percent, for \input in a paper that uses the package booktabs.

    pdflatex knows the signs of Latin scripts only; where others occur, the first lines say what compiles it.
    """
    shown = display_table(table)
    header, *rows = [_latex_row(row) for row in (shown.headings, *shown.rows)]
    foreign = any(ord(sign) > _LAST_LATIN for row in (header, *rows) for sign in row)
    lines = [
        r"% needs \usepackage{booktabs}",
        *(
            ["% holds signs beyond the Latin scripts: compile with lualatex, and a font that has them"]
            if foreign
            else []
        ),
        rf"\begin{{tabular}}{{{''.join('r' if numeric else 'l' for numeric in shown.numeric)}}}",
        r"\toprule",
        header,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def to_html(table: pd.DataFrame) -> str:
    """A `table` element in words and percent, escaped, for a page of one's own."""
    shown = display_table(table)
    header = "".join(f"<th>{escape(text)}</th>" for text in shown.headings)
    sides = [' style="text-align:right"' if numeric else "" for numeric in shown.numeric]
    rows = [
        "".join(f"<td{side}>{escape(text)}</td>" for side, text in zip(sides, row, strict=True)) for row in shown.rows
    ]
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def to_parquet(table: pd.DataFrame) -> bytes:
    """Apache Parquet, with the table's types; lists and mixed values as JSON text."""
    import pyarrow as pa  # noqa: PLC0415  only this format needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    file = BytesIO()
    pq.write_table(pa.Table.from_pandas(_with_plain_columns(table), preserve_index=False), file)
    return file.getvalue()


#: The formats of tables, by name.
EXPORTERS: Mapping[str, Exporter] = MappingProxyType(
    {
        "csv": Exporter(to_csv, ".csv"),
        "json": Exporter(to_json, ".json"),
        "yaml": Exporter(to_yaml, ".yaml"),
        "markdown": Exporter(to_markdown, ".md"),
        "latex": Exporter(to_latex, ".tex"),
        "html": Exporter(to_html, ".html"),
        "parquet": Exporter(to_parquet, ".parquet"),
    }
)

_LAST_LATIN = 0x17F  # of Latin Extended-A, which the default encodings of pdflatex cover

_MARKDOWN = str.maketrans({**{sign: f"\\{sign}" for sign in "\\`*_<|"}, "\n": " ", "\r": " "})
_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        '"': "''",  # \textquotedbl is absent from the default encoding
        "\n": " ",
        "\r": " ",
    }
)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # the C one where it is built
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True  # equal lists in two rows are written out in both


def _latex_row(texts: tuple[str, ...]) -> str:
    row = " & ".join(_escape(text, _LATEX) or "--" for text in texts) + r" \\"
    return "{}" + row if row.startswith("[") else row  # a bracket after \\ would be read as its argument


def _escape(text: str, table: Mapping[int, str]) -> str:
    return text.translate(table)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain mappings."""
    names = [str(name) for name in table.columns]
    columns = [[_plain(value) for value in column_values(table[name])] for name in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    """`value` as JSON has it; a number that is not finite is None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value


def _with_plain_columns(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with the values of its object columns as JSON text: lists, and settings of several types."""
    plain = table.copy(deep=False)
    for name, column in table.items():
        if column.dtype == object:
            plain[name] = [None if value is None else json.dumps(value) for value in column_values(column)]
    return plain
