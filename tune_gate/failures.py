"""Why an attempt on Ray failed, in the words of the log."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import ray

from analysis.events import FailureKind


def error_of(trial: Any) -> BaseException | None:
    """What ended a Tune trial; Tune keeps it in a local file before it says so."""
    try:
        error = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except (OSError, TypeError):  # TypeError: no file was written
        return None
    return error if isinstance(error, BaseException) else None


def failure_kind(error: BaseException | None) -> FailureKind:
    """`lost` where the trial's process or node is gone, `error` where the trial itself raised."""
    lost = isinstance(error, (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError))
    return "lost" if lost and not isinstance(error, ray.exceptions.RayTaskError) else "error"


def failure_message(error: BaseException | None) -> str:
    """One line about why an attempt ended."""
    if error is None:
        return "the worker was lost without a word"
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    text = last_line(str(cause)) if isinstance(error, ray.exceptions.RayTaskError) else str(cause).splitlines()[0]
    return f"{type(cause).__name__}: {text}"


def failure_traceback(error: BaseException | None) -> str:
    """The traceback, the worker's own included."""
    return "" if error is None else "".join(traceback.format_exception(error))


def last_line(text: str) -> str:
    """The last line of a text that says anything: of a traceback, the error itself."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")
