"""A trainable that needs no torch: it draws a learning curve in no time, and saves as a real one does."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path
from typing import Any

from ray import tune

from trainables.work import work_order


class CurveTrainable(tune.Trainable):
    """val_acc rises towards a plateau that depends on lr; the noise of each epoch depends on the one before it, so that
    a trial that does not go on from its own state is found out.
    """

    epoch_seconds = 0.0
    takes_probes = True

    @staticmethod
    def check(settings: dict[str, Any]) -> None:
        """Nothing can be missing."""

    def setup(self, config: dict[str, Any]) -> None:
        self._order = work_order(config)
        self._folder = Path(self._order.folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._epoch, self._state = 0, self._order.settings["seed"]
        for path in sorted(self._folder.glob("epoch-*.json"), reverse=True):
            saved = json.loads(path.read_text())
            if saved["epoch"] <= self._order.from_epoch:
                self._epoch, self._state = saved["epoch"], saved["state"]
                break

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        time.sleep(self.epoch_seconds)
        self.before_epoch()
        settings = self._order.settings
        self._epoch += 1
        generator = random.Random(self._state)
        self._state = generator.randrange(2**32)
        plateau = 0.9 - 0.08 * abs(math.log10(settings["lr"]) + 1) - 0.02 * settings["gate_iters"]
        val_acc = plateau * (1 - math.exp(-self._epoch / 3)) + 0.01 * generator.random()
        path = self._folder / f"epoch-{self._epoch:04d}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"epoch": self._epoch, "state": self._state}))
        temporary.rename(path)
        metrics = {"val_acc": val_acc, "val_loss": 1 - val_acc, "seconds": 0.01, "diverged": 0.0, "val_images": 500.0}
        if self._order.probes is not None and self._epoch in self._order.probes.epochs:
            self.before_probe()
            metrics |= {"probe_val_acc": plateau - 0.05 * generator.random(), "probe_seconds": 0.004}
        return {"epoch": self._epoch, "metrics": metrics, "warnings": []}

    def before_epoch(self) -> None:
        """A hook for tests that make trouble."""

    def before_probe(self) -> None:
        """Another: the epoch is saved, and not reported yet."""
