"""One session of a search, in a process of its own: `python -m tune_gate.driver STUDY`.

Its supervisor reads one line from its standard output where something went wrong; everything else that is printed here,
by Ray above all, goes to the study's driver.log. When the supervisor dies, the search stops in good order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import ray

from analysis.errors import AnalysisError
from search_spaces.errors import SpaceError
from trainables.errors import TrainableError
from tune_gate.changes import refuse_changed_code
from tune_gate.errors import LogWriteError, Misuse, TuneGateError
from tune_gate.lock import hold
from tune_gate.measuring import check_measurable, measure_on_ray
from tune_gate.on_ray import run_on_ray, trainable_class
from tune_gate.search import Search
from tune_gate.spec import StudySpec
from tune_gate.study_dir import STOP_REQUEST, read_spec, versions
from tune_gate.supervisor import DONE, FAILED, MISUSE

#: Errors that a user can mend: they are shown in one line, and no retry would help.
USER_ERRORS = (Misuse, LogWriteError, SpaceError, TrainableError, AnalysisError)


def drive(study: Path) -> None:
    """Hold the study, connect to Ray, and search until the study is finished or the process is told to stop.

    Raises:
        StudyLocked: another driver holds the study.
        TuneGateError, AnalysisError, SpaceError, TrainableError: the search could not go on; the log says why.
    """
    spec = read_spec(study)
    with hold(study), contextlib.closing(Search(spec, study)) as search:
        (study / STOP_REQUEST).unlink(missing_ok=True)
        refuse_changed_code(study, search.history)
        _check_trials(search.spec)
        with _stop_on_signals(search), _ended_in_the_log(search):
            search.begin(socket.gethostname(), os.getpid(), versions())
            with _ray(search.spec):
                run_on_ray(search, search.spec, study)
                measure_on_ray(search, search.spec, study, trainable_class(spec.trainable))


def _check_trials(spec: StudySpec) -> None:
    """Find out before anything is spent what would stop each trial, or those in some corner of the space."""
    trainable = trainable_class(spec.trainable)
    check_measurable(trainable, spec)
    check = trainable.check
    corners = ((parameter.name, point[parameter.name]) for parameter, point in spec.search_space.corners())
    for point in ({}, *({name: value} for name, value in corners if name == "gate")):
        check(spec.trial_settings(point, spec.seed, spec.epochs))


@contextlib.contextmanager
def _ended_in_the_log(search: Search) -> Iterator[None]:
    try:
        yield
    except LogWriteError:
        search.close()
        raise
    except BaseException as error:
        search.end(_one_line(error))
        raise
    search.end()


@contextlib.contextmanager
def _stop_on_signals(search: Search) -> Iterator[None]:
    """SIGINT, SIGTERM and the end of standard input let the running epochs finish, and then end the session."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        search.request_stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    threading.Thread(target=_stop_at_end_of_input, args=(search,), daemon=True).start()
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop_at_end_of_input(search: Search) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    search.request_stop()


@contextlib.contextmanager
def _ray(spec: StudySpec) -> Iterator[None]:
    """A Ray of this machine alone, on the loopback interface, for the length of the block.

    Ray installs handlers of its own for SIGTERM, so ours are put back.
    """
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "10")  # Ray waits a minute for a head that is dead
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ray.init(
        address="local",  # never a cluster that happens to run here, or that RAY_ADDRESS names
        num_cpus=spec.resources.local_cpus or len(os.sched_getaffinity(0)),
        num_gpus=spec.resources.local_gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    for number, handler in handlers.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def main() -> int:
    """Run one session; the supervisor's end of `drive`."""
    supervisor = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        drive(Path(sys.argv[1]))
    except Exception as error:  # noqa: BLE001  the boundary of the process: everything is told to the supervisor
        traceback.print_exc()
        with contextlib.suppress(OSError):
            supervisor.write(_one_line(error) + "\n")
            supervisor.close()
        return MISUSE if isinstance(error, USER_ERRORS) else FAILED
    return DONE


def _one_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    known = isinstance(error, (*USER_ERRORS, TuneGateError))
    return lines[0] if known else f"{type(error).__name__}: {lines[0]}"


if __name__ == "__main__":
    sys.exit(main())
