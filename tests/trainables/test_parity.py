"""Agreement with the published implementation, in float64: outputs, and six simultaneous updates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.config import TrialConfig, trial_config
from trainables.resnet import Exits, GatedResNet, build_model
from trainables.steps import LossSettings, build_optimizers, step_both, step_gate_only, steps_trunk
from trainables.weights import load_published

CASES = [("basicblock14_c10", "basic", 14, 10), ("bottleneck20_c100", "bottleneck", 20, 100)]

Reference = dict[str, torch.Tensor]


def reference(shared: Path, name: str) -> Reference:
    with np.load(shared / "reference" / "parity" / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def loaded_model(known: Reference, config: TrialConfig, classes: int) -> GatedResNet:
    model = build_model(config, 3, classes).double()
    load_published(model, {k.removeprefix("state/"): v for k, v in known.items() if k.startswith("state/")})
    return model


def assert_exits(exits: Exits, known: Reference, prefix: str) -> None:
    near = {"rtol": 1e-5, "atol": 1e-9}
    torch.testing.assert_close(exits.logits, known[f"{prefix}logits"], **near)
    torch.testing.assert_close(exits.gate_logits, known[f"{prefix}gate_logits"], **near)
    torch.testing.assert_close(exits.g, known[f"{prefix}g"], rtol=1e-4, atol=0)


@pytest.mark.parametrize("gate_iters", [1, 3])
@pytest.mark.parametrize(("name", "block", "depth", "classes"), CASES)
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_outputs_and_six_updates(shared, name, block, depth, classes, gate_iters, memory_format):
    known = reference(shared, name)
    config = trial_config(
        {"depth": depth, "block": block, "kappa": "2020", "gate_iters": gate_iters, "lr": 0.1, "lr_gate": 0.01}
    )
    model = loaded_model(known, config, classes).to(memory_format=memory_format)
    images = known["x"].double()
    with torch.no_grad():
        assert_exits(model.eval()(images[0]), known, "eval/")

    model.train()
    optimizers = build_optimizers(model, config)
    losses = []
    for batch, (x, y) in enumerate(zip(images, known["y"], strict=True), start=1):
        step = step_both if steps_trunk(batch, gate_iters) else step_gate_only
        losses.append(step(model, optimizers, x, y, LossSettings()))
    near = {"rtol": 1e-5, "atol": 0}
    trained = f"train{gate_iters}/"
    torch.testing.assert_close(
        torch.stack([loss.classification for loss in losses]), known[f"{trained}class_loss"], **near
    )
    torch.testing.assert_close(torch.stack([loss.gate for loss in losses]), known[f"{trained}gate_loss"], **near)
    near["atol"] = 1e-9
    torch.testing.assert_close(model.trunk.classifier.weight.detach(), known[f"{trained}fc.weight"], **near)
    torch.testing.assert_close(model.gate.head[1].weight.detach(), known[f"{trained}g_layer.1.weight"], **near)
    with torch.no_grad():
        assert_exits(model.eval()(images[0]), known, f"{trained}eval_")
