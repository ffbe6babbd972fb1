"""One configuration trained outside any search, with all that it leaves behind in one folder.

    config.yaml         the settings, in the form of `tune-gate export --config-of`
    epochs.csv          one row per epoch
    g.csv               g of each validation image in the best epoch; not for a plain ResNet
    checkpoints/        the newest, and the best on validation
    tensorboard/        event files

The checkpoint of an epoch is written after all else that tells of it. So after a crash nothing is missing: what is
newer than the newest checkpoint is done over, and replaced.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml

from trainables.atomic import write_text
from trainables.checkpoints import CheckpointFolder
from trainables.config import TrialConfig, trial_config
from trainables.device import DEVICES, Device
from trainables.errors import ConfigError, TrainableError, unknown_name
from trainables.tensorboard_log import open_tensorboard
from trainables.training import EpochReport, Evaluation, TrainingRun, train

#: What a configuration file may hold beside its settings.
_FILE_KEYS = ("name", "seed", "epochs", "config")

_COLUMNS = tuple(field.name for field in fields(EpochReport))


class RunFolderError(TrainableError):
    """A run's folder is taken already, or holds no run."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps what."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings."""
        return self.path / "config.yaml"

    @property
    def epochs(self) -> Path:
        """One row per epoch."""
        return self.path / "epochs.csv"

    @property
    def g(self) -> Path:
        """One row per validation image."""
        return self.path / "g.csv"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """The folder of event files."""
        return self.path / "tensorboard"


def pick_device(name: str, threads: int | None) -> Device:
    """The device of that name, with so many CPU threads; None leaves the number to torch.

    Raises:
        ConfigError: the name is unknown, or the device is not there.
    """
    if name not in DEVICES:
        raise ConfigError(unknown_name("device", name, DEVICES))
    if threads is not None:
        torch.set_num_threads(threads)
    return DEVICES[name]()


def new_folder(config: TrialConfig, root: Path) -> RunFolder:
    """Make a folder below `root` that did not exist, named after the data and the depth.

    Raises:
        OSError: it cannot be made.
    """
    kind, _, argument = config.data.partition(":")
    data = re.sub(r"[^\w.-]+", "-", Path(argument).stem).strip(".-") or kind
    name = f"{data}-resnet{config.depth}"
    root.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = root / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return RunFolder(path)
    raise AssertionError  # itertools.count has no end


def empty_folder(path: Path) -> RunFolder:
    """The folder at `path`, made where it is absent.

    Raises:
        RunFolderError: something is in it, or it is a file.
        OSError: it cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path} is a file; name a new or empty folder")
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        hint = "; --resume goes on with its run" if RunFolder(path).config.exists() else ""
        raise RunFolderError(f"{path} is not empty, and nothing is ever written over: name another folder{hint}")
    return RunFolder(path)


def folder_of_run(path: Path) -> tuple[RunFolder, TrialConfig]:
    """The folder of an earlier run at `path`, and its settings.

    Raises:
        RunFolderError: there is none.
        ConfigError: its settings cannot be read.
    """
    folder = RunFolder(path)
    if not folder.config.exists():
        raise RunFolderError(f"{path} holds no run to go on with (there is no {folder.config})")
    return folder, trial_config(read_settings(folder.config))


def write_settings(folder: RunFolder, config: TrialConfig) -> None:
    """Write `config` into the folder, in the form that `read_settings` reads.

    Raises:
        OSError: it cannot be written.
    """
    settings = config.model_dump(mode="json")
    seed, epochs = settings.pop("seed"), settings.pop("epochs")
    content = {"name": folder.path.resolve().name, "seed": seed, "epochs": epochs, "config": settings}
    write_text(folder.config, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a YAML file: {name, seed, epochs, config: {setting: value}}, or the settings alone.

    Raises:
        ConfigError: the file cannot be read, or is neither.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is no text file'}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where} is not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a mapping of settings (for example `lr: 0.1`)")
    if "config" not in content:
        return content
    return _flattened(content, path)


def _flattened(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The settings of {name, seed, epochs, config}."""
    for key in content:
        if key not in _FILE_KEYS:
            raise ConfigError(f"{path} describes more than one configuration: it has a key {key!r}, a search's")
    if not isinstance(content["config"], dict):
        raise ConfigError(f"{path}: 'config' is not a mapping of settings (for example `lr: 0.1`)")
    return {**content["config"], **{key: content[key] for key in ("seed", "epochs") if key in content}}


def record_run(run: TrainingRun, folder: RunFolder, keep: int) -> Generator[EpochReport]:
    """Train on from where `run` stands; each report is on disk, with all that belongs to its epoch, when it comes.

    Close the iterator to leave early. An epoch in which the run diverges is recorded, but leaves no checkpoint.

    Args:
        run: at its start, or as `CheckpointFolder.resume` gave it.
        folder: its folder.
        keep: how many checkpoints beside the best one are kept.

    Raises:
        OSError: something cannot be written.
    """
    checkpoints = CheckpointFolder(folder.checkpoints, keep=keep)
    rows = _read_rows(folder.epochs, run.epoch)
    with open_tensorboard(folder.tensorboard, run.epoch) as tensorboard:
        for report in train(run):
            rows.append(asdict(report))
            write_text(folder.epochs, _csv(_COLUMNS, rows))
            tensorboard.add(report, run.validation)
            if run.best_epoch == run.epoch and run.validation is not None and run.validation.g is not None:
                write_text(folder.g, g_csv(run.data.val.labels, run.validation))
            if not report.diverged:
                checkpoints.save(run)
            yield report


def g_csv(labels: torch.Tensor, evaluation: Evaluation) -> str:
    """One row per image, as CSV: its index in the split, label, predicted label, g, and right (1) or wrong (0).

    Args:
        labels: (N,) of the split.
        evaluation: on that split, of a model with gate.

    Raises:
        ConfigError: the model has no gate.
    """
    if evaluation.g is None:
        raise ConfigError("there is no g: the model has no gate")
    columns = (labels.tolist(), evaluation.predicted.tolist(), evaluation.g.tolist())
    rows = [
        {"index": index, "label": label, "predicted": predicted, "g": f"{g:.6f}", "right": int(label == predicted)}
        for index, (label, predicted, g) in enumerate(zip(*columns, strict=True))
    ]
    return _csv(("index", "label", "predicted", "g", "right"), rows)


def _read_rows(path: Path, up_to: int) -> list[dict[str, Any]]:
    """The rows of epochs 1 to `up_to` that an earlier session left."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if int(row["epoch"]) <= up_to]


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
