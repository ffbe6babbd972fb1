"""Trainables that make trouble on purpose. A marker file beside the checkpoints says that the trouble was made."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.tune_gate.curve_trainable import CurveTrainable
from trainables.errors import DataError


class Slow(CurveTrainable):
    """Takes long enough to be killed."""

    epoch_seconds = 0.1


class SlowToStart(CurveTrainable):
    """Its worker takes longer to come up than any trial to run, as one does that imports torch from a shared disk."""

    epoch_seconds = 0.4
    _up = False  # in this process

    def setup(self, config: dict[str, Any]) -> None:
        if not SlowToStart._up:
            time.sleep(6)
            SlowToStart._up = True
        super().setup(config)


class RaisesOnce(CurveTrainable):
    """Trial 2 raises after its first epoch, once."""

    def before_epoch(self) -> None:
        marker = self._folder / "raised"
        if self._order.trial == 2 and self._epoch == 1 and not marker.exists():
            marker.touch()
            raise ValueError("once is an accident")


class RaisesAlways(CurveTrainable):
    """Trial 2 never gets beyond its first epoch."""

    def before_epoch(self) -> None:
        if self._order.trial == 2 and self._epoch == 1:
            raise ValueError("thrice is a bug")


class KillsItsWorker(CurveTrainable):
    """The process of trial 2 dies after its first epoch, once."""

    def before_epoch(self) -> None:
        marker = self._folder / "killed"
        if self._order.trial == 2 and self._epoch == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class KillsItsDriver(Slow):
    """Trial 3 takes the driver with it, once. The lock names it: it is no parent of ours."""

    def before_epoch(self) -> None:
        marker = self._folder / "killed"
        if self._order.trial == 3 and self._epoch == 1 and not marker.exists():
            marker.touch()
            import json

            lock = json.loads((self._folder.parents[1] / "driver.lock").read_text())
            os.kill(lock["pid"], signal.SIGKILL)
            time.sleep(5)


class Hangs(CurveTrainable):
    """Trial 2 says nothing more after its first epoch, once."""

    def before_epoch(self) -> None:
        marker = self._folder / "hung"
        if self._order.trial == 2 and self._epoch == 1 and not marker.exists():
            marker.touch()
            time.sleep(3600)


class KillsItsNode(CurveTrainable):
    """Trial 2 takes the node with it that its driver lives on, once: the raylet is its parent."""

    def before_epoch(self) -> None:
        marker = self._folder / "killed"
        if self._order.trial == 2 and self._epoch == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)


class Measurable(Slow):
    """Can be confirmed: each opening of the test split leaves a line."""

    @staticmethod
    def measure(order: dict[str, Any]) -> dict[str, float]:
        with (Path(order["folder"]) / "opened").open("a") as file:
            file.write(f"{order['from_epoch']}\n")
        return {"test_acc": 0.5 + 0.01 * order["trial"], "test_loss": 1.0, "test_images": 100.0}


class WithoutData(CurveTrainable):
    """Finds its data where the driver runs, and in no worker."""

    @staticmethod
    def check(settings: dict[str, Any]) -> None:  # noqa: ARG004  its signature
        import ray

        if ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE:
            raise DataError("this node has no data")


class StopsItsDriver(CurveTrainable):
    """Trial 2 freezes the driver, once, as a debugger or a sick machine would."""

    def before_epoch(self) -> None:
        marker = self._folder / "frozen"
        if self._order.trial == 2 and self._epoch == 1 and not marker.exists():
            marker.touch()
            import json

            lock = json.loads((self._folder.parents[1] / "driver.lock").read_text())
            os.kill(lock["pid"], signal.SIGSTOP)
            time.sleep(60)


class Crawls(CurveTrainable):
    """Takes so long that a job's time may end before the search does."""

    epoch_seconds = 1.0


class AsItsNode(CurveTrainable):
    """Takes as long as its node does for an epoch, which the node's environment says; half a second elsewhere."""

    epoch_seconds = float(os.environ.get("TUNE_GATE_TEST_EPOCH_SECONDS", "0.5"))

    def before_epoch(self) -> None:
        with (self._folder / "nodes").open("a") as file:
            file.write(f"{self.epoch_seconds}\n")


class SeesWhoListens(CurveTrainable):
    """Leaves the addresses on which the processes of its Ray listen beside its checkpoints."""

    def before_epoch(self) -> None:
        import psutil  # Ray brings it

        driver = psutil.Process().parents()[1]  # above it stands the raylet, its child
        for process in (driver, *driver.children(recursive=True)):
            listening = [each.laddr.ip for each in process.net_connections("inet") if each.status == "LISTEN"]
            with (self._folder / "listening").open("a") as file:
                file.writelines(f"{process.name()} {address}\n" for address in listening)


class MeetsOnThreeNodes(RaisesOnce):
    """Leaves the id of its node beside its checkpoints and trains once trials are on three; trial 2 raises once."""

    def before_epoch(self) -> None:
        import ray

        with (self._folder / "nodes").open("a") as file:
            file.write(f"{ray.get_runtime_context().get_node_id()}\n")
        while len(nodes_visited(self._folder.parents[1])) < 3:
            time.sleep(0.05)
        super().before_epoch()


def nodes_visited(study: Path) -> set[str]:
    """The ids of the nodes on which trials of `MeetsOnThreeNodes` ran."""
    return {line for path in (study / "trials").glob("*/nodes") for line in path.read_text().split()}
