"""The two kinds of batch update."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from trainables.config import trial_config
from trainables.resnet import GatedResNet, build_model
from trainables.steps import (
    LossSettings,
    Optimizers,
    build_optimizers,
    set_rates,
    step_both,
    step_gate_only,
    steps_trunk,
)

PLAIN_LOSS = LossSettings()


def setting(**settings: object) -> tuple[GatedResNet, Optimizers]:
    config = trial_config({"depth": 14, "gate_hidden": 8, **settings})
    model = build_model(config, 1, 4).double()
    return model, build_optimizers(model, config)


def batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 8, 8, dtype=torch.float64, generator=generator)
    return images, torch.randint(0, 4, (count,), generator=generator)


def weights(model: GatedResNet) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def moved(model: GatedResNet, before: dict[str, torch.Tensor]) -> set[str]:
    return {n.split(".")[0] for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def test_step_both_moves_both_and_reports_the_losses_before_the_step():
    model, optimizers = setting()
    twin, _ = setting()
    images, labels = batch()
    exits = twin(images)
    before = weights(model)
    losses = step_both(model, optimizers, images, labels, PLAIN_LOSS)
    assert moved(model, before) == {"trunk", "gate"}
    torch.testing.assert_close(losses.classification, cross_entropy(exits.logits, labels).detach())
    torch.testing.assert_close(losses.gate, cross_entropy(exits.gate_logits, labels).detach())
    assert not losses.classification.requires_grad
    assert not losses.gate.requires_grad


def test_step_both_is_sgd_with_momentum_and_decay_on_everything():
    model, optimizers = setting(lr=0.05, lr_gate=0.02, momentum=0.8, weight_decay=0.01)
    images, labels = batch()
    expected = weights(model)
    buffers = {name: torch.zeros_like(value) for name, value in expected.items()}
    for _ in range(3):
        exits = model(images)
        total = cross_entropy(exits.logits, labels) + cross_entropy(exits.gate_logits, labels)
        gradients = torch.autograd.grad(total, list(model.parameters()))
        for name, gradient in zip(expected, gradients, strict=True):
            buffers[name] = 0.8 * buffers[name] + gradient + 0.01 * expected[name]
            expected[name] -= (0.05 if name.startswith("trunk") else 0.02) * buffers[name]
        step_both(model, optimizers, images, labels, PLAIN_LOSS)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-9, atol=1e-11, msg=name)


def test_step_gate_only_builds_no_trunk_graph_and_moves_the_gate_and_the_statistics():
    model, optimizers = setting()
    graphs: list[torch.autograd.graph.Node | None] = []
    model.trunk.stage3_last.register_forward_hook(lambda _m, _i, output: graphs.append(output.grad_fn))
    before, statistics = weights(model), model.trunk.stage3_last.bn1.running_mean.clone()
    step_gate_only(model, optimizers, *batch(), PLAIN_LOSS)
    assert graphs == [None]
    assert all(parameter.grad is None for parameter in model.trunk_parameters())
    assert moved(model, before) == {"gate"}
    assert not torch.equal(model.trunk.stage3_last.bn1.running_mean, statistics)


def test_both_kinds_of_step_move_the_gate_alike():
    both, gate_only = setting(), setting()
    losses = [
        step(model, optimizers, *batch(), PLAIN_LOSS)
        for step, (model, optimizers) in ((step_both, both), (step_gate_only, gate_only))
    ]
    torch.testing.assert_close(losses[0], losses[1])
    for ours, theirs in zip(both[0].gate_parameters(), gate_only[0].gate_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_later_step_takes_no_gradient_from_an_earlier_batch():
    model, optimizers = setting(lr=1e-9, lr_gate=1e-9, momentum=0.0, weight_decay=0.0)
    images, labels = batch()
    step_both(model, optimizers, images, labels, PLAIN_LOSS)
    first = [parameter.grad.clone() for parameter in model.parameters()]
    step_both(model, optimizers, images, labels, PLAIN_LOSS)
    for parameter, gradient in zip(model.parameters(), first, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_without_gate_one_optimizer_and_no_gate_loss():
    model, optimizers = setting(gate="none")
    assert optimizers.gate is None
    before = weights(model)
    losses = step_gate_only(model, optimizers, *batch(), PLAIN_LOSS)
    assert losses.gate is None
    assert moved(model, before) == set()
    assert model.trunk.stem.bn.num_batches_tracked == 1
    assert step_both(model, optimizers, *batch(), PLAIN_LOSS).gate is None
    assert moved(model, before) == {"trunk"}


def test_label_smoothing_changes_the_trunks_loss_only():
    images, labels = batch()
    for step in (step_both, step_gate_only):
        plain = step(*setting(), images, labels, PLAIN_LOSS)
        smooth = step(*setting(), images, labels, LossSettings(label_smoothing=0.3))
        assert plain.classification != smooth.classification
        assert plain.gate == smooth.gate
        logits = setting()[0](images).logits
        torch.testing.assert_close(smooth.classification, cross_entropy(logits, labels, label_smoothing=0.3).detach())


@pytest.mark.parametrize(("gate_iters", "stepped"), [(1, [1, 2, 3, 4, 5, 6, 7]), (2, [2, 4, 6]), (3, [3, 6]), (8, [])])
def test_every_gate_iters_th_batch_steps_the_trunk(gate_iters, stepped):
    assert [batch for batch in range(1, 8) if steps_trunk(batch, gate_iters)] == stepped


def test_a_published_epoch_updates_the_trunk_117_times():
    assert sum(steps_trunk(batch, 3) for batch in range(1, 353)) == 117
    assert not steps_trunk(352, 3)


def test_set_rates():
    model, optimizers = setting(lr=0.1, lr_gate=0.01)
    set_rates(optimizers, 0.0, 0.0)
    before = weights(model)
    step_both(model, optimizers, *batch(), PLAIN_LOSS)
    assert moved(model, before) == set()
    set_rates(optimizers, 0.0, 0.5)
    step_both(model, optimizers, *batch(), PLAIN_LOSS)
    assert moved(model, before) == {"gate"}
    set_rates(setting(gate="none")[1], 0.1, 0.1)


@pytest.mark.parametrize("step", [step_both, step_gate_only])
def test_steps_in_lower_precision_stay_near(step):
    images, labels = batch()
    results = []
    for settings in (PLAIN_LOSS, LossSettings(autocast=torch.bfloat16)):
        model, optimizers = setting()
        results.append(step(model.float(), optimizers, images.float(), labels, settings))
    for exact, rough in zip(*results, strict=True):
        assert rough.dtype == torch.float32
        torch.testing.assert_close(exact, rough, rtol=0.05, atol=0.05)
