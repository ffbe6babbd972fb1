"""The test split, opened for a model that is finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainables.checkpoints import SavedModel, load_model
from trainables.config import trial_config
from trainables.data import Split, load_search_data, load_test_data
from trainables.device import Device
from trainables.training import Evaluation, evaluate


@dataclass(frozen=True, slots=True)
class TestResult:
    """A model on the test split."""

    saved: SavedModel
    split: Split
    evaluation: Evaluation


def evaluate_checkpoint(path: Path, device: Device, data: str | None = None) -> TestResult:
    """The checkpoint at `path` on the test split of its data set, or of `data`.

    Raises:
        CheckpointError: the file is missing or damaged.
        DataError: the data have no test split, or cannot be read.
    """
    saved = load_model(path)
    changes = {} if data is None else {"data": data}
    config = trial_config({**saved.config.model_dump(mode="json"), **changes})
    statistics = load_search_data(config)  # images are normalised as in training
    split = load_test_data(config).to(device.place)
    return TestResult(saved, split, evaluate(saved.model.to(device.place), split, statistics, device))
