"""Why an attempt on Ray failed, in the words of the log."""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import ray

from analysis.events import PROBE_VALUE, FailureKind
from trainables.errors import DeviceError
from tune_gate.probing import lacks_probe

#: How Ray 2.60 says that an actor died with its node.
_NODE_DIED = re.compile(r"node (has )?(died|was (removed|terminated|drained))|its node", re.IGNORECASE)


def error_of(trial: Any) -> BaseException | None:
    """What ended a Tune trial; Tune keeps it in a local file before it says so."""
    try:
        error = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except (OSError, TypeError):  # TypeError: no file was written
        return None
    return error if isinstance(error, BaseException) else None


def failure_kind(error: BaseException | None) -> FailureKind:
    """`preempted` where the trial's node is gone, `lost` where its process is, `unfit` where it was given a GPU that
    torch cannot see, `error` where it raised anything else.
    """
    if isinstance(error, ray.exceptions.RayTaskError):
        return "unfit" if isinstance(error.cause, DeviceError) else "error"
    if isinstance(error, ray.exceptions.NodeDiedError):
        return "preempted"
    if isinstance(error, ray.exceptions.RayActorError):
        return "preempted" if error.preempted or _NODE_DIED.search(str(error)) else "lost"
    return "error"


def failure_message(error: BaseException | None) -> str:
    """One line about why an attempt ended."""
    if error is None:
        return "the worker was lost without a word"
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    text = last_line(str(cause)) if isinstance(error, ray.exceptions.RayTaskError) else str(cause).splitlines()[0]
    return f"{type(cause).__name__}: {text}"


def report_problem(
    result: Mapping[str, Any], metrics: Mapping[str, Any], metric: str, probed: Collection[int] = ()
) -> str | None:
    """Why a report can decide nothing; None for a good one. NaN is a number, and means that the trial diverged.

    `probed` are the epochs whose reports hold a probe.
    """
    epoch = result.get("epoch")
    if not isinstance(epoch, int):
        return f"a report without its epoch, a whole number (it has {epoch!r})"
    for name in (metric, "diverged"):
        if name not in metrics:
            return f"the report of epoch {epoch} has no {name!r}"
    for name, value in metrics.items():
        if not isinstance(value, int | float):
            return f"the report of epoch {epoch} has {name} {value!r}, which is no number"
    if lacks_probe(probed, epoch, metrics, metric):
        return f"the report of epoch {epoch} has no {PROBE_VALUE!r}"
    return None


def failure_traceback(error: BaseException | None) -> str:
    """The traceback, the worker's own included."""
    return "" if error is None else "".join(traceback.format_exception(error))


def last_line(text: str) -> str:
    """The last line of a text that says anything: of a traceback, the error itself."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")
