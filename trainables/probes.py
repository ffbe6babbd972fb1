"""Decayed probes: what a run would be worth if its learning rate were brought down now.

At a high rate the accuracy of an epoch is a noisy and late sign of what a configuration can do; most of it comes when
the rate falls. A probe branches off: a copy of the run trains a short cool-down, its rates falling linearly to nearly
zero (the cool-down of Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations",
2024), and is evaluated and thrown away. The run itself goes on as if nothing had been.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from trainables.augment import batch_bounds
from trainables.config import TrialConfig
from trainables.schedules import gate_rate, trunk_rate
from trainables.steps import LossSettings, Optimizers, build_optimizers, set_rates
from trainables.training import FLOOR, TrainingRun, evaluate, is_sane, training_batches, update


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a cool-down from one epoch of a run says. The accuracy is a fraction, losses are in nats."""

    epoch: int  # of the run, from which the cool-down began
    val_acc: float  # the floor where the cool-down diverged
    val_loss: float
    train_loss: float  # mean over the cool-down's batches
    epochs: float  # length of the cool-down, in passes over the training images
    seconds: float  # copying, training and evaluation
    diverged: bool

    def metrics(self) -> dict[str, float]:
        """The numbers as they stand beside an epoch's own."""
        return {
            "probe_val_acc": self.val_acc,
            "probe_val_loss": self.val_loss,
            "probe_epochs": self.epochs,
            "probe_seconds": self.seconds,
        }


def probe(run: TrainingRun, share: float) -> ProbeReport:
    """Train and evaluate a cool-down from where `run` stands; nothing of `run` changes.

    The result is a function of the run's state and `share` alone: its samples are drawn by a copy of its generator, so
    they are those of the epochs that follow.

    Args:
        run: between two epochs, with at least one behind it.
        share: length of the cool-down as a share of the epochs so far, above 0; at least one batch is trained.

    Raises:
        ValueError: the run is at epoch 0, where there is no rate to bring down.
    """
    if run.epoch < 1:
        raise ValueError("a probe needs an epoch of training to branch off from")
    started = time.perf_counter()
    twin = branch(run)
    batches = cool_down_batches(run, share)
    train_loss = _cool_down(twin, batches)
    validation = evaluate(twin.model, twin.data.val, twin.data, twin.device)
    diverged = not is_sane(train_loss, validation.loss, len(run.data.classes))
    return ProbeReport(
        epoch=run.epoch,
        val_acc=FLOOR if diverged else validation.accuracy,
        val_loss=validation.loss,
        train_loss=train_loss,
        epochs=batches / _batches_per_epoch(run),
        seconds=time.perf_counter() - started,
        diverged=diverged,
    )


def branch(run: TrainingRun) -> TrainingRun:
    """A run that goes on from the same state, and shares with `run` nothing that training changes."""
    model = copy.deepcopy(run.model)
    optimizers = build_optimizers(model, run.config)
    _take_over(optimizers, run.optimizers)
    generator = torch.Generator()
    generator.set_state(run.generator.get_state())
    return TrainingRun(run.config, run.data, run.device, model, optimizers, run.macs, generator, run.epoch)


def cool_down_batches(run: TrainingRun, share: float) -> int:
    """Length of the cool-down that `probe` trains, in batches."""
    return max(1, round(share * run.epoch * _batches_per_epoch(run)))


def cool_down_rates(config: TrialConfig, epoch: int, batches: int) -> Iterator[tuple[float, float]]:
    """The rates of trunk and gate at each batch: from those of `epoch`, counted from 0, linearly down.

    The last of n batches has an n-th of the rate.
    """
    lr, lr_gate = trunk_rate(config, epoch), gate_rate(config, epoch)
    for batch in range(batches):
        factor = 1 - batch / batches
        yield lr * factor, lr_gate * factor


def _cool_down(twin: TrainingRun, batches: int) -> float:
    """Train so many batches at falling rates; the mean loss of the mixed exit."""
    twin.model.train()
    settings = LossSettings(twin.config.label_smoothing, twin.device.autocast_dtype)
    rates = cool_down_rates(twin.config, twin.epoch - 1, batches)
    epochs = (enumerate(training_batches(twin), start=1) for _ in itertools.count())
    total = torch.zeros((), device=twin.device.place)
    for (lr, lr_gate), (batch, (images, labels)) in zip(rates, itertools.chain.from_iterable(epochs), strict=False):
        set_rates(twin.optimizers, lr, lr_gate)
        total += update(twin, batch, images, labels, settings).classification
    return float(total.item()) / batches


def _batches_per_epoch(run: TrainingRun) -> int:
    return len(batch_bounds(len(run.data.train), run.config.batch_size))


def _take_over(optimizers: Optimizers, others: Optimizers) -> None:
    # torch's load_state_dict keeps tensors that fit as they are: without a copy both would share their momentum.
    optimizers.trunk.load_state_dict(copy.deepcopy(others.trunk.state_dict()))
    if optimizers.gate is not None and others.gate is not None:
        optimizers.gate.load_state_dict(copy.deepcopy(others.gate.state_dict()))
