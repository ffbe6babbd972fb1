"""The gated ResNet: a residual network for small images with a shallow and a deep exit, mixed per sample.

Source: the GREYC reports (2019, 2020), sections A1 to A3 of the gated ResNet specification.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import nn

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.gates import Gate, build_gate

#: Planes of the three stages; a stage puts out planes * expansion channels.
STAGE_PLANES = (16, 32, 64)


class Exits(NamedTuple):
    """What a forward pass gives for a batch of B samples and C classes.

    Attributes:
        logits: (B, C) class scores of the network: g * deep + (1 - g) * shallow, or `deep` without gate.
        deep: (B, C) class scores of the deep exit.
        shallow: (B, C) class scores of the shallow exit, by the same classifier.
        gate_logits: (B, C) class scores of the gate's head, from detached features; None without gate.
        g: (B,) weight of the deep exit, by a frozen head; None without gate.
    """

    logits: torch.Tensor
    deep: torch.Tensor
    shallow: torch.Tensor
    gate_logits: torch.Tensor | None
    g: torch.Tensor | None


class BasicBlock(nn.Module):
    """conv3x3(stride)-BN-ReLU-conv3x3-BN, plus shortcut, then ReLU."""

    expansion = 1
    #: Layers with weights that one block adds to each of the three stages.
    depth_unit = 6

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _convolution(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, planes, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) to (B, planes, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        result: torch.Tensor = self.relu(out)
        return result


class Bottleneck(nn.Module):
    """1x1-BN-ReLU-3x3(stride)-BN-ReLU-1x1(4 * planes)-BN, plus shortcut, then ReLU."""

    expansion = 4
    depth_unit = 9

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = _convolution(channels, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _convolution(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _convolution(planes, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) to (B, 4 * planes, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        result: torch.Tensor = self.relu(out)
        return result


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class Trunk(nn.Module):
    """Everything but the gate: stem, three stages and the classifier that both exits share.

    Stage 3 is held in three parts: the output of `stage3_first` feeds the shallow exit; `stage3_middle` and
    `stage3_last` are the layers that a skipped sample leaves out.

    Args:
        block: the kind of residual block.
        blocks: n, residual blocks per stage, at least 2.
        channels: channels of the images.
        classes: C.
    """

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], blocks: int, channels: int, classes: int) -> None:
        super().__init__()
        if blocks < 2:
            raise ConfigError(f"{blocks} block(s) per stage: two exits in stage 3 need at least 2")
        low, middle, high = (planes * block.expansion for planes in STAGE_PLANES)
        width = STAGE_PLANES[0]
        self.stem = nn.Sequential(
            OrderedDict(conv=_convolution(channels, width, 3), bn=nn.BatchNorm2d(width), relu=nn.ReLU(inplace=True))
        )
        self.stage1 = _stage(block, width, STAGE_PLANES[0], stride=1, blocks=blocks)
        self.stage2 = _stage(block, low, STAGE_PLANES[1], stride=2, blocks=blocks)
        self.stage3_first = block(middle, STAGE_PLANES[2], 2)
        self.stage3_middle = nn.Sequential(*(block(high, STAGE_PLANES[2], 1) for _ in range(blocks - 2)))
        self.stage3_last = block(high, STAGE_PLANES[2], 1)
        self.classifier = nn.Linear(high, classes)
        self.features = high
        self.channels, self.classes = channels, classes

    def shallow_map(self, images: torch.Tensor) -> torch.Tensor:
        """o1: the output (B, d, H/4, W/4) of the first block of stage 3 for images (B, channels, H, W)."""
        o1: torch.Tensor = self.stage3_first(self.stage2(self.stage1(self.stem(images))))
        return o1

    def deep_map(self, o1: torch.Tensor) -> torch.Tensor:
        """o2: the output of stage 3, of the same shape (B, d, H/4, W/4) as `o1`."""
        o2: torch.Tensor = self.stage3_last(self.stage3_middle(o1))
        return o2

    def pooled_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """p1 and p2, the global averages (B, d) of o1 and o2."""
        o1 = self.shallow_map(images)
        return pool(o1), pool(self.deep_map(o1))


class GatedResNet(nn.Module):
    """A trunk whose two exits a gate mixes: logits = g * deep + (1 - g) * shallow, per sample.

    Without gate it is the plain ResNet of the same depth: the deep exit alone.

    Args:
        trunk: the residual network.
        gate: built for `trunk.features` features; None: a plain ResNet.
        gate_input: which pooled features the gate reads, "late" (p2) or "early" (p1; allows `predict`).
    """

    def __init__(self, trunk: Trunk, gate: Gate | None, gate_input: Literal["late", "early"]) -> None:
        super().__init__()
        self.trunk = trunk
        self.gate = gate
        self.gate_input = gate_input

    def forward(self, images: torch.Tensor) -> Exits:
        """All exits for images (B, channels, H, W).

        Gradient sets are disjoint: a loss on `logits` reaches the trunk only (also through g), a loss on
        `gate_logits` the gate only. One backward of their sum gives both (section A3 of the specification).
        """
        p1, p2 = self.trunk.pooled_features(images)
        return self._exits(p1, p2)

    def forward_gate_only(self, images: torch.Tensor) -> Exits:
        """The same exits as `forward`, without a trunk graph: only `gate_logits` can be differentiated.

        In train mode the running statistics of the batch norms move as in `forward`.
        """
        with torch.no_grad():
            p1, p2 = self.trunk.pooled_features(images)
            exits = self._exits(p1, p2)
        if self.gate is None:
            return exits
        return exits._replace(gate_logits=self.gate.logits(self._gate_features(p1, p2)))

    @torch.no_grad()
    def predict(self, images: torch.Tensor, skip_below: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Class scores that leave out the rest of stage 3 for the samples the gate finds easy.

        Args:
            images: (B, channels, H, W).
            skip_below: samples with g < skip_below take the shallow exit alone, the others the mix; so 0
                skips none.

        Returns:
            Class scores (B, C), and the mask (B,) bool of the skipped samples.

        Raises:
            ConfigError: the model has no gate, or one that needs the output of all layers.
            RuntimeError: the model is in train mode, where a sample's result depends on its batch.
        """
        if self.gate is None or self.gate_input != "early":
            raise ConfigError("layers can be skipped with an early gate only; set gate_input to 'early'")
        if self.training:
            raise RuntimeError("predict needs eval mode: call model.eval() first")
        o1 = self.trunk.shallow_map(images)
        p1 = pool(o1)
        g = self.gate.openness(p1)
        logits: torch.Tensor = self.trunk.classifier(p1)
        skipped = g < skip_below
        kept = (~skipped).nonzero().squeeze(1)
        if len(kept):
            deep = self.trunk.classifier(pool(self.trunk.deep_map(o1[kept])))
            logits[kept] = _mix(g[kept], logits[kept], deep).to(logits.dtype)
        return logits, skipped

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the trunk, the classifier included."""
        return self.trunk.parameters()

    def gate_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the gate; none for a plain ResNet."""
        return iter(()) if self.gate is None else self.gate.parameters()

    def _exits(self, p1: torch.Tensor, p2: torch.Tensor) -> Exits:
        deep, shallow = self.trunk.classifier(p2), self.trunk.classifier(p1)
        if self.gate is None:
            return Exits(deep, deep, shallow, None, None)
        features = self._gate_features(p1, p2)
        g = self.gate.frozen_openness(features)
        return Exits(_mix(g, shallow, deep), deep, shallow, self.gate.logits(features.detach()), g)

    def _gate_features(self, p1: torch.Tensor, p2: torch.Tensor) -> torch.Tensor:
        return p1 if self.gate_input == "early" else p2


def build_model(config: TrialConfig, channels: int, classes: int) -> GatedResNet:
    """The network that `config` describes, on the CPU, initialised from `config.seed`.

    No global random state changes. Models of one seed share the initial trunk, whatever their gate. The
    weights lie channels-last, so activations do too: the faster layout for convolutions of so few channels.

    Args:
        config: depth (basic 6n+2, bottleneck 9n+2, n >= 2), block, gate, gate_input, gate_hidden, kappa,
            seed.
        channels: channels of the images, e.g. 1 or 3.
        classes: number of classes C, at least 2.

    Raises:
        ConfigError: the gate is unknown, the depth too small, or there are fewer than 2 classes.
    """
    if classes < 2:
        raise ConfigError(f"{classes} class(es): a classifier needs at least 2")
    block = BLOCKS[config.block]
    # The CPU generator alone: torch.manual_seed would also reseed every CUDA device.
    with torch.random.fork_rng(devices=()), torch.device("cpu"):
        torch.default_generator.manual_seed(config.seed)
        trunk = Trunk(block, (config.depth - 2) // block.depth_unit, channels, classes)
        gate = build_gate(config, trunk.features, classes)
    return GatedResNet(trunk, gate, config.gate_input).to(memory_format=torch.channels_last)


def pool(maps: torch.Tensor) -> torch.Tensor:
    """Global average: (B, d, H, W) to (B, d)."""
    return maps.mean(dim=(2, 3))


def _mix(g: torch.Tensor, shallow: torch.Tensor, deep: torch.Tensor) -> torch.Tensor:
    """g * deep + (1 - g) * shallow: (B,), (B, C), (B, C) to (B, C)."""
    # Not torch.lerp: under autocast g is float32 and the exits are not.
    return shallow + g.unsqueeze(1) * (deep - shallow)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels: int, planes: int, *, stride: int, blocks: int
) -> nn.Sequential:
    """`blocks` residual blocks, the first of which takes the stride."""
    width = planes * block.expansion
    rest = (block(width, planes, 1) for _ in range(blocks - 1))
    return nn.Sequential(block(channels, planes, stride), *rest)


def _shortcut(channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """conv1x1-BN where the shape changes; None: the identity."""
    if stride == 1 and channels == out_channels:
        return None
    return nn.Sequential(_convolution(channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


def _convolution(channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the map's size up to the stride; weights N(0, 2 / (k² C_out))."""
    convolution = nn.Conv2d(channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
