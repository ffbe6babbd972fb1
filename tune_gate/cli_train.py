"""`tune-gate train` and `tune-gate evaluate`: one configuration, outside any search."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from analysis.files import write_atomic
from trainables.config import PRESETS, TrialConfig, trial_config
from tune_gate.display import stdout_console
from tune_gate.errors import Misuse, SearchFailed
from tune_gate.study_dir import free_folder

if TYPE_CHECKING:
    from trainables.training import EpochReport

INTERRUPTED = 130

#: Where runs go that are given no folder.
RUNS = Path("runs")

_SETTINGS_HELP = "Settings, as --NAME VALUE: " + ", ".join(
    f"--{name.replace('_', '-')} {field.default}" for name, field in TrialConfig.model_fields.items()
)

Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


def train(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", help="A file that `export --config-of` wrote.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help=f"A base: {', '.join(PRESETS)}.")] = None,
    directory: Annotated[Path | None, typer.Option("--dir", help="The run's folder; new or empty.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --dir.")] = False,  # noqa: FBT002
    device: Device = "auto",
) -> None:
    """Train one configuration, with checkpoints, TensorBoard logs, and g per validation image."""
    from trainables.standalone import RunFolder, begin_run, record_run  # noqa: PLC0415  torch is slow to import

    options = settings_of(context.args)
    if resume:
        if directory is None or options or config is not None or preset is not None:
            raise Misuse("--resume goes on with the run in --dir as it was begun; give --dir and no settings")
        folder = RunFolder(directory)
    else:
        settings = trial_config({**({"preset": preset} if preset else {}), **_file_settings(config), **options})
        name = f"{settings.data.partition(':')[0]}-resnet{settings.depth}"
        folder = begin_run(directory or free_folder(RUNS, name), settings)
    console = stdout_console()
    last = _show(record_run(folder, _device(device)), folder.config().epochs, console, folder.path)
    if last is None:
        console.print(f"the run in {folder.path} was finished before", highlight=False, markup=False)
        return
    console.print(f"the run is in {folder.path}", highlight=False, markup=False)
    if last.diverged:
        raise SearchFailed(f"the run diverged at epoch {last.epoch}: lower lr or lr_gate")


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint that `train` or a search wrote.")],
    data: Annotated[str | None, typer.Option("--data", help="Another data set than the checkpoint's.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write g per test image, as CSV.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,  # noqa: FBT002
    device: Device = "auto",
) -> None:
    """Open the test split for a finished model, and say how right it is."""
    from analysis.statistics import wilson_interval  # noqa: PLC0415
    from trainables.standalone import g_table  # noqa: PLC0415
    from trainables.testing import evaluate_checkpoint  # noqa: PLC0415

    result = evaluate_checkpoint(checkpoint, _device(device), data)
    measured = result.evaluation
    low, high = wilson_interval(measured.accuracy, len(result.split))
    record: dict[str, Any] = {
        "test_acc": measured.accuracy,
        "test_acc_low": float(low),
        "test_acc_high": float(high),
        "images": len(result.split),
        "test_loss": measured.loss,
        "epoch": result.saved.epoch,
    }
    if measured.g is not None:
        record |= {
            "shallow_acc": measured.shallow_accuracy,
            "deep_acc": measured.deep_accuracy,
            "gate_mean": measured.g.mean().item(),
        }
    if output is not None:
        if measured.g is None:
            raise Misuse("a model without gate has no g to write")
        write_atomic(output, g_table(result.split, measured))
    if as_json:
        print(json.dumps(record, indent=2))  # noqa: T201
        return
    console = stdout_console()
    console.print(
        f"test accuracy {100 * measured.accuracy:.2f} % [{100 * low:.2f}, {100 * high:.2f}] "
        f"on {len(result.split)} images, loss {measured.loss:.4f}, checkpoint of epoch {result.saved.epoch}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    if measured.g is not None:
        console.print(
            f"exits: shallow {100 * measured.shallow_accuracy:.2f} %, deep {100 * measured.deep_accuracy:.2f} %, "
            f"mixed {100 * measured.accuracy:.2f} %; mean g {measured.g.mean().item():.3f}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the two commands to the command line."""
    loose = {"allow_extra_args": True, "ignore_unknown_options": True}  # every setting is an option
    app.command(context_settings=loose, epilog=_SETTINGS_HELP)(train)
    app.command()(evaluate)


def settings_of(arguments: list[str]) -> dict[str, Any]:
    """`--lr 0.1 --gate-iters=3` as settings.

    Raises:
        Misuse: something is no option, or has no value.
    """
    settings: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("--"):
            raise Misuse(f"{argument!r} is no option; settings are given as --NAME VALUE")
        name, equals, value = argument.removeprefix("--").partition("=")
        text = value if equals else next(rest, None)
        if text is None:
            raise Misuse(f"option --{name} needs a value")
        settings[name.replace("-", "_")] = _value(name, text)
    return settings


def _value(name: str, text: str) -> Any:
    if name == "milestones" and not text.startswith("["):
        text = f"[{text}]"
    return text if name in ("data", "data-dir", "baseline", "kappa") else yaml.safe_load(text)


def _file_settings(path: Path | None) -> dict[str, Any]:
    """The settings in a file: as `export --config-of` writes them, or a bare mapping."""
    if path is None:
        return {}
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misuse(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Misuse(f"{path} is not YAML") from None
    if not isinstance(record, dict) or not isinstance(record.get("config", {}), dict):
        raise Misuse(f"{path} is not a mapping of settings")
    if "config" not in record:
        return record
    return {**record["config"], **{key: record[key] for key in ("epochs", "seed") if key in record}}


def _device(name: str) -> Any:
    from trainables.device import DEVICES  # noqa: PLC0415

    if name not in DEVICES:
        raise Misuse(f"unknown device {name!r}; known: {', '.join(DEVICES)}")
    return DEVICES[name]()


def _show(reports: Iterator[EpochReport], epochs: int, console: Console, folder: Path) -> EpochReport | None:
    """Show each report as it comes; the last one."""
    last = None
    with _interruptible(folder, console), Progress(
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
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"interrupted; go on with: tune-gate train --resume --dir {folder}", markup=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, previous)
