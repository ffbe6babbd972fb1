"""The report: one HTML page that holds everything, figures and their library included, and asks no network."""

from __future__ import annotations

import base64
import gzip
import html
import time
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.display import display_table
from analysis.files import write_atomic
from analysis.names import unknown_name
from analysis.plots.chart import Chart
from analysis.report_sections import SECTIONS, Block, Picture, Table, Words, blocks

if TYPE_CHECKING:
    from analysis.study import Study

_TEMPLATE = "report.html"


def write_report(study: Study, path: Path, sections: Iterable[str] = ()) -> None:
    """Write the report of `study` to `path`, with the sections of those names; without any, with all of `SECTIONS`.

    Raises:
        UnknownName: there is no such section.
        OSError: the file cannot be written.
    """
    write_atomic(path, report_html(study, sections))


def report_html(study: Study, sections: Iterable[str] = ()) -> str:
    """The report as a page. Raises as `write_report`."""
    names = tuple(sections) or tuple(SECTIONS)
    for name in names:
        if name not in SECTIONS:
            raise unknown_name("section", name, SECTIONS)
    parts = [_section(study, name) for name in names]
    links = [f'<a href="#{name}">{html.escape(SECTIONS[name].title)}</a>' for name in names]
    page = (files("analysis") / _TEMPLATE).read_text(encoding="utf-8")
    slots = {
        "title": html.escape(study.name),
        "made": time.strftime("%Y-%m-%d %H:%M", time.localtime()),
        "links": "\n".join(links),
        "sections": "\n".join(parts),
        "plotly": _plotly() if any('class="figure"' in part for part in parts) else "",
    }
    before, *rest = page.split("{{")
    return before + "".join(_filled(slots, part) for part in rest)


def _filled(slots: dict[str, str], part: str) -> str:
    name, after = part.split("}}", 1)
    return slots[name] + after


def _section(study: Study, name: str) -> str:
    section = SECTIONS[name]
    inner = "\n".join(_block(block) for block in blocks(study, section))
    return f'<section id="{name}">\n<h2>{html.escape(section.title)}</h2>\n{inner}\n</section>'


def _block(block: Block) -> str:
    match block:
        case Words():
            return f"<p>{html.escape(block.text)}</p>"
        case Table():
            return _table(block)
        case Chart():
            return _figure(block)
        case Picture():
            data, caption = base64.b64encode(block.png).decode("ascii"), html.escape(block.caption)
            return f'<img alt="{caption}" src="data:image/png;base64,{data}">\n<p class="caption">{caption}</p>'


def _table(table: Table) -> str:
    shown = display_table(table.frame)
    kinds = ["number" if numeric else "text" for numeric in shown.numeric]
    rows = "\n".join(f"<tr>{_cells('td', kinds, row)}</tr>" for row in shown.rows)
    head = _cells("th", kinds, shown.headings)
    caption = f'<p class="caption">{html.escape(table.caption)}</p>' if table.caption else ""
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>{caption}'


def _cells(tag: str, kinds: list[str], texts: tuple[str, ...]) -> str:
    pairs = zip(kinds, texts, strict=True)
    return "".join(f'<{tag} class="{kind}">{html.escape(text)}</{tag}>' for kind, text in pairs)


def _figure(chart: Chart) -> str:
    from analysis.plots.in_plotly import draw  # noqa: PLC0415  slow to import

    figure = draw(chart)
    data = (figure.to_json() or "{}").replace("</", "<\\/")  # nothing in it may end the script
    height = int(figure.layout.height)
    return (
        f'<div class="figure" id="figure-{chart.name}" style="height:{height}px"></div>\n'
        f'<script type="application/json" data-figure="figure-{chart.name}">{data}</script>\n'
        f'<p class="caption">{html.escape(chart.caption)}</p>'
    )


@cache
def _plotly() -> str:
    """The library that draws the figures, compressed, as text that a page can hold."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode("ascii")
