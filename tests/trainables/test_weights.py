"""Weights from elsewhere: what fits is loaded, what does not is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainables.config import trial_config
from trainables.errors import CheckpointError
from trainables.resnet import GatedResNet, build_model
from trainables.weights import initial_model, load_baseline, load_published

Weights = dict[str, torch.Tensor]

#: Written out here anew, as an independent statement of the published names.
PUBLISHED = [
    ("trunk.stem.conv.", "conv1."),
    ("trunk.stem.bn.", "bn1."),
    ("trunk.stage1.", "layer1."),
    ("trunk.stage2.", "layer2."),
    ("trunk.stage3_first.", "o1."),
    ("trunk.stage3_middle.", "mid."),
    ("trunk.stage3_last.", "o2."),
    ("trunk.classifier.", "fc."),
    ("gate.head.", "g_layer."),
]


def model_of(depth: int = 20, classes: int = 10, seed: int = 0, **settings: object) -> GatedResNet:
    settings = {"gate_hidden": 8, **settings}
    return build_model(trial_config({"depth": depth, "seed": seed, **settings}), 3, classes)


def published(model: GatedResNet) -> Weights:
    names = {}
    for name, value in model.state_dict().items():
        ours, theirs = next(pair for pair in PUBLISHED if name.startswith(pair[0]))
        names[theirs + name.removeprefix(ours)] = value.clone()
    return names


def published_plain(model: GatedResNet, blocks: int) -> Weights:
    """The published names of a plain ResNet: stage 3 as layer3.0 to layer3.(blocks - 1)."""
    plain = {}
    for name, value in published(model).items():
        part, _, rest = name.partition(".")
        if part == "mid":
            index, _, rest = rest.partition(".")
            plain[f"layer3.{int(index) + 1}.{rest}"] = value
        elif part in ("o1", "o2"):
            plain[f"layer3.{0 if part == 'o1' else blocks - 1}.{rest}"] = value
        elif part != "g_layer":
            plain[name] = value
    return plain


def prefixed(weights: Weights) -> Weights:
    return {f"module.{name}": value for name, value in weights.items()}


def assert_same(model: GatedResNet, other: GatedResNet, prefix: str = "") -> None:
    theirs = other.state_dict()
    for name, value in model.state_dict().items():
        if name.startswith(prefix) and not (prefix and name.startswith("trunk.classifier.")):
            assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize("depth", [14, 20])
@pytest.mark.parametrize("prefix", [dict, prefixed])
@pytest.mark.parametrize("wrap", [dict, lambda weights: {"state_dict": weights, "epoch": 3, "acc": 91.0}])
def test_published_names_load(depth, prefix, wrap):
    source, model = model_of(depth, seed=1), model_of(depth, seed=2)
    load_published(model, wrap(prefix(published(source))))
    assert_same(model, source)


def test_published_weights_load_from_a_file(tmp_path):
    source, model = model_of(seed=1), model_of(seed=2)
    torch.save({"state_dict": prefixed(published(source))}, tmp_path / "w.pth")
    load_published(model, tmp_path / "w.pth")
    assert_same(model, source)
    load_published(model_of(), str(tmp_path / "w.pth"))


def test_what_is_missing_unexpected_or_of_another_shape_is_named_and_nothing_is_loaded():
    model, before = model_of(seed=2), model_of(seed=2)
    whole = published(model_of(seed=1))

    missing = {name: value for name, value in whole.items() if name != "o2.bn1.weight"}
    with pytest.raises(CheckpointError, match=r"missing key 'o2\.bn1\.weight'"):
        load_published(model, missing)
    with pytest.raises(CheckpointError, match=r"unexpected key 'o3\.weight'"):
        load_published(model, {**whole, "o3.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"'fc\.weight' has shape \(7, 64\) and not \(10, 64\)"):
        load_published(model, {**whole, "fc.weight": torch.zeros(7, 64)})
    with pytest.raises(CheckpointError, match=r"'fc\.bias' is no tensor"):
        load_published(model, {**whole, "fc.bias": [0.0] * 10})
    with pytest.raises(CheckpointError, match="missing key"):
        load_published(model, {})
    assert_same(model, before)


def test_another_depth_does_not_fit():
    with pytest.raises(CheckpointError, match=r"missing key 'layer1\.3"):
        load_published(model_of(26), published(model_of(20)))
    with pytest.raises(CheckpointError, match=r"unexpected key 'layer1\.2"):
        load_published(model_of(14), published(model_of(20)))


def test_a_published_gate_does_not_load_into_a_plain_network():
    with pytest.raises(CheckpointError, match="unexpected key 'g_layer"):
        load_published(model_of(gate="none"), published(model_of()))


# 74 = 6 * 12 + 2: indices of two digits in every stage.
@pytest.mark.parametrize(("depth", "block", "blocks"), [(14, "basic", 2), (74, "basic", 12), (29, "bottleneck", 3)])
@pytest.mark.parametrize("prefix", [dict, prefixed])
def test_a_plain_network_loads_as_baseline(depth, block, blocks, prefix):
    source = model_of(depth, seed=1, block=block)
    model, fresh = (model_of(depth, seed=2, block=block) for _ in range(2))
    load_baseline(model, {"state_dict": prefix(published_plain(source, blocks))})
    assert_same(model, source, prefix="trunk.")
    assert_same(model, fresh, prefix="gate.")
    assert torch.equal(model.trunk.classifier.weight, fresh.trunk.classifier.weight)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ours, theirs = model.eval().trunk.pooled_features(images), source.eval().trunk.pooled_features(images)
    torch.testing.assert_close(ours, theirs)


def test_a_baseline_of_another_number_of_classes_loads():
    source, model = model_of(classes=10, seed=1), model_of(classes=7, seed=2)
    load_baseline(model, published_plain(source, 3))
    assert_same(model, source, prefix="trunk.")


@pytest.mark.parametrize("wrap", [dict, lambda weights: {"model": weights, "epoch": 3}])
def test_our_own_plain_network_loads_as_baseline(tmp_path, wrap):
    source, model, fresh = model_of(seed=1, gate="none"), model_of(seed=2), model_of(seed=2)
    torch.save(wrap(source.state_dict()), tmp_path / "plain.pt")
    load_baseline(model, tmp_path / "plain.pt")
    assert_same(source, model, prefix="trunk.")
    assert torch.equal(model.trunk.classifier.weight, fresh.trunk.classifier.weight)


def test_what_is_no_plain_network_of_this_shape_is_no_baseline():
    model, before = model_of(seed=2), model_of(seed=2)
    plain = published_plain(model_of(seed=1), 3)
    with pytest.raises(CheckpointError, match=r"unexpected key 'o1\."):
        load_baseline(model, {k: v for k, v in published(model_of(seed=1)).items() if k.startswith(("o", "g"))})
    with pytest.raises(CheckpointError, match=r"unexpected key 'gate\.head"):
        load_baseline(model, model_of(seed=1).state_dict())
    with pytest.raises(CheckpointError, match=r"unexpected key 'layer1\.3\."):
        load_baseline(model, published_plain(model_of(26), 4))
    with pytest.raises(CheckpointError, match=r"missing key 'layer3\.2\.bn2\.bias'"):
        load_baseline(model, {k: v for k, v in plain.items() if k != "layer3.2.bn2.bias"})
    for nothing in ({}, {"fc.weight": torch.zeros(10, 64)}):
        with pytest.raises(CheckpointError, match=r"missing key 'conv1\.weight'"):
            load_baseline(model, nothing)
    assert_same(model, before)


@pytest.mark.parametrize("load", [load_published, load_baseline])
def test_damaged_missing_and_foreign_files_are_errors_of_one_line(tmp_path, load):
    whole = tmp_path / "whole.pt"
    torch.save(published(model_of()), whole)
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("no weights here\nat all\n")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"state_dict": Path("x")}, tmp_path / "pickle.pt")  # not loadable with weights_only
    for name in ("cut.pt", "empty.pt", "text.pt", "list.pt", "pickle.pt", "absent.pt"):
        with pytest.raises(CheckpointError, match=name) as raised:
            load(model_of(), tmp_path / name)
        assert "\n" not in str(raised.value)


def test_a_trial_starts_from_its_baseline(tmp_path):
    source = model_of(seed=1, gate="none")
    torch.save(source.state_dict(), tmp_path / "plain.pt")
    settings = {"depth": 20, "seed": 2, "gate_hidden": 8}
    scratch = initial_model(trial_config(settings), 3, 10)
    assert_same(scratch, model_of(seed=2))
    config = trial_config({**settings, "init": "baseline", "baseline": str(tmp_path / "plain.pt")})
    assert_same(source, initial_model(config, 3, 10), prefix="trunk.")
