"""`tune-gate figures`: a study's figures for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]


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
    from analysis.plots.registry import write_figures  # noqa: PLC0415  pandas is slow to import
    from analysis.study import open_study  # noqa: PLC0415

    folder = output or directory / "exports" / "figures"
    written, left_out = write_figures(open_study(directory), folder, fmt, only or (), width)
    for path in written:
        _say(f"wrote {path}")
    for name, why in left_out.items():
        _say(f"no figure {name}: {why}")


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(figures)


def _say(text: str) -> None:
    print(text)  # noqa: T201
