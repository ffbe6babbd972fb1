"""`tune-gate verify`, `repair` and `doctor`: whether a study and a machine can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.copies import quoted
from tune_gate.display import stdout_console

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder or URL.")]

FAILURE = 1

_VERDICT_STYLES = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}


def verify(directory: StudyDir) -> None:
    """Fold a study's log anew, and say where what was recorded differs."""
    from tune_gate.verify import verify_study  # noqa: PLC0415  optuna is slow to import

    found = verify_study(directory)
    console = stdout_console()
    for line in (*found.differences, *(f"note: {note}" for note in found.notes), found.summary):
        console.print(str(line), markup=False, highlight=False, soft_wrap=True)
    if found.differences:
        raise typer.Exit(FAILURE)


def repair(directory: StudyDir) -> None:
    """Go on without the lines of a study's log that cannot be read; the old log is kept."""
    from tune_gate.repair import repair_study  # noqa: PLC0415
    from tune_gate.storage import check_out  # noqa: PLC0415

    directory = check_out(directory)
    repaired = repair_study(directory)
    console = stdout_console()
    if repaired is None:
        console.print("nothing to repair: the log is whole", highlight=False)
        return
    console.print(str(repaired.mended), markup=False, highlight=False, soft_wrap=True)
    console.print(f"the old log is kept as {repaired.kept}", markup=False, highlight=False, soft_wrap=True)
    name = quoted(directory)
    console.print(
        f"what follows from the loss: tune-gate verify {name}; go on: tune-gate resume {name}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def doctor(
    directory: Annotated[Path, typer.Option("--dir", help="Where studies are to lie.")] = Path("studies"),
) -> None:
    """Check this machine before a search: versions, Ray, GPUs, disks, write access, clock, limits."""
    from tune_gate.doctor import diagnose  # noqa: PLC0415

    findings = diagnose(directory)
    console = stdout_console()
    width = max(map(len, findings))
    for name, finding in findings.items():
        console.print(f"{finding.verdict:4}", style=_VERDICT_STYLES[finding.verdict], end="  ", highlight=False)
        console.print(f"{name:{width}}  {finding.message}", markup=False, highlight=False, soft_wrap=True)
    if any(finding.verdict == "FAIL" for finding in findings.values()):
        raise typer.Exit(FAILURE)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (verify, repair, doctor):
        app.command()(command)
