"""The two kinds of batch update: trunk and gate together, or the gate alone.

Source of the rule: the GREYC reports (2019, 2020), section A3 of the gated ResNet specification, in the form
with one backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from trainables.config import TrialConfig
from trainables.resnet import Exits, GatedResNet


@dataclass(frozen=True)
class Optimizers:
    """One SGD for the trunk and one for the gate; no gate, no second optimizer."""

    trunk: SGD
    gate: SGD | None


@dataclass(frozen=True)
class LossSettings:
    """How the losses of a batch are computed.

    Attributes:
        label_smoothing: of the trunk's loss, in [0, 1); the gate's loss is never smoothed.
        autocast: lower precision of the forward pass, such as torch.bfloat16; None: that of the weights.
    """

    label_smoothing: float = 0.0
    autocast: torch.dtype | None = None


class BatchLosses(NamedTuple):
    """Detached scalars on the model's device, of the forward pass before the step.

    Attributes:
        classification: mean cross-entropy of the network's logits over the batch, in nats (smoothed labels).
        gate: mean cross-entropy of the gate's logits over the batch, in nats; None without gate.
    """

    classification: torch.Tensor
    gate: torch.Tensor | None


def build_optimizers(model: GatedResNet, config: TrialConfig) -> Optimizers:
    """SGD with momentum (no Nesterov) and weight decay on all parameters, batch norms and biases included."""
    gate_parameters = list(model.gate_parameters())
    return Optimizers(
        trunk=_sgd(list(model.trunk_parameters()), config.lr, config),
        gate=_sgd(gate_parameters, config.lr_gate, config) if gate_parameters else None,
    )


def set_rates(optimizers: Optimizers, lr: float, lr_gate: float) -> None:
    """Sets the learning rates of the trunk and of the gate (ignored without gate)."""
    _set_rate(optimizers.trunk, lr)
    if optimizers.gate is not None:
        _set_rate(optimizers.gate, lr_gate)


def steps_trunk(batch: int, gate_iters: int) -> bool:
    """Whether batch `batch` of an epoch, counted from 1, steps the trunk: every `gate_iters`-th does."""
    return batch % gate_iters == 0


def step_both(
    model: GatedResNet,
    optimizers: Optimizers,
    images: torch.Tensor,
    labels: torch.Tensor,
    settings: LossSettings,
) -> BatchLosses:
    """One forward and one backward pass, then a step of the trunk and of the gate.

    Both gradients are taken at the parameters before the step. The gate's loss reads detached features, so
    the sum of the losses gives each part of the network the gradient of its own loss.

    Args:
        model: in train mode.
        optimizers: of that model.
        images: (B, channels, H, W), normalised.
        labels: (B,) int64.
        settings: how the losses are computed.
    """
    optimizers.trunk.zero_grad(set_to_none=True)
    if optimizers.gate is not None:
        optimizers.gate.zero_grad(set_to_none=True)
    with _precision(images, settings):
        losses = _losses(model(images), labels, settings)
    total = losses.classification if losses.gate is None else losses.classification + losses.gate
    total.backward()  # type: ignore[no-untyped-call]
    optimizers.trunk.step()
    if optimizers.gate is not None:
        optimizers.gate.step()
    return _detached(losses)


def step_gate_only(
    model: GatedResNet,
    optimizers: Optimizers,
    images: torch.Tensor,
    labels: torch.Tensor,
    settings: LossSettings,
) -> BatchLosses:
    """A forward pass without trunk graph, then a step of the gate; the batch norms' statistics move.

    Without gate only the statistics move. Arguments as of `step_both`.
    """
    with _precision(images, settings):
        losses = _losses(model.forward_gate_only(images), labels, settings)
    if optimizers.gate is not None and losses.gate is not None:
        optimizers.gate.zero_grad(set_to_none=True)
        losses.gate.backward()  # type: ignore[no-untyped-call]
        optimizers.gate.step()
    return _detached(losses)


def _losses(exits: Exits, labels: torch.Tensor, settings: LossSettings) -> BatchLosses:
    """Both losses of a batch, with their graphs."""
    return BatchLosses(
        cross_entropy(exits.logits, labels, label_smoothing=settings.label_smoothing),
        None if exits.gate_logits is None else cross_entropy(exits.gate_logits, labels),
    )


def _detached(losses: BatchLosses) -> BatchLosses:
    return BatchLosses(losses.classification.detach(), None if losses.gate is None else losses.gate.detach())


def _precision(images: torch.Tensor, settings: LossSettings) -> torch.autocast:
    return torch.autocast(images.device.type, dtype=settings.autocast, enabled=settings.autocast is not None)


def _sgd(parameters: list[torch.nn.Parameter], lr: float, config: TrialConfig) -> SGD:
    return SGD(parameters, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay, foreach=True)


def _set_rate(optimizer: SGD, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
