"""The trainable that Ray runs, without a Ray: `tune.Trainable` needs none to be made and stepped."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray")

from trainables.tune_trainable import GatedResNetTrainable
from trainables.work import WorkOrder


def order(folder: Path, from_epoch: int = 0, every: int = 1) -> dict[str, object]:
    settings = {"data": "digits", "depth": 14, "gate_hidden": 16, "epochs": 2, "val_fraction": 0.9}
    return WorkOrder(1, 1, settings, from_epoch, str(folder), every=every, keep=2, cpus=1, gpus=0).to_dict()


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_worker_that_comes_too_late_leaves_a_finished_trial_alone(tmp_path: Path) -> None:
    """Tune asks for a new actor, and gives the trial to one that became free first; the new one is then not used."""
    trial = GatedResNetTrainable(order(tmp_path))
    trial.step()
    before = files(tmp_path)
    assert "best.pt" in before
    late = GatedResNetTrainable(order(tmp_path))
    late.stop()
    assert files(tmp_path) == before


def test_a_trial_that_is_not_due_is_saved_when_it_is_left(tmp_path: Path) -> None:
    trial = GatedResNetTrainable(order(tmp_path / "first", every=2))
    first = trial.step()
    assert trial.reset_config(order(tmp_path / "second"))
    assert (tmp_path / "first" / "epoch-0001.pt").exists()
    trial.step()
    again = GatedResNetTrainable(order(tmp_path / "first", from_epoch=1))
    assert again.step()["epoch"] == first["epoch"] + 1
