"""The published sizes and costs, number by number."""

from __future__ import annotations

import pytest
import torch

from trainables.complexity import Breakdown, count_macs, count_parameters
from trainables.config import trial_config
from trainables.resnet import GatedResNet, build_model


@pytest.fixture(scope="module")
def basic() -> GatedResNet:
    return build_model(trial_config({"depth": 110}), 3, 10)


@pytest.fixture(scope="module")
def bottleneck() -> GatedResNet:
    return build_model(trial_config({"depth": 164, "block": "bottleneck"}), 3, 100)


def test_parameters_of_resnet_110(basic):
    counted = count_parameters(basic)
    assert (counted.trunk, counted.gate, counted.skippable) == (1_730_714, 38_410, 1_257_728)
    assert counted.total == sum(parameter.numel() for parameter in basic.parameters())


def test_parameters_of_resnet_164(bottleneck):
    counted = count_parameters(bottleneck)
    assert (counted.trunk, counted.gate, counted.skippable) == (1_727_284, 182_884, 1_196_800)


def test_macs_of_resnet_110(basic):
    counted = count_macs(basic, (3, 32, 32))
    assert counted == Breakdown(
        stem=442_368,
        stage1=84_934_656,
        stage2=83_886_080,
        stage3_first=3_670_016,
        skippable=80_216_064,
        classifier=640,
        gate=37_888,
    )
    assert counted.trunk == 253_149_824
    assert counted.skippable / counted.trunk == pytest.approx(0.317, abs=5e-4)


def test_macs_of_resnet_164(bottleneck):
    counted = count_macs(bottleneck, (3, 32, 32))
    assert counted == Breakdown(
        stem=442_368,
        stage1=80_478_208,
        stage2=83_361_792,
        stage3_first=7_602_176,
        skippable=75_759_616,
        classifier=25_600,
        gate=182_272,
    )
    assert counted.trunk == 247_669_760
    assert counted.skippable / counted.trunk == pytest.approx(0.306, abs=5e-4)


def test_a_plain_network_has_the_trunks_numbers(basic):
    plain = build_model(trial_config({"depth": 110, "gate": "none"}), 3, 10)
    assert count_parameters(plain).total == count_parameters(basic).trunk
    assert count_macs(plain, (3, 32, 32)).total == 253_149_824


def test_macs_follow_the_size_of_the_image_and_leave_the_model_alone():
    model = build_model(trial_config({"depth": 14}), 1, 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small, large = count_macs(model, (1, 8, 8)), count_macs(model, (1, 16, 16))
    assert large.stage1 == 4 * small.stage1
    assert large.gate == small.gate
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
