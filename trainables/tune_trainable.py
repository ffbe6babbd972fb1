"""The training loop as Ray Tune runs it. The only file of this room that knows Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ray
from ray import tune
from ray._raylet import setproctitle  # type: ignore[attr-defined]  # compiled

from trainables.checkpoints import CheckpointFolder
from trainables.config import trial_config
from trainables.data import check_data, share_on_machine
from trainables.device import device_for
from trainables.final_measure import measure_on_test
from trainables.gates import check_gate
from trainables.probes import probe
from trainables.training import EpochReport, TrainingRun, train
from trainables.work import work_order


class GatedResNetTrainable(tune.Trainable):
    """Trains one gated ResNet; one step is one epoch.

    The checkpoint of an epoch is on disk before its report leaves the worker, so a recorded epoch is never trained
    again while its checkpoint lives. Actors are reused from trial to trial: nothing here outlives `reset_config`.
    """

    #: Whether it knows probes; a study that wants them takes no other.
    takes_probes = True

    @staticmethod
    def check(settings: dict[str, Any]) -> None:
        """Find out before a search what would stop each of its trials.

        Raises:
            DataError, ConfigError: the data cannot be read, or the settings cannot be used.
        """
        config = trial_config(settings)
        check_gate(config)
        check_data(config)

    @staticmethod
    def check_device(cpus: float, gpus: float) -> None:
        """Find out on a node whether a trial that is given so much of it can compute there.

        Raises:
            DeviceError: torch sees no GPU where some of one was given.
        """
        device_for(cpus, gpus)

    @staticmethod
    def measure(order: dict[str, Any]) -> dict[str, float]:
        """Measure the trial that `order` describes on the test split; see `trainables.final_measure`."""
        return measure_on_test(work_order(order))

    def setup(self, config: dict[str, Any]) -> None:
        """Take up the trial that `config`, a work order, describes."""
        self._order = work_order(config)
        share_on_machine(scope=str(self._order.checkpoints.parent))
        self._folder = CheckpointFolder(self._order.checkpoints, self._order.every, self._order.keep)
        self._run: TrainingRun | None = None
        self._reports: Iterator[EpochReport] = iter(())

    def cleanup(self) -> None:
        """Save what was trained since the last checkpoint: the trial may go on one day."""
        if self._run is None:
            return
        if self._run.epoch % self._folder.every and self._run.epoch != self._run.config.epochs:
            self._folder.save_state(self._run)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in the same process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch, save it, probe it where that is ordered, and report it."""
        if ray.is_initialized():  # the dashboard, `top` and `nvidia-smi` then show whose process it is, not its class
            setproctitle(f"ray::{self._order.name}")
        warnings: list[str] = []
        if self._run is None:
            self._run, warnings = self._take_up()
            self._reports = train(self._run)
        report = next(self._reports)
        self._folder.save(self._run)
        return {"epoch": report.epoch, "metrics": report.metrics() | self._probe(report), "warnings": warnings}

    def _probe(self, report: EpochReport) -> dict[str, float]:
        """The probe of this epoch, where one is ordered; after a loss of the worker it is taken again, with the same
        result.
        """
        order = self._order.probes
        if order is None or self._run is None or report.diverged or report.epoch not in order.epochs:
            return {}
        return probe(self._run, order.share).metrics()

    def _take_up(self) -> tuple[TrainingRun, list[str]]:
        """The run where its checkpoints left it, and what had to be passed over.

        Not in `setup`: Tune may set an actor up for a trial that another actor has trained meanwhile, and never use it.
        """
        order = self._order
        device = device_for(order.cpus, order.gpus)
        return self._folder.resume(trial_config(order.settings), device, up_to=order.from_epoch)
