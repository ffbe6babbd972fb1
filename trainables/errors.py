"""What can go wrong while one configuration is described, loaded or trained.

    TrainableError (ValueError)
    ├── ConfigError       a setting is unknown, ill-typed or out of range
    │   └── DeviceError   the device that was asked for or given cannot be used
    ├── DataError         a data set is missing, truncated or of the wrong shape
    └── CheckpointError   a file of weights is damaged or does not fit the model

Every message is one line that says what is wrong, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TrainableError(ValueError):
    """Base of the errors that a user can mend; shown without a traceback."""


class ConfigError(TrainableError):
    """A setting is unknown, ill-typed or out of range."""


class DeviceError(ConfigError):
    """The device that was asked for, or given to a trial, cannot be used here."""


class DataError(TrainableError):
    """A data set is missing, truncated, or not what its loader expects."""


class CheckpointError(TrainableError):
    """A checkpoint is damaged, missing, or does not fit the model."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """One line that says `name` is no known `kind`, with the nearest known name where one is near."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return f"unknown {kind} {str(name)!r}; {hint}"
