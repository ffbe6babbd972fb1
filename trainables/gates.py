"""Gates: how open a sample's deep exit is, judged from pooled features.

A new gate is one subclass of `Gate` and one entry in `GATES`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call

from trainables.config import TrialConfig
from trainables.errors import ConfigError, unknown_name


class Gate(nn.Module, ABC):
    """A head that classifies pooled features and derives from them one openness per sample.

    The head learns from the cross-entropy of `logits` alone; the classification loss reaches the features,
    not the head, through `frozen_openness`.
    """

    @abstractmethod
    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Class scores (B, C) of pooled features (B, d)."""

    @abstractmethod
    def openness(self, features: torch.Tensor) -> torch.Tensor:
        """Weight g of the deep exit, (B,) in [0, 1], of pooled features (B, d)."""

    def frozen_openness(self, features: torch.Tensor) -> torch.Tensor:
        """`openness`, (B,), with the parameters held constant: gradient flows to `features` (B, d) only."""
        constants = {name: parameter.detach() for name, parameter in self.named_parameters()}
        openness: torch.Tensor = functional_call(self, constants, (features,))
        return openness

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Same as `openness`."""
        return self.openness(features)


class EntropyGate(Gate):
    """Opens for samples that its own classifier is unsure of.

    z = A2 (A1 p + a1) + a2, without nonlinearity; H = entropy of softmax(z), in nats, in [0, ln C];
    g = sigmoid(kappa * (H - ln(C) / 2)), where ln(C) / 2 is rounded to four decimals as published.
    Source: the GREYC reports (2019, 2020), section A2 of the gated ResNet specification;
    kappa = 1 is the 2019 gate, kappa = 80/23 the 2020 gate.

    Args:
        features: d, the number of pooled features.
        hidden: width of the head between its two linear layers.
        classes: C, at least 2.
        kappa: slope of the gate, 1/nat.
    """

    def __init__(self, features: int, hidden: int, classes: int, kappa: float) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(features, hidden), nn.Linear(hidden, classes))
        self.kappa = kappa
        # The published code has 1.1513 and 2.3026 for 10 and 100 classes. The exact value changes g by 1e-5
        # at most, but training amplifies that: six steps on 100 classes move the logits by 1e-3.
        self.midpoint = round(math.log(classes) / 2, 4)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Class scores z, (B, C), of pooled features (B, d)."""
        scores: torch.Tensor = self.head(features)
        return scores

    def openness(self, features: torch.Tensor) -> torch.Tensor:
        """g = sigmoid(kappa * (H - ln(C) / 2)), (B,), of pooled features (B, d)."""
        return torch.sigmoid(self.kappa * (entropy(self.logits(features)) - self.midpoint))


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Shannon entropy of softmax(logits) in nats: (B, C) to (B,)."""
    log_probabilities = logits.log_softmax(dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


#: Builds a gate from the settings, the number of pooled features and of classes; None: a plain ResNet.
GateFactory = Callable[[TrialConfig, int, int], Gate | None]


def _entropy_gate(config: TrialConfig, features: int, classes: int) -> Gate:
    return EntropyGate(features, config.gate_hidden, classes, config.kappa)


def _no_gate(_config: TrialConfig, _features: int, _classes: int) -> None:
    return None


GATES: dict[str, GateFactory] = {"entropy": _entropy_gate, "none": _no_gate}


def check_gate(config: TrialConfig) -> None:
    """See that there is a gate of the name that `config` gives.

    Raises:
        ConfigError: there is none.
    """
    if config.gate not in GATES:
        raise ConfigError(unknown_name("gate", config.gate, GATES))


def build_gate(config: TrialConfig, features: int, classes: int) -> Gate | None:
    """The gate that `config.gate` names, for `features` pooled features; None for a plain ResNet.

    Raises:
        ConfigError: no gate has that name.
    """
    check_gate(config)
    return GATES[config.gate](config, features, classes)
