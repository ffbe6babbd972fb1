"""One configuration trained outside any search, in a folder of its own: settings, metrics, checkpoints, logs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainables.atomic import write_text
from trainables.checkpoints import CheckpointFolder
from trainables.config import TrialConfig, trial_config
from trainables.data import Split
from trainables.device import Device
from trainables.errors import ConfigError
from trainables.tensorboard_log import TensorBoardLog
from trainables.training import EpochReport, Evaluation, TrainingRun, train


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The settings, as `--config` takes them."""
        return self.path / "config.yaml"

    @property
    def epochs_file(self) -> Path:
        """One row per epoch."""
        return self.path / "epochs.csv"

    @property
    def g_file(self) -> Path:
        """One row per validation image, of the best epoch that was trained here."""
        return self.path / "g.csv"

    def config(self) -> TrialConfig:
        """The settings that the run was begun with.

        Raises:
            ConfigError: the folder holds no run.
        """
        try:
            record = yaml.safe_load(self.config_file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError):
            raise ConfigError(f"{self.path} holds no run that could go on") from None
        return trial_config({**record["config"], "epochs": record["epochs"], "seed": record["seed"]})


def begin_run(path: Path, config: TrialConfig) -> RunFolder:
    """A new folder for a run of `config`.

    Raises:
        ConfigError: the folder holds something.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path} is not empty, and a run is never written over; choose another folder, or --resume")
    folder = RunFolder(path)
    settings = config.model_dump(mode="json")
    record = {
        "name": path.name,
        "seed": settings.pop("seed"),
        "epochs": settings.pop("epochs"),
        "config": settings,
    }
    write_text(folder.config_file, yaml.safe_dump(record, sort_keys=False))
    return folder


def record_run(folder: RunFolder, device: Device, keep: int = 2) -> Iterator[EpochReport]:
    """Train the run of `folder` on from its newest good checkpoint, and write down each epoch before it is reported.

    Raises:
        DataError, ConfigError, CheckpointError: the data, the settings or the baseline cannot be used.
    """
    checkpoints = CheckpointFolder(folder.path, keep=keep)
    run, _ = checkpoints.resume(folder.config(), device)
    rows = [row for row in _read_rows(folder.epochs_file) if int(row["epoch"]) <= run.epoch]
    with TensorBoardLog(folder.path / "tensorboard", run.epoch) as log:
        for report in train(run):
            rows.append({"epoch": report.epoch, **report.metrics()})
            write_text(folder.epochs_file, _csv(rows))
            log.write(report, run.validation)
            if run.best_epoch == run.epoch:
                _write_g(folder, run)
            checkpoints.save(run)  # last: what goes on from here finds all of the above
            yield report


def g_table(split: Split, evaluation: Evaluation) -> str:
    """CSV with a row per image: index in the split, label, predicted class, whether that is right, and g."""
    assert evaluation.g is not None  # noqa: S101  callers ask gated models only
    values = zip(split.labels.tolist(), evaluation.predicted.tolist(), evaluation.g.tolist(), strict=True)
    return _csv(
        [
            {"index": index, "label": label, "predicted": predicted, "right": int(label == predicted), "g": f"{g:.6f}"}
            for index, (label, predicted, g) in enumerate(values)
        ]
    )


def _write_g(folder: RunFolder, run: TrainingRun) -> None:
    if run.validation is not None and run.validation.g is not None:
        write_text(folder.g_file, g_table(run.data.val, run.validation))


def _read_rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return list(csv.DictReader(io.StringIO(text)))


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
