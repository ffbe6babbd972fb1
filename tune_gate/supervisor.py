"""The parent of a search: runs each session in a process of its own, and starts another where one dies.

Ray can take its driver with it (the head of the cluster dies, the memory monitor ends the run, the kernel is out of
memory). The parent knows no Ray, so it survives; and since the log is the only memory, a new session goes on exactly
where the old one was.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from analysis.copies import quoted, shown
from analysis.log import LOG_FILE
from tune_gate.cluster_access import ClusterAddress, session_environment
from tune_gate.errors import Misuse, SearchFailed, StudyLocked
from tune_gate.heartbeat import Watch
from tune_gate.lock import current_holder
from tune_gate.study_dir import DRIVER_LOG

#: Exit codes of a session.
DONE, FAILED, MISUSE, UNREACHABLE = 0, 1, 2, 3

#: Sessions that may die in a row without a single new line in the log between them.
MAX_DEATHS = 5

#: Pause after the first death, seconds; doubled after each further one in a row.
BACKOFF_SECONDS = 1.0

_TICK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Supervision:
    """How a supervised search ended."""

    interrupted: bool  # by a signal to this process
    deaths: int  # sessions that died on the way


def supervise(
    study: Path, tick: Callable[[], None], say: Callable[[str], None], cluster: ClusterAddress | None = None
) -> Supervision:
    """Run the search of `study`, on `cluster` or on a Ray of this machine, until it is finished or is told to stop.

    `tick` is called a few times a second, to move the display; `say` gets a line where something happens. The first
    SIGINT or SIGTERM lets the running epochs finish; a second one ends the session at once. A session whose loop
    shows no sign of life is ended, as if it had died.

    Raises:
        StudyLocked, Misuse: the search cannot run as it stands.
        SearchFailed: sessions died `MAX_DEATHS` times in a row without progress.
    """
    holder = current_holder(study)
    if holder is not None:
        raise StudyLocked(
            f"{shown(study)} is in use by {holder}; `tune-gate status {quoted(study)} --watch` shows it, "
            f"`tune-gate stop {quoted(study)}` ends it"
        )
    signals = _Signals()
    deaths = in_a_row = 0
    with signals.caught():
        while True:
            size = _log_size(study)
            code, message = _run_session(study, cluster, signals, tick, say)
            if code == DONE or signals.received > 1:
                return Supervision(signals.received > 0, deaths)
            if code == MISUSE or (code == UNREACHABLE and deaths == 0):  # a cluster that was there may come back
                raise Misuse(message)
            deaths += 1
            in_a_row = 1 if _log_size(study) > size + _NO_PROGRESS_BYTES else in_a_row + 1
            reason = message or _death(code)
            if signals.received or in_a_row >= MAX_DEATHS:
                raise SearchFailed(
                    f"the driver died ({reason}); what it said is in {study / DRIVER_LOG}; "
                    f"nothing is lost: `tune-gate resume {quoted(study)}`"
                )
            pause = BACKOFF_SECONDS * 2 ** (in_a_row - 1)
            say(f"the driver died ({reason}); a new one goes on from the log in {pause:g} s")
            _wait(pause, signals, tick)


#: What a session that dies at once adds to the log: that it began, and perhaps how it ended.
_NO_PROGRESS_BYTES = 2000


class _Signals:
    """Counts SIGINT and SIGTERM, and passes each on to the session that runs."""

    def __init__(self) -> None:
        self.received = 0
        self.session: subprocess.Popen[str] | None = None

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        previous = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self.received += 1
        if self.session is not None and self.session.poll() is None:
            if self.received == 1:
                self.session.send_signal(signal.SIGINT)
            else:
                os.killpg(self.session.pid, signal.SIGKILL)


def _run_session(
    study: Path,
    cluster: ClusterAddress | None,
    signals: _Signals,
    tick: Callable[[], None],
    say: Callable[[str], None],
) -> tuple[int, str]:
    """Run one session to its end; its exit code and the line it left."""
    where = [] if cluster is None else [str(cluster)]
    with (study / DRIVER_LOG).open("a") as log, session_environment(cluster) as environment:
        session = _start_session([str(study), *where], environment, log)
        return _watch(session, Watch(study), signals, tick, say)


def _start_session(arguments: list[str], environment: Mapping[str, str], log: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-m", "tune_gate.driver", *arguments],
        stdin=subprocess.PIPE,  # its end tells the session that we are gone
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,  # a Ctrl-C in the terminal reaches us alone, and we pass it on
        env=environment,
    )


def _watch(
    session: subprocess.Popen[str],
    watch: Watch,
    signals: _Signals,
    tick: Callable[[], None],
    say: Callable[[str], None],
) -> tuple[int, str]:
    silence = ""
    with session:
        signals.session = session
        if signals.received:  # it came between two sessions
            session.send_signal(signal.SIGINT)
        told = False
        while session.poll() is None:
            tick()
            if signals.received and not told:
                say("stopping: the running epochs finish and are saved (Ctrl-C again: at once)")
                told = True
            if not silence and (silence := watch.overdue() or ""):
                os.killpg(session.pid, signal.SIGKILL)  # it may be stopped, and deaf to everything else
            time.sleep(_TICK_SECONDS)
        tick()
        assert session.stdout is not None  # noqa: S101  it was asked for above
        return session.returncode, silence or session.stdout.read().strip()


def _wait(seconds: float, signals: _Signals, tick: Callable[[], None]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not signals.received:
        tick()
        time.sleep(_TICK_SECONDS)


def _death(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _log_size(study: Path) -> int:
    try:
        return (study / LOG_FILE).stat().st_size
    except FileNotFoundError:
        return 0
