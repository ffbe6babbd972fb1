"""`tune-gate submit`, `jobs` and `job …`: searches on a cluster, from a laptop that may be switched off."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tune_gate.display import stdout_console
from tune_gate.errors import Misuse

Dashboard = Annotated[
    str, typer.Option("--cluster", metavar="URL", envvar="TUNE_GATE_CLUSTER", help="The dashboard: http://HOST:8265.")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `submit` and `jobs` name it.")]

job = typer.Typer(help="One search on a cluster.", no_args_is_help=True)


def submit(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The search.")],
    directory: Annotated[str, typer.Option("--dir", help="The study's folder, as all nodes of the cluster see it.")],
    cluster: Dashboard,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for launch.")] = None,
    code: Annotated[list[Path] | None, typer.Option("--code", help="A package of your own that trials need.")] = None,
    install: Annotated[bool, typer.Option("--install", help="Have pip install what tune-gate needs.")] = False,  # noqa: FBT002  a flag
    grace: Annotated[int, typer.Option(min=1, help="Seconds for running epochs to finish when it is stopped.")] = 300,
) -> None:
    """Send a search to a cluster, or go on with one there; it does not need this machine any more."""
    from tune_gate.dotted import parse_change  # noqa: PLC0415
    from tune_gate.jobs import Jobs, own_requirements  # noqa: PLC0415
    from tune_gate.spec import load_spec  # noqa: PLC0415

    spec = load_spec(study, dict(parse_change(text) for text in changes or ()))
    jobs = Jobs(cluster)
    found = jobs.submit(spec, directory, code or (), own_requirements() if install else (), grace)
    console = stdout_console()
    console.print(f"sent as {found}", highlight=False)
    for verb in ("status", "logs", "stop", "resume", "export"):
        console.print(f"  tune-gate job {verb} {found} --cluster {jobs.url}", highlight=False, soft_wrap=True)


def jobs_command(cluster: Dashboard) -> None:
    """List the searches of a cluster."""
    from tune_gate.jobs import Jobs  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("job", "study", "state", "folder"):
        table.add_column(column, overflow="fold")
    for each in Jobs(cluster).list():
        table.add_row(each.id, each.study, each.state.lower(), each.folder)
    stdout_console().print(table)


@job.command()
def status(
    job_id: JobId,
    cluster: Dashboard,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,  # noqa: FBT002  a flag
) -> None:
    """Show the state of a job and where its search stands, as `tune-gate status` does beside the study's folder."""
    from tune_gate.job_status import status_record, study_status  # noqa: PLC0415
    from tune_gate.jobs import Jobs  # noqa: PLC0415

    jobs = Jobs(cluster)
    found = jobs.find(job_id)
    if as_json:
        print(json.dumps(status_record(found, study_status(jobs, found, "--json")), indent=2))  # noqa: T201
        return
    console = stdout_console()
    head = f"{found.study}: {found.state.lower()}, in {found.folder}"
    for line in filter(None, (head, found.message)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    study = study_status(jobs, found)
    console.print(study.said.removesuffix("\n") or study.note, markup=False, highlight=False, soft_wrap=True)


@job.command()
def logs(job_id: JobId, cluster: Dashboard) -> None:
    """Print what a search has said so far."""
    from tune_gate.jobs import Jobs  # noqa: PLC0415

    print(Jobs(cluster).logs(job_id), end="")  # noqa: T201


@job.command()
def stop(job_id: JobId, cluster: Dashboard) -> None:
    """Ask a search to finish its running epochs, save, and end; `job resume` goes on with it."""
    from tune_gate.jobs import Jobs  # noqa: PLC0415

    if not Jobs(cluster).stop(job_id):
        raise Misuse(f"search {job_id} has ended already")
    print(f"asked {job_id} to stop; its running epochs finish first")  # noqa: T201


@job.command()
def resume(
    job_id: JobId,
    cluster: Dashboard,
    code: Annotated[
        list[Path] | None, typer.Option("--code", help="Packages of your own, if not those that it had.")
    ] = None,
) -> None:
    """Go on with a search that was stopped, failed or was killed, as a new job."""
    from tune_gate.jobs import Jobs  # noqa: PLC0415

    print(f"sent as {Jobs(cluster).resume(job_id, code or ())}")  # noqa: T201


@job.command()
def export(
    job_id: JobId,
    cluster: Dashboard,
    fmt: Annotated[str, typer.Option("--format", "-f", help="As for `tune-gate export`.")] = "csv",
    top: Annotated[int | None, typer.Option("--top", min=1, help="Only the best K trials.")] = None,
    config_of: Annotated[
        str | None, typer.Option("--config-of", metavar="best|TRIAL", help="Instead: one trial's settings as YAML.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file here, not standard output.")] = None,
) -> None:
    """Write the best-config table of a search, running or ended, or the configuration of one of its trials."""
    from analysis.files import write_atomic  # noqa: PLC0415
    from tune_gate.jobs import Jobs  # noqa: PLC0415

    wanted = {"--format": fmt, "--top": top, "--config-of": config_of}
    options = [f"{name}={value}" for name, value in wanted.items() if value is not None]
    found = Jobs(cluster).ask(job_id, ["export", *options])
    if output is None:
        sys.stdout.buffer.write(found)
    else:
        write_atomic(output, found)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(submit)
    app.command(name="jobs")(jobs_command)
    app.add_typer(job, name="job")
