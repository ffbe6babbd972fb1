"""The trainable that Ray runs, without a Ray: `tune.Trainable` needs none to be made and stepped."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray")

from trainables.data import loading
from trainables.errors import DeviceError
from trainables.tune_trainable import GatedResNetTrainable
from trainables.work import WorkOrder


@pytest.fixture(autouse=True)
def _shares_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainable has its process share its data; it is not to outlast the test."""
    monkeypatch.setattr(loading._Sharing, "scope", None)


def order(folder: Path, from_epoch: int = 0, every: int = 1, gpus: float = 0) -> dict[str, object]:
    settings = {"data": "digits", "depth": 14, "gate_hidden": 16, "epochs": 2, "val_fraction": 0.9}
    return WorkOrder(1, 1, settings, from_epoch, str(folder), every=every, keep=2, cpus=1, gpus=gpus).to_dict()


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


def test_a_trial_that_was_given_a_gpu_which_torch_cannot_see_says_so_and_does_not_train_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    trial = GatedResNetTrainable(order(tmp_path, gpus=0.5))
    with pytest.raises(DeviceError, match="a GPU was asked for but torch"):
        trial.step()
    assert list(tmp_path.iterdir()) == []


def test_an_epoch_is_probed_where_the_order_says_so_and_trains_as_without(tmp_path: Path) -> None:
    plain = GatedResNetTrainable(order(tmp_path / "plain"))
    ordered = {**order(tmp_path / "probed"), "probes": {"epochs": (1,), "share": 0.5}}
    probed = GatedResNetTrainable(ordered)
    bare = [plain.step()["metrics"] for _ in range(2)]
    first, second = (probed.step()["metrics"] for _ in range(2))
    assert {name for name in first if name.startswith("probe_")} == {
        "probe_val_acc", "probe_val_loss", "probe_epochs", "probe_seconds",
    }  # fmt: skip
    assert not any(name.startswith("probe_") for name in second)
    same = [name for name in bare[0] if name not in ("seconds", "images_per_second")]
    assert [[said[name] for name in same] for said in (first, second)] == [
        [said[name] for name in same] for said in bare
    ]


def test_a_probe_that_was_lost_with_its_worker_is_taken_again_with_the_same_result(tmp_path: Path) -> None:
    ordered = {**order(tmp_path), "probes": {"epochs": (1,), "share": 0.5}}
    first = GatedResNetTrainable(ordered).step()["metrics"]  # saved, and then never reported
    again = GatedResNetTrainable(ordered).step()["metrics"]
    assert (first["probe_val_acc"], first["probe_val_loss"]) == (again["probe_val_acc"], again["probe_val_loss"])


def test_a_workers_process_is_called_as_its_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("trainables.tune_trainable.setproctitle", titles.append)
    GatedResNetTrainable(order(tmp_path)).step()
    assert titles == ["ray::trial-0001-attempt-1"]
