"""What a search leaves on the screen when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console

from analysis.copies import quoted, shown
from tune_gate.cli_confirm import show_confirmation
from tune_gate.cli_output import INTERRUPTED
from tune_gate.display import best_table_view

if TYPE_CHECKING:
    from tune_gate.api import Outcome

#: Rows of the best-config table that end a search.
TOP = 10


def conclude(outcome: Outcome, console: Console) -> None:
    """Show the best configurations, what was written, and how to go on.

    Raises:
        typer.Exit: the search was interrupted.
    """
    from analysis.tables import best_table  # noqa: PLC0415  pandas is slow to import

    study = outcome.study
    table = best_table(study, TOP)
    if study.spec.confirmation is not None:
        show_confirmation(study, console)
    elif not table.empty:
        console.print(best_table_view(table, f"Best configurations of {study.name}"))
    if study.inherited:
        console.print(
            f"{study.inherited} trials of earlier studies were the sampler's history; no table here counts them",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    for path in outcome.written:
        console.print(f"wrote {shown(path)}", markup=False, highlight=False, soft_wrap=True)
    if outcome.ended == "interrupted":
        console.print(f"interrupted; go on with: tune-gate resume {quoted(study.path)}", markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    console.print(f"the study is in {shown(study.path)}", markup=False, highlight=False, soft_wrap=True)
