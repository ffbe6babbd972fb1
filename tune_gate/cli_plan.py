"""`tune-gate plan`: what a search would cost, and which rungs suit it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tune_gate.display import stdout_console
from tune_gate.dotted import parse_change, with_changes
from tune_gate.spec import load_spec, study_spec


def plan(
    study: Annotated[Path | None, typer.Argument(metavar="[STUDY.yaml]", help="Without it: the embedded demo.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study, e.g. scheduler.kind=full."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="STUDY", help="Propose rungs from a study like it, or an .npz table of curves."),
    ] = None,
) -> None:
    """Say what a search would cost, from one measured epoch, before it is spent."""
    from tune_gate.api import demo_spec  # noqa: PLC0415  pandas is slow to import
    from tune_gate.plan import plan_view  # noqa: PLC0415

    changed = dict(parse_change(text) for text in changes or ())
    if study is not None:
        spec = load_spec(study, changed)
    else:
        spec = study_spec(with_changes(demo_spec().model_dump(mode="json", exclude_unset=True), changed))
    console = stdout_console()
    console.print(plan_view(spec))
    if source is not None:
        from tune_gate.replay.proposal import proposed_rungs  # noqa: PLC0415  numpy and optuna are slow to import
        from tune_gate.replay.session import Request  # noqa: PLC0415

        for line in proposed_rungs(spec, source, Request(workers=spec.resources.concurrency or Request().workers)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(plan)
