"""`tune-gate import`: runs of other programs as a study of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.importers import IMPORTERS, import_study

_KINDS = "; ".join(f"{name}: {importer.help}" for name, importer in IMPORTERS.items())


def import_command(  # noqa: PLR0913, PLR0917  one parameter per option
    kind: Annotated[str, typer.Argument(metavar="{" + ",".join(IMPORTERS) + "}", help="What SOURCE is.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=_KINDS)],
    directory: Annotated[Path, typer.Option("--dir", help="The study's folder; new or empty.")],
    metric: Annotated[str | None, typer.Option("--metric", help="The validation accuracy's name in SOURCE.")] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", help="Its unit: fraction, percent, error, error-percent, score or loss.")
    ] = None,
    val_images: Annotated[int | None, typer.Option("--val-images", min=1, help="Images behind an accuracy.")] = None,
    mapping: Annotated[Path | None, typer.Option("--mapping", help="YAML that says how names are read.")] = None,
    study: Annotated[str | None, typer.Option("--study", help="Which study, where SOURCE holds several.")] = None,
) -> None:
    """Make a study of runs of another program: every curve, setting, time and end."""
    from analysis.importers.foreign import ImportOptions  # noqa: PLC0415
    from tune_gate.storage import refuse_url  # noqa: PLC0415

    refuse_url(directory, "an imported study")
    options = ImportOptions(metric, unit, val_images, mapping, study)
    found = import_study(kind, source, directory, options)
    for note in found.notes:
        print(f"note: {note}")  # noqa: T201
    epochs = sum(len(trial.epochs) for trial in found.trials)
    print(f"imported {len(found.trials)} trials with {epochs} epochs; the study is in {directory}")  # noqa: T201


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(name="import")(import_command)
