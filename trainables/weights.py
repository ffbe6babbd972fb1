"""Weights from elsewhere: published checkpoints, and plain ResNets as a starting point.

Loading is strict: what does not fit is an error that names the first key, and then nothing was loaded.
Source of the names: the GREYC reports (2019, 2020), section A6 of the gated ResNet specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from trainables.config import TrialConfig
from trainables.errors import CheckpointError
from trainables.resnet import GatedResNet, build_model

#: Weights by name, or a file that holds them.
Source = str | Path | Mapping[str, object]

#: Our names of the parts of a model, and the published ones.
_PUBLISHED = {
    "trunk.stem.conv": "conv1",
    "trunk.stem.bn": "bn1",
    "trunk.stage1": "layer1",
    "trunk.stage2": "layer2",
    "trunk.stage3_first": "o1",
    "trunk.stage3_middle": "mid",
    "trunk.stage3_last": "o2",
    "trunk.classifier": "fc",
    "gate.head": "g_layer",
}

#: The classifier of a baseline, in the published names and in ours; it is not loaded.
_CLASSIFIERS = ("fc.", "trunk.classifier.")

#: Entries under which a checkpoint may hold its state dict: the published one, and ours.
_STATE_ENTRIES = ("state_dict", "model")


def initial_model(config: TrialConfig, channels: int, classes: int) -> GatedResNet:
    """The model that `config` starts from: `build_model`, with the trunk of its baseline where init says so.

    Raises:
        ConfigError: the model cannot be built.
        CheckpointError: the baseline cannot be read, or does not fit.
    """
    model = build_model(config, channels, classes)
    if config.init == "baseline" and config.baseline is not None:
        load_baseline(model, config.baseline)
    return model


def load_published(model: GatedResNet, source: Source) -> None:
    """Load all weights of a gated ResNet from their published names, with or without the prefix `module.`.

    Args:
        model: of the same depth, block, channels, classes and gate width; changed in place.
        source: a state dict, a checkpoint with entry `state_dict`, or the file of either.

    Raises:
        CheckpointError: the file is missing or damaged, or a key is unknown, missing or of another shape.
    """
    names = {_renamed(name, _PUBLISHED): name for name in model.state_dict()}
    _copy(model, _state_of(source), names)


def load_baseline(model: GatedResNet, source: Source) -> None:
    """Load the trunk of a plain ResNet; classifier and gate stay as they are.

    Args:
        model: of the same depth, block and channels; changed in place. Its number of classes may differ.
        source: a plain ResNet as a state dict, as a checkpoint with entry `state_dict` or `model`, or the
            file of either; in the published names (layer3.k for the blocks of stage 3) or in ours.

    Raises:
        CheckpointError: the file is missing or damaged, or a key is unknown, missing or of another shape.
    """
    state = {name: value for name, value in _state_of(source).items() if not name.startswith(_CLASSIFIERS)}
    parts = {} if any(name.startswith("trunk.") for name in state) else _baseline_parts(model)
    wanted = [name for name in model.trunk.state_dict(prefix="trunk.") if not name.startswith(_CLASSIFIERS)]
    _copy(model, state, {_renamed(name, parts): name for name in wanted})


def _baseline_parts(model: GatedResNet) -> dict[str, str]:
    """Our names of the parts of a plain ResNet, and the published ones: layer3.k for block k of stage 3."""
    middle = len(model.trunk.stage3_middle)
    return {
        **{name: _PUBLISHED[name] for name in ("trunk.stem.conv", "trunk.stem.bn", "trunk.stage1", "trunk.stage2")},
        "trunk.stage3_first": "layer3.0",
        **{f"trunk.stage3_middle.{k}": f"layer3.{k + 1}" for k in range(middle)},
        "trunk.stage3_last": f"layer3.{middle + 1}",
    }


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    """`name` with its part, as far as `parts` lists it, under the other name."""
    for ours, theirs in parts.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    return name


def _state_of(source: Source) -> dict[str, object]:
    """The state dict in `source`, read from its file where it is one, without the prefix `module.`."""
    content = source if isinstance(source, Mapping) else _read(Path(source))
    for entry in _STATE_ENTRIES:
        inner = content.get(entry)
        if isinstance(inner, Mapping):
            content = inner
            break
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _read(path: Path) -> Mapping[str, object]:
    try:
        content = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no file of weights at {path}") from None
    except Exception as error:  # a damaged archive raises anything, from EOFError to UnpicklingError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"the file of weights {path} cannot be read: {reason}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds no state dict but a {type(content).__name__}")
    return content


def _copy(model: GatedResNet, state: Mapping[str, object], names: Mapping[str, str]) -> None:
    """Copy `state` into `model`, all or nothing; `names` gives our name of every key there has to be."""
    own = model.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if key not in names:
            raise CheckpointError(f"the weights do not fit the model: unexpected key {key!r}")
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(f"the weights do not fit the model: {key!r} is no tensor")
        wanted = tuple(own[names[key]].shape)
        if value.shape != wanted:
            raise CheckpointError(
                f"the weights do not fit the model: {key!r} has shape {tuple(value.shape)} and not {wanted}"
            )
        tensors[names[key]] = value
    for key in names:
        if key not in state:
            raise CheckpointError(f"the weights do not fit the model: missing key {key!r}")
    model.load_state_dict(tensors, strict=False)  # every wanted key is there; the others stay fresh
