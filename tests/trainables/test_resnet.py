"""The gated ResNet: shapes, exits, gradient sets, skipping, initialisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from trainables.config import trial_config
from trainables.errors import ConfigError
from trainables.resnet import BasicBlock, GatedResNet, Trunk, build_model


def small_model(channels: int = 1, classes: int = 4, **settings: object) -> GatedResNet:
    return build_model(trial_config({"depth": 14, "gate_hidden": 8, **settings}), channels, classes)


def images(count: int, channels: int = 1, size: int = 8) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("gate_input", ["late", "early"])
@pytest.mark.parametrize(("block", "depth", "features"), [("basic", 14, 64), ("bottleneck", 20, 256)])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32), (3, 20)])
def test_exits_have_the_promised_shapes_and_mix(block, depth, features, channels, size, gate_input):
    model = small_model(channels, 5, block=block, depth=depth, gate_input=gate_input)
    exits = model(images(3, channels, size))
    assert model.trunk.features == features
    assert exits.logits.shape == exits.deep.shape == exits.shallow.shape == exits.gate_logits.shape == (3, 5)
    assert exits.g.shape == (3,)
    g = exits.g.unsqueeze(1)
    torch.testing.assert_close(exits.logits, g * exits.deep + (1 - g) * exits.shallow)
    assert not torch.allclose(exits.deep, exits.shallow)


def test_mixing_maps_and_mixing_logits_are_the_same():
    model = small_model().double().eval()
    batch = images(5).double()
    exits = model(batch)
    o1 = model.trunk.shallow_map(batch)
    o2 = model.trunk.deep_map(o1)
    g = exits.g.view(-1, 1, 1, 1)
    from_maps = model.trunk.classifier((g * o2 + (1 - g) * o1).mean((2, 3)))
    torch.testing.assert_close(exits.logits, from_maps, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("gate_input", "exit_map"), [("late", "deep"), ("early", "shallow")])
def test_the_gate_reads_the_features_it_is_told_to(gate_input, exit_map):
    model = small_model(gate_input=gate_input).eval()
    p1, p2 = model.trunk.pooled_features(images(3))
    features = p2 if exit_map == "deep" else p1
    torch.testing.assert_close(model(images(3)).g, model.gate.openness(features))


@pytest.mark.parametrize(("depth", "block"), [(8, "basic"), (11, "bottleneck"), (14, "bottleneck"), (15, "basic")])
def test_depths_without_two_blocks_per_stage_are_errors(depth, block):
    with pytest.raises(ConfigError):
        trial_config({"depth": depth, "block": block})


def test_a_trunk_of_one_block_per_stage_is_an_error():
    with pytest.raises(ConfigError, match="at least 2"):
        Trunk(BasicBlock, 1, 3, 10)


def test_one_class_is_an_error():
    with pytest.raises(ConfigError, match="at least 2"):
        small_model(classes=1)


def test_depth_counts_the_convolutions_on_the_main_path():
    for block, depth in (("basic", 26), ("bottleneck", 29)):
        model = small_model(block=block, depth=depth)
        main = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in n]
        assert len(main) + 1 == depth


def test_the_gate_loss_never_moves_the_trunk_and_the_classification_loss_never_the_gate():
    model = small_model(gate_input="late")
    labels = torch.tensor([0, 1, 2])
    cross_entropy(model(images(3)).gate_logits, labels).backward()
    assert all(parameter.grad is None for parameter in model.trunk_parameters())
    assert all(parameter.grad is not None for parameter in model.gate_parameters())
    model.zero_grad()
    cross_entropy(model(images(3)).logits, labels).backward()
    assert all(parameter.grad is None for parameter in model.gate_parameters())
    assert all(parameter.grad is not None for parameter in model.trunk_parameters())


def test_one_backward_gives_the_gradients_of_two():
    model = small_model(kappa="2020").double()
    batch, labels = images(4).double(), torch.tensor([0, 1, 2, 3])
    exits = model(batch)
    (cross_entropy(exits.logits, labels) + cross_entropy(exits.gate_logits, labels)).backward()
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}

    p1, p2 = model.trunk.pooled_features(batch)
    scores = model.gate.logits(p2)
    g = model.gate.openness(p2).unsqueeze(1)  # parameters not frozen: the classification graph holds them
    logits = g * model.trunk.classifier(p2) + (1 - g) * model.trunk.classifier(p1)
    gate = torch.autograd.grad(cross_entropy(scores, labels), list(model.gate_parameters()), retain_graph=True)
    trunk = torch.autograd.grad(cross_entropy(logits, labels), list(model.trunk_parameters()))
    for (name, _), gradient in zip(model.named_parameters(), [*trunk, *gate], strict=True):
        torch.testing.assert_close(ours[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


def test_the_classification_loss_reaches_the_features_through_g():
    model = small_model().double()
    exits = model(images(4).double())
    assert exits.g.requires_grad
    (through_g,) = torch.autograd.grad(exits.g.sum(), [model.trunk.stage3_last.conv1.weight])
    assert through_g.abs().max() > 0


def test_gate_only_forward_equals_forward_and_builds_no_trunk_graph():
    model, twin = small_model(), small_model()
    full, light = model(images(6)), twin.forward_gate_only(images(6))
    for ours, theirs in zip(full, light, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not light.logits.requires_grad
    assert not light.g.requires_grad
    assert light.gate_logits.requires_grad
    for (name, ours), theirs in zip(model.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
    assert twin.trunk.stem.bn.num_batches_tracked == 1


def test_without_gate_it_is_the_plain_network():
    plain, gated = small_model(gate="none"), small_model()
    exits = plain(images(3))
    assert exits.gate_logits is None
    assert exits.g is None
    assert exits.logits is exits.deep
    assert list(plain.gate_parameters()) == []
    assert plain.state_dict().keys() == {k for k in gated.state_dict() if k.startswith("trunk.")}
    for (name, ours), theirs in zip(plain.named_parameters(), gated.trunk_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=name)
    light = plain.forward_gate_only(images(3))
    assert light.gate_logits is None
    assert not light.logits.requires_grad


def test_initialisation_follows_the_seed_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = small_model(seed=3), small_model(seed=3), small_model(seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(first.trunk.stem.conv.weight, small_model(seed=3).trunk.stem.conv.weight)
    for ours, theirs in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(first.trunk.stem.conv.weight, other.trunk.stem.conv.weight)


def test_initial_weights_have_the_published_spread():
    model = build_model(trial_config({"depth": 20}), 3, 10)
    weight = model.trunk.stage3_last.conv1.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert abs(weight.mean().item()) < 0.001
    assert model.trunk.classifier.weight.abs().max().item() == pytest.approx(1 / 8, rel=0.02)
    assert model.trunk.classifier.bias.abs().max().item() <= 1 / 8
    assert torch.equal(model.trunk.stage1[0].bn1.weight, torch.ones(16))


class Seen:
    """Counts the samples that pass through a module."""

    def __init__(self, module: nn.Module) -> None:
        self.batches: list[int] = []
        module.register_forward_pre_hook(lambda _module, inputs: self.batches.append(len(inputs[0])))


def test_predict_computes_the_rest_of_stage_3_for_the_kept_samples_only():
    model = small_model(gate_input="early", depth=20).eval()
    middle, last, first = Seen(model.trunk.stage3_middle), Seen(model.trunk.stage3_last), Seen(model.trunk.stage3_first)
    batch = images(9)
    exits = model(batch)
    threshold = exits.g.sort().values[4].item()  # four samples lie below the fifth smallest
    for seen in (middle, last, first):
        seen.batches.clear()
    logits, skipped = model.predict(batch, threshold)
    assert skipped.dtype == torch.bool
    assert torch.equal(skipped, exits.g < threshold)
    assert (first.batches, middle.batches, last.batches) == ([9], [5], [5])
    torch.testing.assert_close(logits[skipped], exits.shallow[skipped])
    torch.testing.assert_close(logits[~skipped], exits.logits[~skipped])
    assert not logits.requires_grad


def test_predict_of_all_or_none_skipped():
    model = small_model(gate_input="early").eval()
    last = Seen(model.trunk.stage3_last)
    exits = model(images(4))
    last.batches.clear()
    logits, skipped = model.predict(images(4), skip_below=1.1)
    assert skipped.all()
    assert last.batches == []
    torch.testing.assert_close(logits, exits.shallow)
    logits, skipped = model.predict(images(4), skip_below=0.0)
    assert not skipped.any()
    assert last.batches == [4]
    torch.testing.assert_close(logits, exits.logits)


@pytest.mark.parametrize("settings", [{"gate_input": "late"}, {"gate": "none", "gate_input": "early"}])
def test_predict_needs_an_early_gate(settings):
    with pytest.raises(ConfigError, match="early"):
        small_model(**settings).eval().predict(images(2), 0.5)


def test_predict_needs_eval_mode():
    with pytest.raises(RuntimeError, match=r"eval\(\)"):
        small_model(gate_input="early").predict(images(2), 0.5)


def test_exits_and_predict_work_under_autocast():
    model = small_model(gate_input="early").eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        exits = model(images(4))
        logits, _ = model.predict(images(4), 0.0)
    torch.testing.assert_close(exits.logits.float(), logits.float(), rtol=0.02, atol=0.02)
