"""How long an epoch takes here, and how large what it leaves on the disk is."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainables.checkpoints import save_run
from trainables.complexity import count_macs
from trainables.config import TrialConfig
from trainables.device import device_for
from trainables.resnet import build_model
from trainables.training import start_run, train


@dataclass(frozen=True, slots=True)
class MeasuredEpoch:
    """One epoch on this machine, alone."""

    seconds: float  # training and validation
    checkpoint_bytes: int  # of the state that is saved after it


def measure_epoch(config: TrialConfig, cpus: float, gpus: float) -> MeasuredEpoch:
    """Train `config` for an epoch or two. The second counts where there are two: the first one also warms up.

    Raises:
        DataError, ConfigError: the data cannot be read, or the device is not there.
    """
    run = start_run(config, device_for(cpus, gpus))
    reports = train(run)
    first = next(reports)
    seconds = next(reports, first).seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        save_run(run, path)
        return MeasuredEpoch(seconds, path.stat().st_size)


def step_work(config: TrialConfig) -> int:
    """Multiply-accumulates of a forward pass over one batch of colour images of 32 by 32 pixels: a measure by which to
    tell which of several configurations is the heaviest, in time as in memory.
    """
    return count_macs(build_model(config, 3, 10), (3, 32, 32)).total * config.batch_size
