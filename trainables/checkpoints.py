"""Saving a training run whole, and going on from it bit for bit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from trainables.atomic import take_place, whole_file
from trainables.config import TrialConfig, trial_config
from trainables.device import Device
from trainables.errors import CheckpointError, ConfigError
from trainables.resnet import GatedResNet, build_model
from trainables.training import TrainingRun, blank_run, start_run

#: Version of the checkpoint's layout.
FORMAT = 1

BEST = "best.pt"
#: Settings in which a run may differ from the one it goes on from: where the data lie, and how long it is to be.
_MAY_DIFFER = ("data_dir", "epochs")

#: What every checkpoint holds, and of which kind.
_ENTRIES: Mapping[str, type | tuple[type, ...]] = {
    "config": dict,
    "channels": int,
    "classes": int,
    "epoch": int,
    "best_val_acc": float,
    "best_epoch": int,
    "generator": torch.Tensor,
    "model": dict,
    "trunk_optimizer": dict,
    "gate_optimizer": (dict, NoneType),
}

_NAME = re.compile(r"epoch-(\d+)\.pt")


@dataclass(frozen=True, slots=True)
class SavedModel:
    """The model of a checkpoint, ready for evaluation."""

    config: TrialConfig
    model: GatedResNet
    epoch: int
    val_acc: float


def save_run(run: TrainingRun, path: Path) -> None:
    """Write `run` to `path`, whole or not at all (a temporary name, then a rename)."""
    state = {
        "format": FORMAT,
        "config": run.config.model_dump(mode="json"),
        "channels": run.data.train.images.shape[1],
        "classes": len(run.data.classes),
        "epoch": run.epoch,
        "best_val_acc": run.best_val_acc,
        "best_epoch": run.best_epoch,
        "generator": run.generator.get_state(),
        "model": run.model.state_dict(),
        "trunk_optimizer": run.optimizers.trunk.state_dict(),
        "gate_optimizer": run.optimizers.gate.state_dict() if run.optimizers.gate is not None else None,
    }
    with whole_file(path) as file:
        torch.save(state, file)


def load_run(path: Path, config: TrialConfig, device: Device) -> TrainingRun:
    """The run that was saved at `path`, to go on under `config`.

    Raises:
        CheckpointError: the file is missing or damaged, or was made with other settings (the first is named).
        DataError, ConfigError: the data or the settings cannot be used.
    """
    return _restore(_read(path), path, config, device)


def load_model(path: Path) -> SavedModel:
    """The model at `path` for evaluation, on the CPU.

    Raises:
        CheckpointError: the file is missing or damaged, or is no checkpoint of tune-gate.
    """
    state = _read(path)
    try:
        config = trial_config(state["config"])
    except ConfigError as error:
        raise CheckpointError(f"{path} was made by another version: {error}") from None
    model = build_model(config, channels=state["channels"], classes=state["classes"])
    _load_model(model, state, path)
    model.eval()
    return SavedModel(config, model, state["epoch"], state["best_val_acc"])


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """The checkpoints of one run: the newest `keep`, one every `every` epochs, and the best on validation.

    Beside a state whose epoch is not the best lies the model that was the best by then (a second name of the best one,
    as long as there is no better). An attempt that goes on from that state takes it up again, for what a lost attempt
    did beyond was never reported, or is done over.
    """

    path: Path
    every: int = 1
    keep: int = 2

    def save(self, run: TrainingRun) -> None:
        """Save `run` where its epoch is due (the last always is), as the best where it is, and drop what is too old.

        So is dropped what is newer: it is of an attempt that `run` does over, and would crowd out the new.
        """
        if run.best_epoch == run.epoch:
            save_run(run, self.path / BEST)
        if run.epoch % self.every == 0 or run.epoch == run.config.epochs:
            self.save_state(run)

    def save_state(self, run: TrainingRun) -> None:
        """Save `run` whether its epoch is due or not."""
        save_run(run, self._path_of(run))
        if run.best_epoch != run.epoch and (self.path / BEST).exists():
            take_place(self.path / BEST, self._best_by(run))
        kept = list(self.newest_first(run.epoch))[: self.keep]
        for path in set(self.newest_first()).difference(kept):
            path.unlink(missing_ok=True)
            _best_beside(path).unlink(missing_ok=True)

    def _path_of(self, run: TrainingRun) -> Path:
        return self.path / f"epoch-{run.epoch:04d}.pt"

    def _best_by(self, run: TrainingRun) -> Path:
        """The model that was the best when `run`, which stands at a saved state, stood there first."""
        return self._path_of(run) if run.best_epoch == run.epoch else _best_beside(self._path_of(run))

    def _take_back_best(self, run: TrainingRun) -> None:
        """Make the best model the one that was the best at the epoch from which `run` goes on."""
        best, by_then = self.path / BEST, self._best_by(run)
        if by_then.exists():
            take_place(by_then, best)
        elif best.exists() and not _is_of(best, run.best_epoch):
            best.unlink()

    def newest_first(self, up_to: int | None = None) -> Iterator[Path]:
        """The checkpoints of epochs up to `up_to`, the newest first."""
        if not self.path.is_dir():
            return
        found = [(int(match[1]), path) for path in self.path.iterdir() if (match := _NAME.fullmatch(path.name))]
        for epoch, path in sorted(found, reverse=True):
            if up_to is None or epoch <= up_to:
                yield path

    def resume(self, config: TrialConfig, device: Device, up_to: int | None = None) -> tuple[TrainingRun, list[str]]:
        """The run at the newest checkpoint that is whole, else at the start; and what had to be passed over.

        Raises:
            CheckpointError: a checkpoint is whole but was made with other settings: it is not this run's folder.
            DataError, ConfigError: the data or the settings cannot be used.
        """
        passed_over: list[str] = []
        for path in self.newest_first(up_to):
            try:
                state = _read(path)
            except CheckpointError as error:
                passed_over.append(str(error))
            else:
                run = _restore(state, path, config, device)
                self._take_back_best(run)
                return run, passed_over
        (self.path / BEST).unlink(missing_ok=True)
        return start_run(config, device), passed_over


def holds_run(path: Path) -> bool:
    """Whether `path` is a checkpoint of ours, of this version, and not weights from elsewhere.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return _is_ours(_load(path))


def _read(path: Path) -> dict[str, Any]:
    state = _load(path)
    if not _is_ours(state):
        raise CheckpointError(f"{path} is no checkpoint of this version of tune-gate")
    for name, kind in _ENTRIES.items():
        if name not in state:
            raise CheckpointError(f"{path} is damaged: it has no {name!r}")
        if not isinstance(state[name], kind):
            raise CheckpointError(f"{path} is damaged: its {name!r} is a {type(state[name]).__name__}")
    return dict(state)


def _best_beside(path: Path) -> Path:
    """The best model by the state at `path`, where that is another one."""
    return path.with_name(f"best-by-{path.name}")


def _is_of(path: Path, epoch: int) -> bool:
    """Whether the checkpoint at `path` is whole and of `epoch`."""
    try:
        return bool(_read(path)["epoch"] == epoch)
    except CheckpointError:
        return False


def _is_ours(state: Any) -> bool:
    return isinstance(state, dict) and state.get("format") == FORMAT


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint at {path}") from None
    except (IsADirectoryError, PermissionError) as error:
        raise CheckpointError(f"cannot read a checkpoint from {path}: {error.strerror or error}") from None
    except Exception as error:  # a damaged archive raises anything, from KeyError to UnpicklingError
        # What torch says about it is long, and advises to load the file unsafely.
        raise CheckpointError(f"{path} is damaged, or is no checkpoint ({type(error).__name__})") from error


def _restore(state: dict[str, Any], path: Path, config: TrialConfig, device: Device) -> TrainingRun:
    """The run that `state`, the content of `path`, describes, to go on under `config`."""
    # A setting that an older version did not know was then what is its default now.
    saved = {**TrialConfig().model_dump(mode="json"), **state["config"]}
    for name, value in config.model_dump(mode="json").items():
        if name not in _MAY_DIFFER and saved[name] != value:
            raise CheckpointError(
                f"{path} was made with {name} {saved[name]!r}, not {value!r}; it cannot go on from there"
            )
    run = blank_run(config, device)
    _load_model(run.model, state, path)
    run.optimizers.trunk.load_state_dict(state["trunk_optimizer"])
    if run.optimizers.gate is not None:
        run.optimizers.gate.load_state_dict(state["gate_optimizer"])
    run.generator.set_state(state["generator"])
    run.epoch = state["epoch"]
    run.best_val_acc, run.best_epoch = state["best_val_acc"], state["best_epoch"]
    return run


def _load_model(model: GatedResNet, state: dict[str, Any], path: Path) -> None:
    wanted, saved = model.state_dict(), state["model"]
    for name in sorted(wanted.keys() | saved.keys()):
        if name not in saved or name not in wanted or wanted[name].shape != saved[name].shape:
            raise CheckpointError(f"{path} does not fit the model: the first difference is in {name!r}")
    model.load_state_dict(saved)
