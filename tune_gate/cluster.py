"""Connecting to Ray: the only place that does. A cluster that runs, or a Ray of this machine alone."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import ray

from tune_gate.cluster_access import ClusterAddress
from tune_gate.cluster_probe import probe
from tune_gate.jobs import ROOMS
from tune_gate.resources import ResourceSettings

#: Ray's own messages about a head that is dead come after a minute; ours after so many seconds.
HEAD_SECONDS = 10

#: What Ray sets in the environment of a job.
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"


@contextlib.contextmanager
def connected(address: ClusterAddress | None, resources: ResourceSettings) -> Iterator[None]:
    """This process is connected to a Ray for the length of the block.

    Ray installs handlers of its own for SIGTERM, so ours are put back.

    Raises:
        ClusterUnreachable, Misuse: there is no such cluster, or it does not take us.
    """
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(HEAD_SECONDS))
    if address is not None:
        probe(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if address is None:
        _start_here(resources)
    else:
        _join(address)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _start_here(resources: ResourceSettings) -> None:
    """A Ray of this machine alone. In a `session_environment` it listens on the loopback interface only."""
    ray.init(
        address="local",  # never a cluster that happens to run here, or that RAY_ADDRESS names
        num_cpus=resources.local_cpus or len(os.sched_getaffinity(0)),
        num_gpus=resources.local_gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )


def _join(address: ClusterAddress) -> None:
    """Connect, with our code for the nodes; a job has brought it there before."""
    environment = {} if _JOB in os.environ else {"py_modules": [str(folder) for folder in room_folders()]}
    ray.init(address=str(address), log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)


def room_folders() -> list[Path]:
    """The folders of our code on this machine."""
    root = Path(__file__).resolve().parents[1]
    return [root / room for room in ROOMS]
