"""Trainables that make the same trouble every time, or of a kind that only Ray makes."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from tests.tune_gate.curve_trainable import CurveTrainable
from tests.tune_gate.troublesome import Slow


class KillsEveryWorker(CurveTrainable):
    """The process of trial 2 dies after its first epoch, each time."""

    def before_epoch(self) -> None:
        if self._order.trial == 2 and self._epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class KillsEveryDriver(Slow):
    """Trial 2 takes the driver with it, each time, before its first epoch ends."""

    def before_epoch(self) -> None:
        if self._order.trial == 2:
            lock = json.loads((self._folder.parents[1] / "driver.lock").read_text())
            os.kill(lock["pid"], signal.SIGKILL)
            time.sleep(60)


class OutOfMemory(CurveTrainable):
    """Trial 2 ends once as Ray's memory monitor ends a trial."""

    def before_epoch(self) -> None:
        marker = self._folder / "out-of-memory"
        if self._order.trial == 2 and self._epoch == 1 and not marker.exists():
            marker.touch()
            import ray

            raise ray.exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.")


class SaysNothing(CurveTrainable):
    """One report of trial 2 lacks the metric, and one of trial 3 has words for a number, once each."""

    def step(self) -> dict[str, Any]:
        result = super().step()
        marker = self._folder / "said-nothing"
        if self._order.trial in (2, 3) and self._epoch == 2 and not marker.exists():
            marker.touch()
            if self._order.trial == 2:
                del result["metrics"]["val_acc"]
            else:
                result["metrics"]["val_acc"] = "good"
        return result
