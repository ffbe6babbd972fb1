"""What a trained gate does, image by image: one pass of a checkpoint over the validation images.

With label noise also over the training images, to tell those with the right label from those with a wrong one. The
test split is not opened.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainables.atomic import whole_file
from trainables.augment import ordered_batches
from trainables.checkpoints import BEST, CheckpointFolder, load_model
from trainables.complexity import Breakdown, count_macs
from trainables.config import TrialConfig, trial_config
from trainables.data import SearchData, Split, load_search_data
from trainables.device import Device
from trainables.errors import CheckpointError, ConfigError
from trainables.resnet import GatedResNet

#: Layout of the file; its reader, `analysis.gate`, knows the same number.
FORMAT = 1

#: Pictures that are kept of either end: the images with the largest g, and with the smallest.
PICTURES = 32


@dataclass(frozen=True, slots=True)
class ImageAnswers:
    """What a gated model says of n images, in their order; int64, and float32 for `g`."""

    label: NDArray[np.int64]
    mixed: NDArray[np.int64]  # class predicted by the mix of both exits
    shallow: NDArray[np.int64]  # by the shallow exit alone
    deep: NDArray[np.int64]
    g: NDArray[np.float32]  # weight of the deep exit


@dataclass(frozen=True, slots=True)
class GateSurvey:
    """A checkpoint's gate, surveyed."""

    epoch: int
    config: TrialConfig
    classes: tuple[str, ...]
    macs: Breakdown
    validation: ImageAnswers
    training: ImageAnswers | None  # with label noise only; `label` is the one that was given
    noisy: NDArray[np.bool_] | None  # which of the training labels were replaced
    hardest: NDArray[np.int64]  # indices in the validation images, the largest g first
    easiest: NDArray[np.int64]  # the smallest g first
    pictures: NDArray[np.uint8]  # (hardest and easiest, channels, height, width)


def surveyed_checkpoint(folder: Path) -> Path:
    """The checkpoint of a trial that a survey is made of: the best on validation, or else the newest.

    Raises:
        CheckpointError: none is kept.
    """
    best = folder / BEST
    path = best if best.exists() else next(CheckpointFolder(folder).newest_first(), None)
    if path is None:
        raise CheckpointError(f"no checkpoint is kept in {folder}; a study keeps those of its best trials")
    return path


def survey_gate(path: Path, data_dir: str, device: Device) -> GateSurvey:
    """Survey the gate of the checkpoint at `path`, whose data lie in `data_dir`.

    Raises:
        CheckpointError: it is missing or damaged.
        ConfigError: its model has no gate.
        DataError: the data cannot be read.
    """
    saved = load_model(path)
    config = trial_config({**saved.config.model_dump(), "data_dir": data_dir})
    if saved.model.gate is None:
        raise ConfigError(f"{path} is a plain ResNet: it has no gate to survey")
    data = load_search_data(config).to(device.place)
    model = saved.model.to(device.place)
    validation = _answers(model, data.val, data, device)
    order = np.argsort(-validation.g, kind="stable").astype(np.int64)
    hardest, easiest = order[:PICTURES], order[::-1][:PICTURES]
    images = data.val.images.cpu().numpy()
    channels, height, width = images.shape[1:]
    return GateSurvey(
        epoch=saved.epoch,
        config=config,
        classes=data.classes,
        macs=count_macs(model, (channels, height, width)),
        validation=validation,
        training=None if data.noisy is None else _answers(model, data.train, data, device),
        noisy=None if data.noisy is None else data.noisy.cpu().numpy(),
        hardest=hardest,
        easiest=easiest,
        pictures=images[np.concatenate([hardest, easiest])],
    )


def write_survey(survey: GateSurvey, path: Path, trial: int) -> None:
    """Write `survey` to `path`, a NumPy archive, whole or not at all. Its layout is told in `analysis.gate`.

    Raises:
        OSError: it cannot be written.
    """
    about = {
        "format": FORMAT,
        "trial": trial,
        "epoch": survey.epoch,
        "gate": survey.config.gate,
        "gate_input": survey.config.gate_input,
        "classes": survey.classes,
        "macs": asdict(survey.macs),
    }
    arrays = {f"validation_{name}": array for name, array in asdict(survey.validation).items()}
    if survey.training is not None and survey.noisy is not None:
        arrays |= {f"training_{name}": array for name, array in asdict(survey.training).items()}
        arrays["training_noisy"] = survey.noisy
    arrays |= {"hardest": survey.hardest, "easiest": survey.easiest, "pictures": survey.pictures}
    content = io.BytesIO()
    np.savez_compressed(content, about=np.array(json.dumps(about)), **arrays)
    with whole_file(path) as file:
        file.write(content.getvalue())


@torch.inference_mode()
def _answers(model: GatedResNet, split: Split, data: SearchData, device: Device) -> ImageAnswers:
    """One pass over `split` in evaluation mode, without augmentation."""
    model.eval()
    answers: list[torch.Tensor] = []
    opened: list[torch.Tensor] = []
    for images, _ in ordered_batches(split, data.mean, data.std, 1000, device.place):
        with device.autocast():
            exits = model(images)
        answers.append(torch.stack([logits.argmax(1) for logits in (exits.logits, exits.shallow, exits.deep)]))
        assert exits.g is not None  # noqa: S101  the caller has seen to it
        opened.append(exits.g.float())
    mixed, shallow, deep = torch.cat(answers, dim=1).cpu().numpy()
    return ImageAnswers(split.labels.cpu().numpy(), mixed, shallow, deep, torch.cat(opened).cpu().numpy())
