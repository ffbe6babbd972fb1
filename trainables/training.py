"""The training loop: one configuration, one report per epoch. It knows nothing of tuning."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch.nn import functional

from trainables.augment import epoch_batches, ordered_batches
from trainables.complexity import Breakdown, count_macs
from trainables.config import TrialConfig
from trainables.data import SearchData, Split, load_search_data
from trainables.device import Device
from trainables.resnet import GatedResNet, build_model
from trainables.schedules import gate_rate, trunk_rate
from trainables.skipping import compute_statistics, skipping_statistics
from trainables.steps import (
    BatchLosses,
    LossSettings,
    Optimizers,
    build_optimizers,
    set_rates,
    step_both,
    step_gate_only,
    steps_trunk,
)
from trainables.weights import initial_model

#: A training loss beyond this many times that of guessing, ln C, is taken for an explosion.
EXPLODED = 20.0

#: Validation accuracy of a run that diverged: the worst there is, so that the place is avoided.
FLOOR = 0.0

#: Quantiles of g that each epoch reports.
G_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch says. Accuracies are fractions, losses mean cross-entropies in nats; None: does not apply."""

    epoch: int  # counted from 1
    val_acc: float
    val_loss: float
    train_loss: float  # of the mixed exit, while training
    lr: float
    lr_gate: float
    seconds: float  # training and evaluation
    images_per_second: float  # training alone
    diverged: bool
    val_images: int
    val_gate_loss: float | None = None
    train_gate_loss: float | None = None
    gate_mean: float | None = None  # g over the validation images
    gate_q05: float | None = None
    gate_q25: float | None = None
    gate_q50: float | None = None
    gate_q75: float | None = None
    gate_q95: float | None = None
    gate_mean_right: float | None = None  # over the validation images that are predicted rightly
    gate_mean_wrong: float | None = None  # and wrongly; NaN where there are none
    gate_mean_noisy: float | None = None  # over the training images with a false label
    val_acc_shallow: float | None = None  # of the exits by themselves, where a gate mixes them
    val_acc_deep: float | None = None
    macs: float | None = None  # multiply-accumulates of one image at inference that skips nothing
    macs_skipping: float | None = None  # and of one that skips layers, which an early gate allows
    val_acc_skip25: float | None = None  # where that share of the images, those with the smallest g, skips layers
    val_acc_skip50: float | None = None
    val_acc_skip75: float | None = None
    noisy_acc_given: float | None = None  # noisy-labelled training images, against the false label they were given
    noisy_acc_true: float | None = None  # the same images, against their true label

    def metrics(self) -> dict[str, float]:
        """The numbers that apply, by name; without the epoch."""
        return {name: float(value) for name, value in asdict(self).items() if value is not None and name != "epoch"}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One pass over a split, in evaluation mode. The tensors have one entry per image, in its order, on the CPU."""

    accuracy: float  # of the network's answer: the mix of both exits, or the deep one without gate
    shallow_accuracy: float
    deep_accuracy: float
    loss: float
    gate_loss: float | None
    predicted: torch.Tensor  # by the network's answer
    predicted_shallow: torch.Tensor
    g: torch.Tensor | None


@dataclass(slots=True)
class TrainingRun:
    """Everything that changes while a configuration is trained, beside what does not."""

    config: TrialConfig
    data: SearchData
    device: Device
    model: GatedResNet
    optimizers: Optimizers
    macs: Breakdown  # of one image
    generator: torch.Generator  # order of samples and augmentation; on the CPU, so that draws are the same everywhere
    epoch: int = 0  # epochs done
    best_val_acc: float = -1.0
    best_epoch: int = 0
    validation: Evaluation | None = None  # of the last epoch trained here; not saved


def start_run(config: TrialConfig, device: Device) -> TrainingRun:
    """A run at epoch 0, seeded from the configuration; its trunk is that of the baseline where `init` says so.

    Raises:
        DataError, ConfigError, CheckpointError: the data, the settings or the baseline cannot be used.
    """
    return _assemble(config, device, initial_model)


def blank_run(config: TrialConfig, device: Device) -> TrainingRun:
    """The same for a caller who replaces the weights: a baseline is not read, and may be gone by now.

    Raises:
        DataError, ConfigError: the data or the settings cannot be used.
    """
    return _assemble(config, device, build_model)


def _assemble(
    config: TrialConfig, device: Device, make_model: Callable[[TrialConfig, int, int], GatedResNet]
) -> TrainingRun:
    trunk_rate(config, 0)  # an unknown schedule shows here, not in the first epoch
    gate_rate(config, 0)
    data = load_search_data(config).to(device.place)
    model = make_model(config, data.train.images.shape[1], len(data.classes))
    channels, height, width = data.train.images.shape[1:]
    macs = count_macs(model, (channels, height, width))
    model.to(device.place)
    generator = torch.Generator().manual_seed(config.seed)
    return TrainingRun(config, data, device, model, build_optimizers(model, config), macs, generator)


def train(run: TrainingRun) -> Iterator[EpochReport]:
    """Train on from where `run` stands, and report after each epoch; ends early where the run diverges.

    At each report `run` is complete: saved there and loaded elsewhere, it goes on bit for bit (on the CPU).
    """
    config = run.config
    for epoch in range(run.epoch, config.epochs):
        lr, lr_gate = trunk_rate(config, epoch), gate_rate(config, epoch)
        set_rates(run.optimizers, lr, lr_gate)
        started = time.perf_counter()
        train_loss, train_gate_loss = train_epoch(run)
        trained = time.perf_counter()
        validation = evaluate(run.model, run.data.val, run.data, run.device)
        diverged = not is_sane(train_loss, validation.loss, len(run.data.classes))
        val_acc = FLOOR if diverged else validation.accuracy
        run.epoch, run.validation = epoch + 1, validation
        if val_acc > run.best_val_acc:
            run.best_val_acc, run.best_epoch = val_acc, run.epoch
        yield EpochReport(
            epoch=run.epoch,
            val_acc=val_acc,
            val_loss=validation.loss,
            train_loss=train_loss,
            lr=lr,
            lr_gate=lr_gate,
            seconds=time.perf_counter() - started,
            images_per_second=len(run.data.train) / (trained - started),
            diverged=diverged,
            val_images=len(run.data.val),
            val_gate_loss=validation.gate_loss,
            train_gate_loss=train_gate_loss,
            **_gate_statistics(validation, run.data.val),
            **_skipping(run, validation),
            **_memorisation(run),
        )
        if diverged:
            return


def train_epoch(run: TrainingRun) -> tuple[float, float | None]:
    """One pass over the training images; the mean losses of the mixed exit and of the gate head.

    The trunk is stepped on every `gate_iters`-th batch, the gate head on every batch.
    """
    config, data, device = run.config, run.data, run.device
    run.model.train()
    settings = LossSettings(config.label_smoothing, device.autocast_dtype)
    totals = torch.zeros(2, device=device.place)
    for batch, (images, labels) in enumerate(training_batches(run), start=1):
        losses = update(run, batch, images, labels, settings)
        totals[0] += losses.classification * len(labels)
        if losses.gate is not None:
            totals[1] += losses.gate * len(labels)
    device.synchronize()
    loss, gate_loss = (totals / len(data.train)).tolist()
    return loss, None if run.optimizers.gate is None else gate_loss


def training_batches(run: TrainingRun) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The next epoch's batches of images and labels, drawn by the run's generator; see `epoch_batches`."""
    data = run.data
    return epoch_batches(
        data.train, data.mean, data.std, run.config.batch_size, data.augment, run.generator, run.device.place
    )


def update(
    run: TrainingRun, batch: int, images: torch.Tensor, labels: torch.Tensor, settings: LossSettings
) -> BatchLosses:
    """Step the run on batch number `batch` of an epoch, counted from 1: trunk and gate, or the gate alone."""
    step = step_both if steps_trunk(batch, run.config.gate_iters) else step_gate_only
    return step(run.model, run.optimizers, images, labels, settings)


@torch.inference_mode()
def evaluate(model: GatedResNet, split: Split, data: SearchData, device: Device) -> Evaluation:
    """One pass over `split` in evaluation mode, with the statistics of the training images for normalisation."""
    model.eval()
    right, losses, predicted, opened, gate_losses = [], [], [], [], []
    for images, labels in ordered_batches(split, data.mean, data.std, 1000, device.place):
        with device.autocast():
            exits = model(images)
        answers = torch.stack([exits.logits.argmax(1), exits.shallow.argmax(1), exits.deep.argmax(1)])
        right.append((answers == labels).sum(1))
        predicted.append(answers[:2])
        losses.append(functional.cross_entropy(exits.logits.float(), labels, reduction="sum"))
        if exits.g is not None and exits.gate_logits is not None:
            opened.append(exits.g.float())
            gate_losses.append(functional.cross_entropy(exits.gate_logits.float(), labels, reduction="sum"))
    accuracy, shallow, deep = (torch.stack(right).sum(0).double() / len(split)).tolist()
    by_mix, by_shallow = torch.cat(predicted, dim=1).cpu()
    return Evaluation(
        accuracy=accuracy,
        shallow_accuracy=shallow,
        deep_accuracy=deep,
        loss=torch.stack(losses).sum().item() / len(split),
        gate_loss=torch.stack(gate_losses).sum().item() / len(split) if gate_losses else None,
        predicted=by_mix,
        predicted_shallow=by_shallow,
        g=torch.cat(opened).cpu() if opened else None,
    )


def is_sane(train_loss: float, val_loss: float, classes: int) -> bool:
    """Whether a run with these losses, in nats, has not diverged."""
    return math.isfinite(val_loss) and train_loss <= EXPLODED * math.log(classes)  # false for NaN, too


def _gate_statistics(validation: Evaluation, split: Split) -> dict[str, float]:
    g = validation.g
    if g is None:
        return {}
    right = validation.predicted == split.labels.cpu()
    groups = {"gate_mean_right": g[right], "gate_mean_wrong": g[~right]}
    quantiles = torch.quantile(g, torch.tensor(G_QUANTILES, dtype=g.dtype)).tolist()
    names = [f"gate_q{round(100 * share):02d}" for share in G_QUANTILES]
    return {
        "gate_mean": g.mean().item(),
        **dict(zip(names, quantiles, strict=True)),
        **{name: group.mean().item() for name, group in groups.items()},
        "val_acc_shallow": validation.shallow_accuracy,
        "val_acc_deep": validation.deep_accuracy,
    }


def _skipping(run: TrainingRun, validation: Evaluation) -> dict[str, float]:
    """What an image costs at inference, and the accuracy where the easy ones cost less."""
    costs = compute_statistics(run.macs, run.model.gate_input)
    if validation.g is None or "macs_skipping" not in costs:
        return costs
    labels = run.data.val.labels.cpu()
    mixed, shallow = validation.predicted == labels, validation.predicted_shallow == labels
    return {**costs, **skipping_statistics(validation.g, mixed, shallow)}


def _memorisation(run: TrainingRun) -> dict[str, float]:
    """Accuracy on the training images whose label was replaced, against the false and the true label."""
    data = run.data
    if data.noisy is None or data.true_labels is None or not data.noisy.any():
        return {}
    split = Split(data.train.images[data.noisy], data.train.labels[data.noisy])
    found = evaluate(run.model, split, data, run.device)
    predicted = found.predicted
    return {
        **({} if found.g is None else {"gate_mean_noisy": found.g.mean().item()}),
        "noisy_acc_given": (predicted == split.labels.cpu()).double().mean().item(),
        "noisy_acc_true": (predicted == data.true_labels[data.noisy].cpu()).double().mean().item(),
    }
