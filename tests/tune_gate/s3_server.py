"""A server that speaks S3, in a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The `host:port` of a server with one bucket, `bucket`. Skips the test where moto is absent."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        pytest.skip("needs moto[server], which is absent here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", endpoint.rpartition(":")[2]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(endpoint, server)
            yield endpoint
        finally:
            server.terminate()


def _wait_for(endpoint: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while True:
        assert server.poll() is None, "the S3 server did not start"
        assert time.monotonic() < end, "the S3 server does not answer"
        with contextlib.suppress(OSError):
            make = urllib.request.Request(f"http://{endpoint}/bucket", method="PUT")
            with urllib.request.urlopen(make, timeout=5):  # noqa: S310  our own server
                return
        time.sleep(0.1)


@contextlib.contextmanager
def credentials() -> Iterator[None]:
    """The environment in which the server lets us in."""
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
