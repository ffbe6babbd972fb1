"""`tune-gate fork`: a new study that knows what an earlier one found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tune_gate.display import stdout_console
from tune_gate.dotted import parse_change
from tune_gate.outcome_view import conclude


def fork(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The study to start from.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The new study's folder; new or empty.")],
    spec: Annotated[
        Path | None, typer.Option("--spec", metavar="STUDY.yaml", help="Instead of DIR's study.yaml, as it is now.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the new study.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="ADDRESS", help="As for launch; without it: this machine.")
    ] = None,
) -> None:
    """Start a new study that takes an earlier one's trials as its sampler's history, where its space allows."""
    from tune_gate import api  # noqa: PLC0415  pandas is slow to import

    console = stdout_console()
    conclude(api.fork(directory, new, spec, dict(map(parse_change, changes or ())), console, cluster), console)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(fork)
