"""What every gate promises, and the entropy gate's formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from trainables.config import trial_config
from trainables.errors import ConfigError
from trainables.gates import GATES, EntropyGate, Gate, build_gate, entropy

FEATURES, CLASSES = 6, 5


@pytest.fixture(params=sorted(set(GATES) - {"none"}))
def gate(request) -> Gate:
    config = trial_config({"gate": request.param, "gate_hidden": 7})
    built = build_gate(config, FEATURES, CLASSES)
    assert built is not None
    return built


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(9, FEATURES, generator=torch.Generator().manual_seed(0))


class TestEveryGate:
    """Conformance: a new entry of GATES passes without touching this file."""

    def test_shapes_and_range(self, gate, features):
        assert gate.logits(features).shape == (9, CLASSES)
        openness = gate.openness(features)
        assert openness.shape == (9,)
        assert ((openness >= 0) & (openness <= 1)).all()

    def test_stays_finite_on_extreme_features(self, gate, features):
        assert gate.openness(features * 1e4).isfinite().all()

    def test_frozen_openness_has_the_same_value(self, gate, features):
        torch.testing.assert_close(gate.frozen_openness(features), gate.openness(features))
        torch.testing.assert_close(gate(features), gate.openness(features))

    def test_frozen_openness_passes_gradient_to_the_features_only(self, gate, features):
        features.requires_grad_()
        gate.frozen_openness(features).sum().backward()
        assert features.grad is not None
        assert features.grad.abs().max() > 0
        assert all(parameter.grad is None for parameter in gate.parameters())

    def test_frozen_openness_has_the_gradient_of_openness(self, gate, features):
        features.requires_grad_()
        (frozen,) = torch.autograd.grad(gate.frozen_openness(features).sum(), features)
        (free,) = torch.autograd.grad(gate.openness(features).sum(), features)
        torch.testing.assert_close(frozen, free)

    def test_learns_from_its_logits(self, gate, features):
        cross_entropy(gate.logits(features), torch.arange(9) % CLASSES).backward()
        assert all(parameter.grad is not None for parameter in gate.parameters())

    def test_parameters_still_learn_after_a_frozen_pass(self, gate, features):
        gate.frozen_openness(features)
        assert all(parameter.requires_grad for parameter in gate.parameters())

    def test_samples_do_not_see_each_other(self, gate, features):
        torch.testing.assert_close(gate.openness(features)[3:4], gate.openness(features[3:4]))


def test_none_builds_no_gate():
    assert build_gate(trial_config({"gate": "none"}), FEATURES, CLASSES) is None


def test_an_unknown_gate_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'entropy'"):
        build_gate(trial_config({"gate": "entropie"}), FEATURES, CLASSES)


def test_entropy_in_nats():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [100.0, 0.0, 0.0, 0.0], [math.log(3.0), 0.0, -1e9, -1e9]])
    three_to_one = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    torch.testing.assert_close(entropy(logits), torch.tensor([math.log(4), 0.0, three_to_one]))


@pytest.mark.parametrize(
    ("kappa", "classes", "low", "high"),
    [
        ("2019", 10, 0.240, 0.760),
        ("2019", 100, 0.0909, 0.9091),
        ("2020", 10, 0.018, 0.982),
        ("2020", 100, 0.0003, 0.9997),
    ],
)
def test_openness_spans_the_published_range(kappa, classes, low, high):
    gate = build_gate(trial_config({"kappa": kappa, "gate_hidden": 3}), 2, classes)
    assert isinstance(gate, EntropyGate)
    bias = gate.head[1].bias
    with torch.no_grad():
        gate.head[0].weight.zero_()
        gate.head[1].weight.zero_()
        bias.zero_()
        uncertain = gate.openness(torch.zeros(1, 2)).item()
        bias[0] = 1000.0
        certain = gate.openness(torch.zeros(1, 2)).item()
    digits = len(str(low)) - 2
    assert (round(certain, digits), round(uncertain, digits)) == (low, high)


def test_openness_is_the_formula():
    gate = EntropyGate(FEATURES, 7, CLASSES, kappa=1.7).double()
    features = torch.randn(4, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, second = gate.head
    scores = (features @ first.weight.T + first.bias) @ second.weight.T + second.bias
    probabilities = scores.softmax(1)
    hardness = -(probabilities * probabilities.log()).sum(1)
    expected = 1 / (1 + torch.exp(-1.7 * (hardness - math.log(CLASSES) / 2)))
    torch.testing.assert_close(gate.openness(features), expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(gate.logits(features), scores)
