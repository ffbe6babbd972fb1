from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.augment import ordered_batches
from trainables.checkpoints import CheckpointFolder, load_model, save_run
from trainables.config import trial_config
from trainables.data import load_search_data
from trainables.device import cpu
from trainables.errors import CheckpointError, ConfigError
from trainables.gate_survey import PICTURES, survey_gate, surveyed_checkpoint, write_survey
from trainables.training import evaluate, start_run

SETTINGS = {"data": "digits", "depth": 14, "gate_hidden": 16, "gate_input": "early", "label_noise": 0.2}


def saved(folder: Path, **changes: object) -> Path:
    """The checkpoint of a model that was never trained: its gate is no worse to survey."""
    path = folder / "best.pt"
    save_run(start_run(trial_config({**SETTINGS, **changes}), cpu()), path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("trial"))


def test_a_survey_says_what_an_evaluation_says(checkpoint: Path) -> None:
    survey = survey_gate(checkpoint, "~", cpu())
    data, model = load_search_data(survey.config), load_model(checkpoint).model
    result = evaluate(model, data.val, data, cpu())
    images = survey.validation
    assert images.mixed.tolist() == result.predicted.tolist()
    np.testing.assert_allclose(images.g, result.g, rtol=1e-5)
    assert (images.shallow == images.label).mean() == pytest.approx(result.shallow_accuracy)
    assert (images.deep == images.label).mean() == pytest.approx(result.deep_accuracy)
    assert survey.training is not None
    assert len(survey.training.g) == len(data.train)
    assert survey.noisy is not None
    assert survey.noisy.sum() == data.noisy.sum()  # type: ignore[union-attr]
    g = images.g[survey.hardest]
    assert (np.diff(g) <= 0).all()
    assert g[0] == images.g.max()
    assert images.g[survey.easiest[0]] == images.g.min()
    assert survey.pictures.shape == (2 * PICTURES, 1, 8, 8)
    assert (survey.pictures[0] == data.val.images[int(survey.hardest[0])].numpy()).all()


def test_the_table_of_thresholds_is_what_the_model_predicts_when_it_skips(checkpoint: Path, tmp_path: Path) -> None:
    from analysis.gate import read_survey, skipping_table

    survey = survey_gate(checkpoint, "~", cpu())
    write_survey(survey, tmp_path / "trial-0001.npz", 1)
    table = skipping_table(read_survey(tmp_path / "trial-0001.npz"))
    data, model = load_search_data(survey.config), load_model(checkpoint).model
    row = table.iloc[len(table) // 2]
    right = skipped = 0
    for images, labels in ordered_batches(data.val, data.mean, data.std, 1000, torch.device("cpu")):
        logits, mask = model.predict(images, row["threshold"])
        right, skipped = right + int((logits.argmax(1) == labels).sum()), skipped + int(mask.sum())
    # g that equals the threshold but for the last bit may fall on either side
    assert skipped / len(data.val) == pytest.approx(row["skipped"], abs=2 / len(data.val))
    assert right / len(data.val) == pytest.approx(row["val_acc"], abs=2 / len(data.val))


def test_a_plain_resnet_has_no_gate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no gate to survey"):
        survey_gate(saved(tmp_path, gate="none", label_noise=0.0), "~", cpu())


def test_the_best_checkpoint_is_surveyed_or_else_the_newest(checkpoint: Path, tmp_path: Path) -> None:
    assert surveyed_checkpoint(checkpoint.parent) == checkpoint
    with pytest.raises(CheckpointError, match="no checkpoint is kept"):
        surveyed_checkpoint(tmp_path)
    folder = CheckpointFolder(tmp_path)
    folder.save_state(start_run(trial_config(SETTINGS), cpu()))
    assert surveyed_checkpoint(tmp_path).name == "epoch-0000.pt"
