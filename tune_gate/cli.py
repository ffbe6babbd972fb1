"""The command line. Each command reads its arguments, calls one function, and shows what it returned."""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from analysis.errors import AnalysisError
from search_spaces.errors import SpaceError
from trainables.errors import TrainableError
from tune_gate import (
    cli_analysis,
    cli_audit,
    cli_cluster,
    cli_confirm,
    cli_effects,
    cli_fork,
    cli_gate,
    cli_import,
    cli_jobs,
    cli_plan,
    cli_replay,
    cli_report,
    cli_train,
)
from tune_gate.cli_options import Where
from tune_gate.cli_output import INTERRUPTED, write_output
from tune_gate.display import status_view, stdout_console
from tune_gate.dotted import parse_change
from tune_gate.errors import Misuse, TuneGateError
from tune_gate.outcome_view import conclude

#: Exit codes: a failure, and misuse.
FAILURE, MISUSE = 1, 2

#: Base of the errors about the command line itself; typer shows the base of them only through their children.
ClickException: type[Any] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="Hyperparameter search for gated ResNets: every decision logged, explained and repeatable.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder or URL.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study, e.g. scheduler.kind=full."),
]  # fmt: skip

Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="ADDRESS", help="auto, HOST:PORT or ray://HOST:PORT; without it: this machine."),
]


@app.command()
def launch(
    study: Annotated[Path | None, typer.Argument(metavar="[STUDY.yaml]", help="Without it: the embedded demo.")] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="The study's folder or URL; new or empty.")] = None,
    changes: Changes = None,
    cluster: Cluster = None,
    history: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="STUDY", help="An earlier study, whose trials the sampler is told of."),
    ] = None,
) -> None:
    """Start a search and show it to its end."""
    from tune_gate import api  # noqa: PLC0415  pandas is slow to import

    console = stdout_console()
    conclude(api.launch(study, directory, _changes(changes), console, cluster, history or ()), console)


@app.command()
def resume(
    directory: StudyDir,
    accepted: Annotated[bool, typer.Option("--accept-code", help="Although the trials' code has changed.")] = False,  # noqa: FBT002
    cluster: Cluster = None,
) -> None:
    """Go on with a search that was interrupted, stopped or killed, with what was edited in its study.yaml."""
    from tune_gate import api  # noqa: PLC0415
    from tune_gate.changes import accept_code  # noqa: PLC0415
    from tune_gate.storage import check_out  # noqa: PLC0415

    console = stdout_console()
    directory = check_out(directory)
    if accepted and (changed := accept_code(directory)):
        console.print(f"warning: {changed}", markup=False, highlight=False, soft_wrap=True)
    conclude(api.resume(directory, console, cluster), console)


@app.command()
def extend(
    directory: StudyDir,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Trials in all.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs of a full trial.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Retrain what was not kept, without asking.")] = False,  # noqa: FBT002
    cluster: Cluster = None,
) -> None:
    """Give a study more trials or more epochs, and go on with it."""
    from tune_gate import api  # noqa: PLC0415
    from tune_gate.budget import extend_study, plan_extension  # noqa: PLC0415
    from tune_gate.storage import check_out  # noqa: PLC0415

    directory = check_out(directory)
    planned = plan_extension(directory, trials, epochs)
    if planned.retrained and not yes:
        lost = ", ".join(f"trial {trial} ({count} epochs)" for trial, count in planned.retrained)
        typer.confirm(f"these were not kept to their last epoch and would be retrained: {lost}; go on?", abort=True)
    extend_study(directory, planned.budget)
    console = stdout_console()
    conclude(api.resume(directory, console, cluster), console)


@app.command()
def stop(directory: StudyDir) -> None:
    """Ask a running search to finish its running epochs, save, and end."""
    from tune_gate.control import request_stop  # noqa: PLC0415

    print(f"asked {request_stop(directory)} to stop; its running epochs finish first")  # noqa: T201


@app.command()
def status(
    directory: StudyDir,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,  # noqa: FBT002  a flag
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until the search ends.")] = False,  # noqa: FBT002
) -> None:
    """Show where a search stands."""
    from tune_gate.lock import current_holder  # noqa: PLC0415
    from tune_gate.progress import ProgressReader  # noqa: PLC0415

    reader = ProgressReader(directory)
    reader.read()
    progress = reader.progress(current_holder(directory) is not None)
    if as_json:
        print(json.dumps(progress.to_record(), indent=2))  # noqa: T201
        return
    console = stdout_console()
    if not watch:
        console.print(status_view(progress, reader.spec.metric))
        return
    with Live(status_view(progress, reader.spec.metric), console=console, auto_refresh=False) as live:
        while progress.session == "running":
            time.sleep(1.0)
            reader.read()
            progress = reader.progress(current_holder(directory) is not None)
            live.update(status_view(progress, reader.spec.metric), refresh=True)


@app.command(name="ls")
def list_command(root: Annotated[Path, typer.Argument(help="Where to look.")] = Path("studies")) -> None:
    """List the studies below a folder."""
    from tune_gate.listing import studies_view  # noqa: PLC0415

    stdout_console().print(studies_view(root))


@app.command()
def spaces(name: Annotated[str | None, typer.Argument(help="Show one space in full.")] = None) -> None:
    """List the named search spaces, or show one as it is written in a study."""
    from tune_gate.listing import space_text, spaces_view  # noqa: PLC0415

    if name is None:
        stdout_console().print(spaces_view())
    else:
        print(space_text(name), end="")  # noqa: T201


@app.command()
def export(  # noqa: PLR0913, PLR0917  one parameter per option
    directory: StudyDir,
    fmt: Annotated[
        str, typer.Option("--format", "-f", help="csv, json, yaml, markdown, latex, html or parquet; optuna.")
    ] = "csv",
    top: Annotated[int | None, typer.Option("--top", min=1, help="Only the best K trials.")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="SETTING", help="Rank each value of it apart.")] = None,
    late: Annotated[int, typer.Option("--late", min=1, help="Last epochs of which late_val_acc is the mean.")] = 10,
    where: Where = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="NAME,NAME", help="Only these, with their intervals.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="A file, not standard output; with optuna, a journal or URL.")
    ] = None,
    config_of: Annotated[
        str | None, typer.Option("--config-of", metavar="best|TRIAL", help="Instead: one trial's settings as YAML.")
    ] = None,
) -> None:
    """Write the best-config table, the configuration of one trial, or the whole study for Optuna."""
    from analysis.configs import config_yaml  # noqa: PLC0415
    from analysis.export import export_table  # noqa: PLC0415
    from analysis.scores import mixed_data, mixing_note  # noqa: PLC0415
    from analysis.study import open_study  # noqa: PLC0415
    from analysis.tables import best_table, chosen_columns  # noqa: PLC0415

    opened, file = open_study(directory), None if output is None else Path(output)
    if fmt == "optuna":
        _export_to_optuna(opened, output)
    elif config_of is not None:
        write_output(config_yaml(opened, _trial_number(config_of)), file)
    else:
        table = best_table(opened, top, by, late, where or ())
        if columns is not None:
            table = chosen_columns(table, columns.split(","))
        write_output(export_table(table, fmt), file)
        if by is None and not where and (mixed := mixed_data(opened)):
            print(f"note: {mixing_note(mixed)}", file=sys.stderr)  # noqa: T201


cli_plan.register(app)
cli_train.register(app)
cli_audit.register(app)
cli_report.register(app)
cli_confirm.register(app)
cli_fork.register(app)
cli_gate.register(app)
cli_analysis.register(app)
cli_replay.register(app)
cli_import.register(app)
cli_effects.register(app)
cli_cluster.register(app)
cli_jobs.register(app)


def main() -> None:
    """Run the command line; every error a user can mend is one line."""
    given = sys.argv[1:]
    arguments = [argument for argument in given if argument != "--debug"] or ["--help"]
    try:
        code = app(arguments, prog_name="tune-gate", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001  the boundary of the process
        if "--debug" in given:
            traceback.print_exc()
        code = _explain(error)
    sys.exit(code or 0)


def _explain(error: Exception) -> int:
    """Say in one line what went wrong; the exit code."""
    if isinstance(error, ClickException):
        message, code = error.format_message(), MISUSE
    elif isinstance(error, (Misuse, SpaceError, TrainableError, AnalysisError)):
        message, code = str(error), MISUSE
    elif isinstance(error, (TuneGateError, OSError)):
        message, code = str(error), FAILURE
    else:
        message, code = f"{type(error).__name__}: {error} (an error of tune-gate itself; --debug shows where)", FAILURE
    print(f"tune-gate: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return code


def _changes(texts: list[str] | None) -> dict[str, Any]:
    return dict(parse_change(text) for text in texts or ())


def _trial_number(text: str) -> Any:
    if text == "best":
        return "best"
    if not text.isdecimal():
        raise Misuse(f"--config-of {text!r} is neither 'best' nor the number of a trial")
    return int(text)


def _export_to_optuna(study: Any, output: str | None) -> None:
    from analysis.optuna_form import write_optuna  # noqa: PLC0415  optuna is slow to import

    if output is None:
        raise Misuse("--format optuna wants --output: sqlite:///study.db, or the path of a journal file")
    write_optuna(study, output)
    print(f"wrote {output}; look at it with: optuna-dashboard {output}")  # noqa: T201
