"""`tune-gate train` and `tune-gate evaluate`: one configuration, outside any search."""

from __future__ import annotations

import json
import signal
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from analysis.files import write_atomic
from trainables.config import PRESETS, TrialConfig, trial_config
from tune_gate.display import stdout_console
from tune_gate.errors import Misuse, SearchFailed, StudyLocked
from tune_gate.lock import current_holder, hold
from tune_gate.setting_options import CONTEXT_SETTINGS, with_settings
from tune_gate.storage import refuse_url

if TYPE_CHECKING:
    from trainables.evaluation import FinalEvaluation
    from trainables.training import EpochReport

INTERRUPTED = 130

#: Where runs go that are given no folder.
RUNS = Path("runs")

#: Settings that `evaluate` takes: where the images are, and which model published weights are of.
_TESTED = (
    "data", "data_dir", "split", "split_seed", "val_fraction",
    "depth", "block", "gate", "gate_input", "gate_hidden", "kappa",
)  # fmt: skip

Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


@with_settings(TrialConfig.model_fields)
def train(
    options: Mapping[str, Any],
    config: Annotated[Path | None, typer.Option("--config", help="A file that `export --config-of` wrote.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help=f"A base: {', '.join(PRESETS)}.")] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="The run's folder; new or empty.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --dir.")] = False,  # noqa: FBT002
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
) -> None:
    """Train one configuration, with checkpoints, TensorBoard logs, and g per validation image."""
    # torch is slow to import
    from trainables.checkpoints import CheckpointFolder  # noqa: PLC0415
    from trainables.standalone import (  # noqa: PLC0415
        empty_folder,
        folder_of_run,
        new_folder,
        pick_device,
        read_settings,
        record_run,
        write_settings,
    )
    from trainables.training import start_run  # noqa: PLC0415

    if directory is not None:
        refuse_url(directory, "a single run")
    where = pick_device(device, threads)
    if resume:
        if directory is None or options or config is not None or preset is not None:
            raise Misuse("--resume goes on with the run in --dir as it was begun; give --dir and no settings")
        folder, settings = folder_of_run(directory)
    else:
        given = {} if config is None else read_settings(config)
        settings = trial_config({**({"preset": preset} if preset else {}), **given, **options})
        start_run(settings, where)  # what is wrong shows before a folder is made
        folder = new_folder(settings, RUNS) if directory is None else empty_folder(directory)
        write_settings(folder, settings)
    console = stdout_console()
    with _sole_writer(folder.path):
        run, passed_over = CheckpointFolder(folder.checkpoints).resume(settings, where)
        for message in passed_over:
            console.print(f"warning: {message}", markup=False, highlight=False, soft_wrap=True)
        last = _show(record_run(run, folder, keep=2), settings.epochs, console, folder.path)
    if last is None:
        console.print(f"the run in {folder.path} was finished before", highlight=False, markup=False)
        return
    console.print(f"the run is in {folder.path}", highlight=False, markup=False)
    if last.diverged:
        raise SearchFailed(f"the run diverged at epoch {last.epoch}: lower lr or lr_gate")


@with_settings(_TESTED)
def evaluate(
    settings: Mapping[str, Any],
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of `train` or of a search, or published weights.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write g per test image, as CSV.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,  # noqa: FBT002
    device: Device = "auto",
) -> None:
    """Open the test split for a finished model, and say how right it is.

    A checkpoint knows its settings. The defaults of the model's settings below hold for published weights.
    """
    from trainables.evaluation import evaluate_checkpoint  # noqa: PLC0415
    from trainables.standalone import g_csv, pick_device  # noqa: PLC0415

    final = evaluate_checkpoint(checkpoint, settings, pick_device(device, None))
    record = _test_record(final)
    if output is not None:
        write_atomic(output, g_csv(final.test.labels, final.result))
    if as_json:
        print(json.dumps(record, indent=2))  # noqa: T201
        return
    console = stdout_console()
    for line in _test_lines(record):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _test_record(final: FinalEvaluation) -> dict[str, Any]:
    """The result on the test split, for `--json`."""
    from analysis.statistics import wilson_interval  # noqa: PLC0415

    result, images = final.result, len(final.test)
    low, high = wilson_interval(result.accuracy, images)
    record: dict[str, Any] = {
        "test_acc": result.accuracy,
        "test_acc_low": float(low),
        "test_acc_high": float(high),
        "images": images,
        "test_loss": result.loss,
    }
    if result.g is not None:
        record |= {
            "shallow_acc": result.shallow_accuracy,
            "deep_acc": result.deep_accuracy,
            "gate_mean": result.g.mean().item(),
        }
    return record


def _test_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The same for a person."""
    percent = {name: f"{100 * value:.2f}" for name, value in record.items() if "_acc" in name}
    yield (
        f"test accuracy {percent['test_acc']} % [{percent['test_acc_low']}, {percent['test_acc_high']}] "
        f"on {record['images']} images, loss {record['test_loss']:.4f}"
    )
    if "gate_mean" in record:
        yield (
            f"exits: shallow {percent['shallow_acc']} %, deep {percent['deep_acc']} %, mixed {percent['test_acc']} %; "
            f"mean g {record['gate_mean']:.3f}"
        )


def register(app: typer.Typer) -> None:
    """Add the two commands to the command line."""
    app.command(context_settings=CONTEXT_SETTINGS)(train)
    app.command(context_settings=CONTEXT_SETTINGS)(evaluate)


def _show(reports: Generator[EpochReport], epochs: int, console: Console, folder: Path) -> EpochReport | None:
    """Show each report as it comes; the last one."""
    last = None
    with _interruptible(folder, console), closing(reports), Progress(
        TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(), console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("train", total=epochs, said="")
        for last in reports:
            said = f"val_acc {last.val_acc:.4f}  train_loss {last.train_loss:.4f}  {last.seconds:.1f} s"
            bar.update(task, completed=last.epoch, said=said)
            if not console.is_terminal:
                console.print(f"epoch {last.epoch}/{epochs}  {said}", highlight=False)
    return last


@contextmanager
def _interruptible(folder: Path, console: Console) -> Iterator[None]:
    """SIGTERM is Ctrl-C; either ends the run between two writes, and what was saved goes on later."""
    # SIGINT by hand as well: a shell's background job is born deaf to it.
    previous = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"interrupted; go on with: tune-gate train --resume --dir {folder}", markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _sole_writer(folder: Path) -> Iterator[None]:
    """Two processes that went on with one run would write over each other."""
    try:
        with hold(folder):
            yield
    except StudyLocked:
        raise Misuse(
            f"{folder} is in use by {current_holder(folder) or 'another process'}; wait for it to end"
        ) from None
