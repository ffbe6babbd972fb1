"""Size and cost of a model, part by part: parameters, and multiply-accumulates of one forward pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import cast

import torch
from torch import nn

from trainables.resnet import GatedResNet


@dataclass(frozen=True)
class Breakdown:
    """A count for each part of a gated ResNet.

    Attributes:
        stem: the first convolution.
        stage1: stage 1.
        stage2: stage 2.
        stage3_first: the first block of stage 3, whose output feeds the shallow exit.
        skippable: the rest of stage 3, which a skipped sample leaves out.
        classifier: the linear layer of both exits, counted once.
        gate: the gate's head, counted once; 0 for a plain ResNet.
    """

    stem: int
    stage1: int
    stage2: int
    stage3_first: int
    skippable: int
    classifier: int
    gate: int

    @property
    def trunk(self) -> int:
        """All parts but the gate: the plain ResNet."""
        return self.total - self.gate

    @property
    def total(self) -> int:
        """All parts."""
        return sum(getattr(self, field.name) for field in fields(self))


def count_parameters(model: GatedResNet) -> Breakdown:
    """Trainable numbers of each part, batch norms and biases included."""
    return _by_part(model, lambda part: sum(parameter.numel() for parameter in part.parameters()))


def count_macs(model: GatedResNet, input_shape: tuple[int, int, int]) -> Breakdown:
    """Multiply-accumulates of each part for one image, forward; convolutions and linear layers only.

    Each layer counts once, though the classifier serves two exits. Section A8 of the gated ResNet
    specification counts so. The model itself is left alone: a copy is run once, on the CPU.

    Args:
        model: any gated or plain ResNet.
        input_shape: channels, height and width of the image.
    """
    shadow = copy.deepcopy(model).to("cpu").eval()  # the meta device would do, but takes a second to set up
    macs: dict[int, int] = {}

    def record(layer: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        macs[id(layer)] = output.numel() * _macs_per_output(layer)

    for layer in shadow.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(record)
    dtype = next(shadow.parameters()).dtype
    with torch.no_grad():
        shadow(torch.zeros(1, *input_shape, dtype=dtype))
    return _by_part(shadow, lambda part: sum(macs.get(id(layer), 0) for layer in part.modules()))


def _by_part(model: GatedResNet, count: Callable[[nn.Module], int]) -> Breakdown:
    trunk = model.trunk
    return Breakdown(
        stem=count(trunk.stem),
        stage1=count(trunk.stage1),
        stage2=count(trunk.stage2),
        stage3_first=count(trunk.stage3_first),
        skippable=count(trunk.stage3_middle) + count(trunk.stage3_last),
        classifier=count(trunk.classifier),
        gate=0 if model.gate is None else count(model.gate),
    )


def _macs_per_output(layer: nn.Module) -> int:
    """Multiply-accumulates behind one number that a convolution or linear layer puts out."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    return cast(nn.Linear, layer).in_features
