"""The training loop as Ray Tune runs it. The only file of this room that knows Ray."""

from __future__ import annotations

from typing import Any

import torch
from ray import tune

from trainables.checkpoints import CheckpointFolder
from trainables.config import trial_config
from trainables.device import cpu, cuda
from trainables.training import train
from trainables.work import work_order


class GatedResNetTrainable(tune.Trainable):  # type: ignore[misc]  # Ray has no types
    """Trains one gated ResNet; one step is one epoch.

    The checkpoint of an epoch is on disk before its report leaves the worker, so a recorded epoch is never trained
    again while its checkpoint lives. Actors are reused from trial to trial: nothing here outlives `reset_config`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take up the trial that `config`, a work order, describes."""
        order = work_order(config)
        torch.set_num_threads(order.threads)
        self._folder = CheckpointFolder(order.checkpoints, order.every, order.keep)
        device = cuda() if order.gpus else cpu()
        self._run, self._passed_over = self._folder.resume(
            trial_config(order.settings), device, up_to=order.from_epoch
        )
        self._reports = train(self._run)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in the same process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch, save it, and report it."""
        report = next(self._reports)
        self._folder.save(self._run)
        warnings, self._passed_over = self._passed_over, []
        return {"epoch": report.epoch, "metrics": report.metrics(), "warnings": warnings}
