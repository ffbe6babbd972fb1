"""`tune-gate report` and `figures`: what a study says, as one page and as figures for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.copies import shown

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]


def report(
    directory: StudyDir,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, instead of DIR/exports/report.html.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="SECTION", help="Only this; repeatable.")] = None,
) -> None:
    """Write the report: one page with its figures, which needs no network."""
    from analysis.report import write_report  # noqa: PLC0415  pandas is slow to import
    from analysis.study import open_study  # noqa: PLC0415
    from tune_gate.storage import push_results  # noqa: PLC0415

    study = open_study(directory)
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
) -> None:
    """Write the figures for a paper: legible in one column, safe for the colour-blind."""
    from analysis.plots.registry import write_figures  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415
    from tune_gate.storage import push_results  # noqa: PLC0415

    study = open_study(directory)
    folder = output or study.path / "exports" / "figures"
    written, left_out = write_figures(study, folder, fmt, only or (), width)
    push_results(study.path)
    for path in written:
        _say(f"wrote {shown(path)}")
    for name, why in left_out.items():
        _say(f"no figure {name}: {why}")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (report, figures):
        app.command()(command)


def _say(text: str) -> None:
    print(text)  # noqa: T201
