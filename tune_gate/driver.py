"""One session of a search, in a process of its own: `python -m tune_gate.driver STUDY [CLUSTER]`.

Its supervisor reads one line from its standard output where something went wrong; everything else that is printed here,
by Ray above all, goes to the study's driver.log. When the supervisor dies, the search stops in good order.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

from analysis.errors import AnalysisError
from search_spaces.errors import SpaceError
from trainables.errors import TrainableError
from tune_gate.changes import refuse_changed_code
from tune_gate.cluster import connected
from tune_gate.cluster_access import ClusterAddress, parse_address
from tune_gate.cluster_client import drive_remotely
from tune_gate.errors import ClusterUnreachable, LogWriteError, Misuse, TuneGateError
from tune_gate.lock import hold
from tune_gate.measuring import check_measurable, measure_on_ray
from tune_gate.on_ray import run_on_ray
from tune_gate.packing_on_ray import choose_resources
from tune_gate.resources import ResourceSettings
from tune_gate.search import Search
from tune_gate.spec import StudySpec
from tune_gate.study_dir import STOP_REQUEST, read_spec, versions
from tune_gate.supervisor import DONE, FAILED, MISUSE, UNREACHABLE
from tune_gate.trainable import check_probing, trainable_class, trainable_of

#: Errors that a user can mend: they are shown in one line, and no retry would help.
USER_ERRORS = (Misuse, LogWriteError, SpaceError, TrainableError, AnalysisError)

#: How a session comes to its Ray: a context in which the process is connected.
Connect = Callable[[ResourceSettings], AbstractContextManager[None]]


def drive(study: Path, cluster: ClusterAddress | None = None) -> None:
    """Hold the study, connect to Ray, and search until the study is finished or the process is told to stop.

    Raises:
        StudyLocked: another driver holds the study.
        TuneGateError, AnalysisError, SpaceError, TrainableError: the search could not go on; the log says why.
    """
    _search(study, lambda resources: connected(cluster, resources), _end_of_input)


def drive_here(study: Path) -> tuple[int, str]:
    """A session in a process that Ray has started for it: its exit code, and the line for the supervisor."""
    try:
        _search(study, lambda _: contextlib.nullcontext(), threading.Event().wait)
    except Exception as error:  # noqa: BLE001  told to the supervisor, through Ray
        _print_traceback()
        return _exit_code(error), _one_line(error)
    return DONE, ""


def _search(study: Path, connect: Connect, gone: Callable[[], object]) -> None:
    spec = read_spec(study)
    with hold(study), contextlib.closing(Search(spec, study)) as search:
        (study / STOP_REQUEST).unlink(missing_ok=True)
        refuse_changed_code(study, search.history)
        _check_trials(search.spec)
        with _stop_on_signals(search, gone), _ended_in_the_log(search):
            search.begin(socket.gethostname(), os.getpid(), versions())
            with connect(search.spec.resources):
                choose_resources(search, study)
                if not search.spec.resources.auto:
                    run_on_ray(search, search.spec, study)
                    measure_on_ray(search, search.spec, study, trainable_of(spec, study))


def _check_trials(spec: StudySpec) -> None:
    """Find out before anything is spent what would stop each trial, or those in some corner of the space."""
    trainable = trainable_class(spec.trainable)
    check_measurable(trainable, spec)
    check_probing(trainable, spec)
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
def _stop_on_signals(search: Search, gone: Callable[[], object]) -> Iterator[None]:
    """SIGINT, SIGTERM and the return of `gone` let the running epochs finish, and then end the session."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        search.request_stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    threading.Thread(target=_stop_after, args=(search, gone), daemon=True).start()
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop_after(search: Search, gone: Callable[[], object]) -> None:
    gone()
    search.request_stop()


def _end_of_input() -> None:
    """Return when the supervisor is gone."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass


def _supervisor_is_gone() -> bool:
    """Whether it died while this process was starting: it writes nothing to our standard input, so only its end can be
    read there.
    """
    try:
        return bool(select.select([0], [], [], 0.0)[0])
    except OSError:  # there is no standard input
        return True


def main() -> int:
    """Run one session; the supervisor's end of `drive`."""
    if _supervisor_is_gone():  # it would hold the study against a `resume` only to stop
        return DONE
    supervisor = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        study, *where = sys.argv[1:]
        code, line = _run(Path(study), parse_address(where[0]) if where else None)
    except Exception as error:  # noqa: BLE001  the boundary of the process: everything is told to the supervisor
        _print_traceback()
        code, line = _exit_code(error), _one_line(error)
    if line:
        with contextlib.suppress(OSError):
            supervisor.write(line + "\n")
            supervisor.close()
    return code


def _run(study: Path, cluster: ClusterAddress | None) -> tuple[int, str]:
    if cluster is not None and cluster.kind == "client":
        code, line = drive_remotely(study, read_spec(study), cluster, drive_here, _end_of_input)
        return int(code), str(line)
    drive(study, cluster)
    return DONE, ""


def _print_traceback() -> None:
    """Print what is being handled. On a disk that is full nothing may be left to print, or Python ends with a code of
    its own, and the supervisor takes a full disk for a death.
    """
    try:
        traceback.print_exc()
        sys.stderr.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)


def _exit_code(error: Exception) -> int:
    if isinstance(error, ClusterUnreachable):
        return UNREACHABLE
    return MISUSE if isinstance(error, USER_ERRORS) else FAILED


def _one_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    known = isinstance(error, (*USER_ERRORS, TuneGateError))
    return lines[0] if known else f"{type(error).__name__}: {lines[0]}"


if __name__ == "__main__":
    sys.exit(main())
