"""`tune-gate cluster`: what helps to bring a cluster up."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tune_gate.cluster_templates import TEMPLATES, template
from tune_gate.errors import Misuse

cluster = typer.Typer(help="Bring a Ray cluster up for a study.", no_args_is_help=True)


@cluster.command(name="template")
def template_command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(TEMPLATES)}.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file, not standard output.")] = None,
) -> None:
    """Write a file to be edited that starts Ray on such a cluster, and runs or resumes a study on it."""
    found = template(kind)
    if output is None:
        sys.stdout.write(found.text)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(found.text)
    except FileExistsError:
        raise Misuse(f"{output} exists, and nothing is written over; choose another name") from None
    print(f"wrote {output}; edit it, then: {found.use.replace('FILE', os.fspath(output))}")  # noqa: T201


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(cluster, name="cluster")
