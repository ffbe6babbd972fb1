"""The final measurement: a trained model on the test split, which nothing else here opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.checkpoints import holds_run, load_model
from trainables.config import TrialConfig, trial_config
from trainables.data import SearchData, Split, load_search_data, load_test_data
from trainables.device import Device
from trainables.errors import CheckpointError, ConfigError
from trainables.resnet import GatedResNet, build_model
from trainables.training import Evaluation, evaluate
from trainables.weights import load_published

#: Settings that say where the images are and how they are normalised; of a checkpoint, these alone may change.
_DATA_SETTINGS = ("data", "data_dir", "split", "split_seed", "val_fraction")


@dataclass(frozen=True, slots=True)
class FinalEvaluation:
    """A checkpoint's result on the test split."""

    config: TrialConfig
    test: Split
    result: Evaluation


def evaluate_checkpoint(path: Path, settings: Mapping[str, Any], device: Device) -> FinalEvaluation:
    """Evaluate the model at `path` on the test split.

    Args:
        path: a checkpoint of ours, or weights under their published names.
        settings: of a `TrialConfig`. A checkpoint knows its own, and only its data can be overridden; weights from
            elsewhere need those that describe the model (depth, block, kappa, ...) and the data.
        device: where to compute.

    Raises:
        CheckpointError: the file is missing, damaged, or does not fit the settings or the data.
        ConfigError, DataError: the settings or the data cannot be used.
    """
    config, model, data = _own(path, settings) if holds_run(path) else _published(path, settings)
    _check_fit(path, model, config, data)
    test = load_test_data(config)
    model.to(device.place)
    return FinalEvaluation(config, test, evaluate(model, test, data, device))


def _own(path: Path, settings: Mapping[str, Any]) -> tuple[TrialConfig, GatedResNet, SearchData]:
    for name in settings:
        if name not in _DATA_SETTINGS:
            raise ConfigError(f"setting {name!r} is part of the checkpoint {path}; leave it out")
    saved = load_model(path)
    config = trial_config({**saved.config.model_dump(), **settings})
    return config, saved.model, load_search_data(config)


def _published(path: Path, settings: Mapping[str, Any]) -> tuple[TrialConfig, GatedResNet, SearchData]:
    config = trial_config(settings)
    data = load_search_data(config)
    model = build_model(config, data.train.images.shape[1], len(data.classes))
    try:
        load_published(model, path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path}: {error} (no checkpoint of ours; published weights need the --depth, --block, --gate-hidden and "
            "--data that they were trained with)"
        ) from None
    return config, model, data


def _check_fit(path: Path, model: GatedResNet, config: TrialConfig, data: SearchData) -> None:
    has = data.train.images.shape[1], len(data.classes)
    wants = model.trunk.channels, model.trunk.classes
    if has != wants:
        raise CheckpointError(
            f"{path} takes images of {wants[0]} channel(s) and {wants[1]} classes, "
            f"but data {config.data!r} has {has[0]} and {has[1]}; name its own with --data"
        )
