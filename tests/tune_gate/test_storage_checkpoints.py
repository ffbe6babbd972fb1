"""Checkpoints in an object store: which are deleted, and how a trial goes on upon another node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.events import EpochReported
from analysis.objects import open_store
from tests.tune_gate.stores import NEVER, make
from trainables.work import WorkOrder
from tune_gate.lock import hold
from tune_gate.mirrored_trainable import mirrored
from tune_gate.recorder import Recorder
from tune_gate.storage import drop_checkpoints

pytestmark = pytest.mark.usefixtures("store_cache")


def test_superfluous_checkpoints_go_when_the_log_is_safe(
    url: str, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune_gate.log_mirror.FLUSH_SECONDS", NEVER)
    study = make(url)
    open_store(url).write("trials/0001/epoch-0001.pt", b"x")
    with hold(study):
        recorder = Recorder(study)
        recorder.append(EpochReported(1.0, 1, 1, 3, {"val_acc": 0.5}, "continue"))
        recorder.retire(["trials/0001/epoch-0001.pt"])
        assert (bucket / "trials/0001/epoch-0001.pt").exists()
        recorder.close()
    assert not (bucket / "trials/0001/epoch-0001.pt").exists()


def test_checkpoints_of_trials_that_ended_are_dropped_from_the_store(url: str, bucket: Path) -> None:
    study = make(url)
    for trial in (1, 2, 3):
        open_store(url).write(f"trials/000{trial}/best.pt", b"x")
    drop_checkpoints(study, [1])
    drop_checkpoints(study, [3, 4])
    assert [entry.key for entry in open_store(url).objects("trials")] == ["trials/0002/best.pt"]


class Trainer:
    """A trainable without Ray: each step leaves a file, and keeps two."""

    def setup(self, config: dict[str, Any]) -> None:
        self.folder = Path(config["folder"])
        self.epoch = max((int(path.name.removeprefix("epoch-")) for path in self.folder.glob("epoch-*")), default=0)

    def step(self) -> dict[str, Any]:
        self.epoch += 1
        (self.folder / f"epoch-{self.epoch}").write_text("state")
        (self.folder / f"epoch-{self.epoch - 2}").unlink(missing_ok=True)
        (self.folder / "best").write_text(f"model {self.epoch}")
        return {"epoch": self.epoch}

    def cleanup(self) -> None:
        """Nothing."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True


def order(tmp_path: Path, node: str, trial: int = 1, from_epoch: int = 0) -> dict[str, Any]:
    return WorkOrder(trial, 1, {}, from_epoch, str(tmp_path / node / f"trials/000{trial}"), 1, 2, 1.0, 0.0).to_dict()


def test_a_trial_goes_on_upon_another_node_from_the_store(url: str, bucket: Path, tmp_path: Path) -> None:
    trainable = mirrored(Trainer, url)
    first = trainable()
    first.setup(order(tmp_path, "node 1"))
    results = [first.step() for _ in range(3)]
    assert [result["superseded"] for result in results] == [[], [], ["trials/0001/epoch-1"]]
    names = sorted(path.name for path in (bucket / "trials/0001").iterdir())
    assert names == ["best", "epoch-1", "epoch-2", "epoch-3"]  # the driver deletes
    open_store(url).delete(results[-1]["superseded"])

    second = trainable()
    second.setup(order(tmp_path, "node 2", from_epoch=3))
    assert second.step()["epoch"] == 4
    (tmp_path / "node 1/trials/0001/epoch-9").write_text("never reported: its worker died before")
    again = trainable()
    again.setup(order(tmp_path, "node 1", from_epoch=4))
    assert again.step()["epoch"] == 5
    assert again.reset_config(order(tmp_path, "node 1", trial=2))
    assert not (tmp_path / "node 1/trials/0001").exists()  # scratch: the store has it
    assert again.step()["epoch"] == 1


def test_what_was_never_reported_goes_before_it_is_done_over(url: str, bucket: Path, tmp_path: Path) -> None:
    """The log lost its last flush: the store has states of epochs that it does not know."""
    trainable = mirrored(Trainer, url)
    first = trainable()
    first.setup(order(tmp_path, "node 1"))
    for _ in range(4):
        first.step()
    second = trainable()
    second.setup(order(tmp_path, "node 2", from_epoch=2))
    assert {path.name for path in (bucket / "trials/0001").iterdir()} == {"best", "epoch-1", "epoch-2"}
    results = [second.step() for _ in range(3)]
    assert [result["epoch"] for result in results] == [3, 4, 5]
    assert [key for result in results for key in result["superseded"]] == [
        "trials/0001/epoch-1",
        "trials/0001/epoch-2",
        "trials/0001/epoch-3",
    ]
    (tmp_path / "node 2/trials/0001/best").unlink()
    assert second._mirror.push() == []  # it may come back
