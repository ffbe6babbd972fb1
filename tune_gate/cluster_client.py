"""A search on a cluster of which this machine is no node: the driver runs there, on the head, and is watched from here.

Both see the study's folder. When the connection ends, so does the driver; `resume` goes on.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import ray

from analysis.files import write_atomic
from tune_gate.cluster import connected
from tune_gate.cluster_access import ClusterAddress
from tune_gate.errors import Misuse
from tune_gate.spec import StudySpec
from tune_gate.study_dir import STOP_REQUEST

_LOOK_SECONDS = 0.5

#: The resource that only a cluster's head has.
HEAD = "node:__internal_head__"


def drive_remotely(
    study: Path, spec: StudySpec, address: ClusterAddress, session: Callable[[Path], Any], gone: Callable[[], None]
) -> Any:
    """What `session(study)` returns, run on the head of the cluster.

    SIGINT, SIGTERM and the return of `gone` ask it to stop in good order, through the study's folder.

    Raises:
        Misuse: the head does not see the study's folder.
    """
    folder = study.resolve()
    stop = threading.Event()
    threading.Thread(target=_in_turn, args=(gone, stop.set), daemon=True).start()
    with connected(address, spec.resources), _signals_set(stop):
        on_head = {"num_cpus": 0, "resources": {HEAD: 0.001}, "max_retries": 0}
        if not ray.get(ray.remote(_sees).options(**on_head).remote(folder)):
            raise Misuse(
                f"the head of cluster {address} does not see {folder}; put the study on storage that both share"
            )
        running = ray.remote(session).options(name=f"tune-gate {spec.name}", **on_head).remote(folder)
        while not ray.wait([running], timeout=_LOOK_SECONDS)[0]:
            if stop.is_set() and not (folder / STOP_REQUEST).exists():
                write_atomic(folder / STOP_REQUEST, "")
        return ray.get(running)


def _in_turn(*acts: Callable[[], object]) -> None:
    for act in acts:
        act()


def _sees(folder: Path) -> bool:
    return (folder / "study.json").exists()


@contextlib.contextmanager
def _signals_set(stop: threading.Event) -> Any:
    def receive(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    previous = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
