"""`tune-gate gate` and `pareto`: what a trained gate does, image by image, and what accuracy costs at inference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from analysis.copies import shown
from tune_gate.cli_options import Where
from tune_gate.errors import Misuse


def gate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder or URL.")],
    trial: Annotated[int | None, typer.Argument(metavar="[TRIAL]", help="Without it: the best trial.")] = None,
    fmt: Annotated[str, typer.Option("--format", "-f", help="Of the figures: png, pdf or svg.")] = "png",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Survey a gate on the validation images: for whom it opens, what each exit is worth, what skipping saves."""
    from analysis.files import write_atomic  # noqa: PLC0415  pandas is slow to import
    from analysis.gate import exit_table, gate_groups, gate_lines, read_survey, skipping_table  # noqa: PLC0415
    from analysis.plots.registry import FIGURE_FORMATS  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415
    from tune_gate.storage import push_results  # noqa: PLC0415
    from tune_gate.surveying import survey_trial, write_gate_figures  # noqa: PLC0415

    if fmt not in FIGURE_FORMATS:
        raise Misuse(f"--format {fmt!r} is none of {', '.join(FIGURE_FORMATS)}")
    path = survey_trial(directory, trial, device)
    survey = read_survey(path)
    for line in gate_lines(survey):
        _say(line)
    folder = path.with_suffix("")
    tables = {"groups": gate_groups(survey), "exits": exit_table(survey)}
    if survey.gate_input == "early":
        tables["skipping"] = skipping_table(survey)
    for name, table in tables.items():
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False))
    written = write_gate_figures(survey, folder, fmt)
    push_results(open_study(directory).path)
    for file in (path, *(folder / f"{name}.csv" for name in tables), *written):
        _say(f"wrote {shown(file)}")


def pareto(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print every point as JSON, on the front or not.")] = False,  # noqa: FBT002
    where: Where = None,
) -> None:
    """Say which models, and which shares of images that skip layers, none beats in both accuracy and compute."""
    from analysis.export import to_json  # noqa: PLC0415  pandas is slow to import
    from analysis.pareto import front_lines, operating_points  # noqa: PLC0415
    from analysis.scores import part_where  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415

    study = part_where(open_study(directory), where or ())
    if as_json:
        _say(to_json(operating_points(study)).rstrip())
        return
    for line in front_lines(study):
        _say(line)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (gate, pareto):
        app.command()(command)


def _say(text: str) -> None:
    print(text)  # noqa: T201
