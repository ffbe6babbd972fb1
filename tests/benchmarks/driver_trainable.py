"""Trainables that do nothing but report, for both sides of the driver's benchmark."""

from __future__ import annotations

from typing import Any

from ray import tune

from tests.benchmarks.driver import EPOCHS, curve
from trainables.work import work_order


class Bare(tune.Trainable):
    """As bare Ray Tune drives it."""

    def setup(self, config: dict[str, Any]) -> None:
        self._lr, self._epoch = config["lr"], 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        return {**self._metrics(), "done": self._epoch >= EPOCHS}

    def _metrics(self) -> dict[str, float]:
        accuracy = curve(self._lr, self._epoch)
        return {"val_acc": accuracy, "val_loss": 1.0, "seconds": 0.0, "diverged": 0.0, "val_images": 500.0}


class Quick(Bare):
    """As our driver drives it."""

    @staticmethod
    def check(settings: dict[str, Any]) -> None:
        """Nothing can be missing."""

    def setup(self, config: dict[str, Any]) -> None:
        order = work_order(config)
        self._lr, self._epoch = order.settings["lr"], order.from_epoch

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        return {"epoch": self._epoch, "metrics": self._metrics(), "warnings": []}
