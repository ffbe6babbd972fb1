"""`tune-gate confirm`: the best configurations of a search anew, with fresh seeds, on the test split."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from analysis.copies import quoted, shown
from tune_gate.cli_output import INTERRUPTED, write_output
from tune_gate.display import stdout_console
from tune_gate.errors import Misuse

if TYPE_CHECKING:
    from analysis.study import Study


def confirm(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A search, or a confirmation to go on with; a folder or URL.")
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="The best K configurations are confirmed.")] = 3,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Fresh seeds of each configuration.")] = 5,
    new: Annotated[Path | None, typer.Option("--dir", help="Where; by default DIR-confirm.")] = None,
    fmt: Annotated[
        str | None,
        typer.Option("--format", "-f", help="The table as csv, json, yaml, markdown, latex, html or parquet."),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="ADDRESS", help="As for launch; without it: this machine.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write that table.")] = None,
) -> None:
    """Train the best anew, beside the default and a plain ResNet, and open the test split once."""
    from analysis.study import open_study  # noqa: PLC0415  pandas is slow to import
    from tune_gate import api  # noqa: PLC0415

    console = stdout_console() if fmt is None else Console(file=sys.stderr)
    if open_study(directory).spec.confirmation is None:
        outcome = api.confirm(directory, top, seeds, new, console, cluster)
    elif new is not None:
        raise Misuse(f"{directory} is a confirmation already; without --dir, `confirm` goes on with it and shows it")
    else:
        outcome = api.resume(directory, console, cluster)
    if fmt is not None:
        _write(outcome.study, fmt, output)
    else:
        show_confirmation(outcome.study, console)
        console.print(
            f"the confirmation is in {shown(outcome.study.path)}", markup=False, highlight=False, soft_wrap=True
        )
    if outcome.ended == "interrupted":
        print(f"interrupted; go on with: tune-gate resume {quoted(outcome.study.path)}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(INTERRUPTED)


def show_confirmation(study: Study, console: Console) -> None:
    """Print what a confirmation found."""
    from analysis.confirmation import confirmation_lines, confirmation_table  # noqa: PLC0415

    console.print(_table_view(study, confirmation_table(study).to_dict("records")))
    for line in confirmation_lines(study):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(confirm)


def _table_view(study: Study, rows: Sequence[Mapping[Any, Any]]) -> Table:
    title = f"Confirmation of {study.spec.confirmation.source_name}" if study.spec.confirmation else study.name
    view = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    view.add_column("configuration", no_wrap=True)
    view.add_column("roles")
    for heading in ("seeds", "test_acc %", "sd", "fresh val %", "promised %", "optimism"):
        view.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        interval = f" [{_percent(row['test_acc_low'])}, {_percent(row['test_acc_high'])}]"
        view.add_row(
            str(row["configuration"]),
            str(row["roles"]),
            str(row["seeds"]),
            _percent(row["test_acc"]) + (interval if _percent(row["test_acc_low"]) else ""),
            *(_percent(row[name]) for name in ("test_acc_sd", "fresh_val_acc", "promised_val_acc", "optimism")),
        )
    return view


def _percent(value: object) -> str:
    return f"{100.0 * value:.2f}" if isinstance(value, float) and value == value else ""  # noqa: PLR0124  not NaN


def _write(study: Study, fmt: str, output: Path | None) -> None:
    from analysis.confirmation import confirmation_table  # noqa: PLC0415
    from analysis.export import export_table  # noqa: PLC0415

    write_output(export_table(confirmation_table(study), fmt), output)
