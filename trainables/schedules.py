"""Learning rates as pure functions of the epoch, counted from 0, and the trial's settings.

Source: the GREYC reports (2019, 2020), section A4 of the gated ResNet specification. A new schedule is one
function and one entry in `TRUNK_SCHEDULES` or `GATE_SCHEDULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from trainables.config import TrialConfig
from trainables.errors import ConfigError, unknown_name

#: A factor in [0, 1] of the full learning rate at an epoch; warm-up is not its matter.
Shape = Callable[[TrialConfig, int], float]


@dataclass(frozen=True)
class StepwiseShape:
    """A shape that stays at 1 until it drops, so that a first drop can be named."""

    factor: Shape

    def __call__(self, config: TrialConfig, epoch: int) -> float:
        """The factor at `epoch`."""
        return self.factor(config, epoch)


def _multistep(config: TrialConfig, epoch: int) -> float:
    """gamma ^ #(milestones <= e)."""
    passed = sum(config.in_epochs(milestone) <= epoch for milestone in config.milestones)
    return config.gamma**passed


def _cosine(config: TrialConfig, epoch: int) -> float:
    """(1 + cos(pi (e - w) / (E - w))) / 2 with w warm-up epochs of E; 1 during the warm-up."""
    annealed = max(1, config.epochs - config.warmup_epochs)
    return (1 + math.cos(math.pi * max(0, epoch - config.warmup_epochs) / annealed)) / 2


def _stable_decay(config: TrialConfig, epoch: int) -> float:
    """1 up to the last `decay` epochs, then linearly down: of d such epochs the last has a factor of 1/(d + 1).

    With the warm-up that is the warm-up/stable/decay trunk (Hägele et al. 2024): as long as neither decays, a longer
    trial trains the same epochs as a shorter one.
    """
    decayed = min(config.in_epochs(config.decay), config.epochs)
    return min(1.0, (config.epochs - epoch) / (decayed + 1))


def _constant(_config: TrialConfig, _epoch: int) -> float:
    return 1.0


TRUNK_SCHEDULES: dict[str, Shape] = {
    "multistep": StepwiseShape(_multistep),
    "cosine": _cosine,
    "constant": _constant,
    "stable-decay": StepwiseShape(_stable_decay),
}


def _gate_step(config: TrialConfig, epoch: int) -> float:
    """gate_gamma ^ floor((e + 1) / period): with period 50 the published first drop, at epoch number 50."""
    return config.gate_gamma ** int((epoch + 1) // config.in_epochs(config.gate_period))


def _follow(config: TrialConfig, epoch: int) -> float:
    """The trunk's shape, without its warm-up."""
    return _trunk_shape(config)(config, epoch)


GATE_SCHEDULES: dict[str, Shape] = {"constant": _constant, "step": _gate_step, "follow": _follow}


def trunk_rate(config: TrialConfig, e: int) -> float:
    """Learning rate of the trunk in epoch `e`, counted from 0: `warmup_lr` first, then lr times the shape.

    Raises:
        ConfigError: `config.schedule` is no known schedule.
    """
    shape = _trunk_shape(config)
    return config.warmup_lr if e < config.warmup_epochs else config.lr * shape(config, e)


def gate_rate(config: TrialConfig, e: int) -> float:
    """Learning rate of the gate in epoch `e`, counted from 0; it has no warm-up.

    Raises:
        ConfigError: `config.schedule_gate`, or `config.schedule` where it follows, is no known schedule.
    """
    if config.schedule_gate not in GATE_SCHEDULES:
        raise ConfigError(unknown_name("gate schedule", config.schedule_gate, GATE_SCHEDULES))
    return config.lr_gate * GATE_SCHEDULES[config.schedule_gate](config, e)


def first_drop(config: TrialConfig) -> int | None:
    """Number, counted from 1, of the first epoch that trains at a reduced rate: 134 for milestone 133.

    None where the trunk's schedule has no drop (constant), no first one (cosine) or ends before its first.

    Raises:
        ConfigError: `config.schedule` is no known schedule.
    """
    shape = _trunk_shape(config)
    if not isinstance(shape, StepwiseShape):
        return None
    epochs = range(config.warmup_epochs, config.epochs)
    return next((e + 1 for e in epochs if shape(config, e) < 1), None)


def _trunk_shape(config: TrialConfig) -> Shape:
    if config.schedule not in TRUNK_SCHEDULES:
        raise ConfigError(unknown_name("schedule", config.schedule, TRUNK_SCHEDULES))
    return TRUNK_SCHEDULES[config.schedule]
