"""`tune-gate replay`: searches run again in virtual time, over recorded learning curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tune_gate.display import stdout_console
from tune_gate.errors import Misuse


def replay(  # noqa: PLR0913, PLR0917  one argument for each option
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Study folders, or .npz tables of curves.")],
    tried: Annotated[
        list[Path] | None, typer.Option("--try", metavar="SETTINGS.yaml", help="Scheduler and sampler to try.")
    ] = None,
    usual: Annotated[bool, typer.Option("--compare", help="Try the usual searches, too.")] = False,  # noqa: FBT002
    advice: Annotated[bool, typer.Option("--advise", help="Say which rungs the curves speak for.")] = False,  # noqa: FBT002
    workers: Annotated[int, typer.Option("--workers", min=1, help="Trials at once.")] = 4,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each search.")] = 20,
    budget: Annotated[
        float | None, typer.Option("--budget", min=0.1, help="Of a search: full-length trials, all workers together.")
    ] = None,
    lookup: Annotated[
        str, typer.Option("--lookup", help="nearest, or unused: meet each configuration once.")
    ] = "nearest",
    epoch_seconds: Annotated[
        float | None, typer.Option("--epoch-seconds", min=1e-6, help="Of every epoch, instead of those recorded.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option("--within", min=0.0, help="Of the best known, instead of one standard error.")
    ] = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw best value against time here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Run other searches over the learning curves of studies, in virtual time."""
    from tune_gate.replay import session  # noqa: PLC0415  numpy and optuna are slow to import
    from tune_gate.replay.drawing import draw_comparison  # noqa: PLC0415
    from tune_gate.replay.view import comparison_view  # noqa: PLC0415

    if figure is not None and len(studies) > 1:
        raise Misuse("--figure draws one study; name one")
    asked = session.Request(tuple(tried or ()), usual, workers, seeds, budget, lookup, epoch_seconds, tolerance)
    records: list[dict[str, Any]] = []
    console = stdout_console()
    for path in studies:
        comparison, advised = session.advise_study(path, asked) if advice else (session.replay_study(path, asked), None)
        if as_json:
            record = {"study": str(path), "searches": [line.to_record() for line in comparison.summaries()]}
            records.append(record if advised is None else {**record, "advice": advised.scheduler})
        else:
            console.print(comparison_view(comparison))
            for line in advised.lines if advised is not None else ():
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        if figure is not None:
            draw_comparison(comparison, figure)
            console.print(f"wrote {figure}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(records, indent=2))  # noqa: T201


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(replay)
