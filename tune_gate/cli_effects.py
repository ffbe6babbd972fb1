"""`tune-gate effects` and `noise`: what each setting does, and what chance alone does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tune_gate.cli_options import Where

if TYPE_CHECKING:
    import pandas as pd

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder or URL.")]
Metric = Annotated[str, typer.Option("--metric", help="What trials are measured by.")]
At = Annotated[str, typer.Option("--at", help="best: at the best epoch; last: mean of the last epochs.")]
Last = Annotated[int, typer.Option("--last", min=1, help="How many last epochs, with --at last.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def effects(  # noqa: PLR0913, PLR0917  one parameter per option
    directory: StudyDir,
    where: Where = None,
    metric: Metric = "val_acc",
    at: At = "best",
    last: Last = 10,
    bootstraps: Annotated[int, typer.Option("--bootstraps", min=0, help="Draws for importances; 0: none.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of these draws.")] = 0,
    as_json: AsJson = False,  # noqa: FBT002  a flag
) -> None:
    """Say what each setting does: matched pairs, sign-flip p-values, interactions, importances."""
    from analysis.errors import AnalysisError  # noqa: PLC0415
    from analysis.importance import importances  # noqa: PLC0415
    from analysis.main_effects import effects as fold  # noqa: PLC0415  pandas is slow to import
    from analysis.study import open_study  # noqa: PLC0415

    study, measure = open_study(directory), _measure(metric, at, last)
    found = fold(study, measure, where or ())
    shares, why_not = None, "not asked for"
    if bootstraps:
        try:
            shares = importances(study, measure, where or (), bootstraps=bootstraps, seed=seed)
        except AnalysisError as error:
            why_not = str(error)
    if as_json:
        record = {"measure": found.measure, "trials": found.trials, "configurations": found.configurations}
        tables = {"main": found.main, "interactions": found.interactions, "importances": shares}
        _say_json(record | {name: None if table is None else _records(table) for name, table in tables.items()})
        return
    _say(*found.lines())
    if shares is None:
        _say(f"importances: {why_not}")
        return
    for row in shares.to_dict("records"):
        spread = f"[{row['low']:.2f}, {row['high']:.2f}]"
        _say(f"importance ({row['evaluator']}) of {row['setting']}: {row['importance']:.2f} {spread}")


def noise(
    directory: StudyDir,
    where: Where = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="NAME", help="A setting that is known to do nothing.")
    ] = None,
    metric: Metric = "val_acc",
    at: At = "best",
    last: Last = 10,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say what chance alone does: images, replicates of a configuration, ties with the best, choosing on test."""
    from dataclasses import asdict  # noqa: PLC0415

    from analysis.chance import noise as fold  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415

    found = fold(open_study(directory), _measure(metric, at, last), where or (), ignore or ())
    if as_json:
        _say_json({**asdict(found), "groups": _records(found.groups)})
    else:
        _say(*found.lines())


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (effects, noise):
        app.command()(command)


def _measure(metric: str, at: str, last: int) -> Any:
    from analysis.scores import Measure  # noqa: PLC0415

    return Measure(metric, at, last)  # type: ignore[arg-type]  # it checks `at`


def _records(table: pd.DataFrame) -> Any:
    from analysis.export import to_json  # noqa: PLC0415

    return json.loads(to_json(table))


def _say_json(record: dict[str, Any]) -> None:
    plain = {name: None if isinstance(value, float) and value != value else value for name, value in record.items()}  # noqa: PLR0124
    _say(json.dumps(plain, indent=2))


def _say(*lines: str) -> None:
    print("\n".join(lines))  # noqa: T201
