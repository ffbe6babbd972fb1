"""`tune-gate why`: why a trial ended where it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]


def why(
    directory: StudyDir,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="The trial's number.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,  # noqa: FBT002  a flag
) -> None:
    """Say why a trial ended where it did: rung, peers, cutoff then and now, failures, cost."""
    from analysis.explanations import why as explain  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415  pandas is slow to import

    explanation = explain(open_study(directory), trial)
    if as_json:
        print(json.dumps(explanation.to_record(), indent=2))  # noqa: T201
    else:
        print("\n".join(explanation.lines()))  # noqa: T201


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(why)
