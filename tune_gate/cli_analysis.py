"""`tune-gate why`, `ledger` and `safety`: why a trial ended, where the time went, whether stopping early was safe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tune_gate.cli_options import Where

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder or URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def why(
    directory: StudyDir,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="The trial's number.")],
    as_json: AsJson = False,  # noqa: FBT002  a flag
) -> None:
    """Say why a trial ended where it did: rung, peers, cutoff then and now, failures, cost."""
    from analysis.explanations import why as explain  # noqa: PLC0415  pandas is slow to import
    from analysis.study import open_study  # noqa: PLC0415

    explanation = explain(open_study(directory), trial)
    _say(json.dumps(explanation.to_record(), indent=2) if as_json else "\n".join(explanation.lines()))


def ledger(
    directory: StudyDir,
    by_trial: Annotated[bool, typer.Option("--trials", help="Show every trial, too.")] = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say where the machine time went: useful, stopped, diverged, failed, redone, idle; and what was saved."""
    from analysis.costs import ledger as fold  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415

    folded = fold(open_study(directory))
    if as_json:
        _say(json.dumps(folded.to_record(), indent=2))
        return
    if by_trial:
        _say(folded.trials.to_string(index=False, float_format="{:.4f}".format))
    _say("\n".join(folded.lines()))


def safety(
    directory: StudyDir,
    epochs: Annotated[
        list[int] | None,
        typer.Option("--epoch", min=1, help="Judge here, not at the rungs; may be repeated."),
    ] = None,
    smooth: Annotated[int, typer.Option("--smooth", min=1, help="Average values over so many epochs.")] = 1,
    winners: Annotated[float, typer.Option("--winners", help="Share of the finished trials that won.")] = 0.1,
    where: Where = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say whether early stopping was safe here: what each rung knew of the end, and advice."""
    from analysis.early_stopping import early_stopping_safety  # noqa: PLC0415
    from analysis.scores import selected_trials  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415

    study = open_study(directory)
    trials = selected_trials(study, where, states=None).index.tolist() if where else ()
    found = early_stopping_safety(study, epochs or (), smooth, winners, trials)
    _say(json.dumps(found.to_record(), indent=2) if as_json else "\n".join(found.lines()))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (why, ledger, safety):
        app.command()(command)


def _say(text: str) -> None:
    print(text)  # noqa: T201
