"""`tune-gate report`, `figures` and `compare`: a study as one page, as figures for a paper, and beside others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.copies import shown
from tune_gate.cli_options import Where

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

#: Configurations that a terminal shows; the JSON has all.
_MOST_SAME = 20

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder or URL.")]


def report(
    directory: StudyDir,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, instead of DIR/exports/report.html.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="SECTION", help="Only this; repeatable.")] = None,
    where: Where = None,
) -> None:
    """Write the report: one page with its figures, which needs no network."""
    from analysis.report import write_report  # noqa: PLC0415  pandas is slow to import
    from analysis.scores import part_where  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415
    from tune_gate.storage import push_results  # noqa: PLC0415

    study = part_where(open_study(directory), where or ())
    path = output or study.path / "exports" / "report.html"
    write_report(study, path, only or ())
    push_results(study.path)
    _say(f"wrote {shown(path)}")


def figures(
    directory: StudyDir,
    fmt: Annotated[str, typer.Option("--format", "-f", help="pdf, png or svg.")] = "pdf",
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Only this one; repeatable.")] = None,
    width: Annotated[float, typer.Option("--width", help="Inches; one column of a paper.")] = 3.3,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder, instead of DIR/exports/figures.")
    ] = None,
    where: Where = None,
) -> None:
    """Write the figures for a paper: legible in one column, safe for the colour-blind."""
    from analysis.plots.registry import write_figures  # noqa: PLC0415
    from analysis.scores import part_where  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415
    from tune_gate.storage import push_results  # noqa: PLC0415

    study = part_where(open_study(directory), where or ())
    folder = output or study.path / "exports" / "figures"
    written, left_out = write_figures(study, folder, fmt, only or (), width)
    push_results(study.path)
    for path in written:
        _say(f"wrote {shown(path)}")
    for name, why in left_out.items():
        _say(f"no figure {name}: {why}")


def compare(
    directories: Annotated[list[Path], typer.Argument(metavar="STUDY STUDY...", help="Their folders or URLs.")],
    target: Annotated[
        float | None, typer.Option("--target", help="Tell the cost of this accuracy (0.93); default: one all reached.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,  # noqa: FBT002  a flag
) -> None:
    """Put studies side by side: best, cost to reach an accuracy, results of the same settings."""
    from analysis.comparison import compare as side_by_side  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415
    from tune_gate.display import stdout_console  # noqa: PLC0415

    found = side_by_side([open_study(directory) for directory in directories], target)
    if as_json:
        _say(json.dumps(found.to_record(), indent=2))
        return
    console = stdout_console()
    reached = "" if found.target is None else f"; target: {100 * found.target:.2f} % validation accuracy"
    console.print(_transposed(found.studies, f"{len(found.studies)} studies{reached}"))
    if len(found.same):
        names = [name for name in found.same.columns if str(name) not in set(found.studies["study"])]
        console.print(_side_by_side(found.same, list(found.studies["study"]), [str(name) for name in names]))
    else:
        _say("no configuration was trained in two of them")
    for warning in found.warnings:
        console.print(f"note: {warning}", markup=False, highlight=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (report, figures, compare):
        app.command()(command)


def _transposed(frame: pd.DataFrame, title: str) -> Table:
    """One column for each row of `frame`."""
    from analysis.display import display_table  # noqa: PLC0415

    displayed = display_table(frame)
    view = _table(title, ["", *(row[0] for row in displayed.rows)])
    for place, heading in enumerate(displayed.headings[1:], start=1):
        view.add_row(heading, *(row[place] for row in displayed.rows))
    return view


def _side_by_side(same: pd.DataFrame, studies: list[str], others: list[str]) -> Table:
    """Each configuration that several studies trained, with its accuracy and number of trials in each."""
    from analysis.display import column_values  # noqa: PLC0415
    from tune_gate.display import settings_text  # noqa: PLC0415

    settings = [name for name in others if name.removesuffix("_n") not in studies]
    columns = {name: column_values(same[name]) for name in same.columns}
    view = _table("the same settings: mean validation accuracy, % (trials)", [*studies, "settings"])
    for place in range(min(len(same), _MOST_SAME)):
        values = [
            "" if columns[name][place] is None else f"{100 * columns[name][place]:.2f} ({columns[f'{name}_n'][place]})"
            for name in studies
        ]
        view.add_row(*values, settings_text({name: columns[name][place] for name in settings}))
    return view


def _table(title: str, headings: list[str]) -> Table:
    from rich.table import Table  # noqa: PLC0415

    view = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    for heading in headings:
        view.add_column(heading, overflow="fold")
    return view


def _say(text: str) -> None:
    print(text)  # noqa: T201
