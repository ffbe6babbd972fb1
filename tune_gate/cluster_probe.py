"""Trying a connection to a cluster in a process of its own: `python -m tune_gate.cluster_probe ADDRESS`.

Ray retries for up to 80 seconds where a token is wrong or a head is silent, and then may end its process. So the probe
is watched from outside, and ended as soon as what it says is plain.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from tune_gate.cluster_access import ClusterAddress, check_port, has_token
from tune_gate.errors import ClusterUnreachable, Misuse

#: A cluster that does not answer a connection within so many seconds is taken for unfit.
PROBE_SECONDS = 20.0

_FOUND = "tune-gate found nodes: "


def probe(address: ClusterAddress) -> int:
    """How many nodes of the cluster are alive.

    Raises:
        ClusterUnreachable: there is no cluster, or it does not answer.
        Misuse: it does not take us: a token that is wrong or missing, another version, or no node of it here.
    """
    check_port(address)
    output = ""
    with subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-m", "tune_gate.cluster_probe", str(address)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            for chunk in _read(process, PROBE_SECONDS):
                output += chunk
                if "InvalidAuthToken" in output:
                    break
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    for line in output.splitlines():
        if line.startswith(_FOUND):
            return int(json.loads(line.removeprefix(_FOUND)))
    raise explain(address, output, has_token(os.environ))


def explain(address: ClusterAddress, output: str, token: bool) -> Misuse:  # noqa: FBT001  a fact, not a choice
    """Why no connection to `address` came about, from what Ray 2.60 printed; `token`: whether one was given."""
    where = f"cluster {address}"
    if "InvalidAuthToken" in output or "AuthenticationError" in output:
        if token:
            return Misuse(f"{where} refuses the token; set RAY_AUTH_TOKEN_PATH to a file with the cluster's own")
        return Misuse(f"{where} asks for a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to a file with it")
    if "ersion mismatch" in output:
        return Misuse(f"{where} runs {_versions(output)}; use an environment with the same versions on both sides")
    if "Could not find any running Ray instance" in output:
        return ClusterUnreachable(
            f"{where}: no Ray runs on this machine; start one with `ray start`, or give HOST:PORT"
        )
    if "This node has an IP address" in output or "Can't find a node" in output:
        return Misuse(
            f"this machine is no node of {where}; use --cluster ray://{address.host}:10001, or `tune-gate submit`"
        )
    if "Failed to connect" in output or "timeout" in output.lower() or not output.strip():
        hint = (
            ""
            if address.kind == "auto"
            else "; is it a Ray cluster's port, and is the token (RAY_AUTH_TOKEN_PATH) right?"
        )
        return ClusterUnreachable(f"{where} did not answer within {PROBE_SECONDS:.0f} s{hint}")
    last = next(line.strip() for line in reversed(output.splitlines()) if line.strip())
    return Misuse(f"cannot connect to {where}: {last}")


def _versions(output: str) -> str:
    """`Ray 2.59.0 and Python 3.12.1 there, Ray … here`, from Ray's message of six lines."""
    found = [
        line.split(":", 1)[1].strip() for line in output.splitlines() if line.strip().startswith(("Ray:", "Python:"))
    ]
    if len(found) < 4:
        return "another version of Ray or Python"
    return f"Ray {found[0]} with Python {found[1]}, this machine Ray {found[2]} with Python {found[3]}"


def _read(process: subprocess.Popen[bytes], seconds: float) -> Iterator[str]:
    """What the process prints, piece by piece, until it ends or the time is up."""
    assert process.stdout is not None  # noqa: S101  it was asked for
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0:
            if selector.select(left):
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    return
                yield data.decode(errors="replace")


def main() -> None:
    """The probe itself."""
    import ray  # noqa: PLC0415  only the probe's own process needs it

    try:
        ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
        nodes: list[dict[str, object]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's
        print(f"{_FOUND}{sum(bool(node['Alive']) for node in nodes)}", flush=True)  # noqa: T201  to its parent
    except Exception as error:  # noqa: BLE001  whatever it is, the parent puts it into words
        print(f"{type(error).__name__}: {error}", flush=True)  # noqa: T201
    os._exit(0)  # nothing to tidy up, and Ray takes its time


if __name__ == "__main__":
    main()
