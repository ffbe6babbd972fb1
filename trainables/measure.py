"""How long an epoch takes here."""

from __future__ import annotations

from trainables.config import TrialConfig
from trainables.device import device_for
from trainables.training import start_run, train


def epoch_seconds(config: TrialConfig, cpus: float, gpus: float) -> float:
    """The time that one epoch of `config` takes on this machine, alone: training and validation, seconds.

    The second of two epochs counts where there are two: the first one also warms up.

    Raises:
        DataError, ConfigError: the data cannot be read, or the device is not there.
    """
    reports = train(start_run(config, device_for(cpus, gpus)))
    first = next(reports)
    return next(reports, first).seconds
