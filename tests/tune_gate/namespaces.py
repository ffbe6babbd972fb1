"""A Ray cluster of this machine whose nodes live in network namespaces, each with an address and a cable of its own."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.tune_gate.test_on_ray import wait_until

RAY = Path(sys.executable).with_name("ray")

PORT = 6379

#: A node that has been silent for about four seconds is dead to the head.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


def environment_of(token: Path) -> dict[str, str]:
    """The environment of a head, of a node and of a driver. A head that listens to others asks for a token."""
    root = str(Path(__file__).resolve().parents[2])
    asked = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    return {**os.environ, **HEALTH, **asked, "PYTHONPATH": root}


@functools.cache
def possible() -> bool:
    """Whether this process may make network namespaces."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"tg{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        ip("netns", "del", name)
    return made


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Network:
    """Hosts at 10.77.0.1, 10.77.0.2, …, joined by a bridge in a namespace of its own. Use it as a context."""

    def __init__(self) -> None:
        self._name = f"tg{uuid.uuid4().hex[:6]}"
        self._stack = contextlib.ExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Network:
        hub = self._namespace("hub")
        ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", hub, "addr", "add", "10.77.0.254/24", "dev", "bridge")
        ip("-n", hub, "link", "set", "bridge", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self, host: int) -> str:
        return f"10.77.0.{host}"

    @property
    def cluster(self) -> str:
        """Where the head listens."""
        return f"{self.address(1)}:{PORT}"

    def host(self, number: int) -> None:
        """A new host, with a cable to the bridge."""
        space, hub = self._namespace(str(number)), f"{self._name}-hub"
        cable = f"{self._name}{number}"
        ip("-n", hub, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("-n", hub, "link", "set", cable, "master", "bridge", "up")
        ip("-n", space, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        ip("-n", space, "link", "set", "eth0", "up")
        ip("-n", space, "route", "add", "default", "via", "10.77.0.254")

    def cut(self, number: int) -> None:
        """Pull the cable of a host."""
        ip("-n", f"{self._name}-hub", "link", "set", f"{self._name}{number}", "down")

    def mend(self, number: int) -> None:
        """Plug it in again."""
        ip("-n", f"{self._name}-hub", "link", "set", f"{self._name}{number}", "up")

    def inside(self, number: int, *command: str) -> list[str]:
        """`command`, as a process on that host."""
        return ["ip", "netns", "exec", f"{self._name}-{number}", *command]

    def start_ray(self, number: int, cpus: int, environment: dict[str, str], log: Path) -> None:
        """Ray's processes on a host: the head on host 1, a node elsewhere. They end with the network."""
        head = ("--head", f"--port={PORT}", "--include-dashboard=false")
        role = head if number == 1 else (f"--address={self.cluster}",)
        with log.open("wb") as file:
            started = subprocess.Popen(
                self.inside(number, str(RAY), "start", "--block", "--disable-usage-stats", f"--num-cpus={cpus}",
                            f"--node-ip-address={self.address(number)}", *role),
                env=environment, stdout=file, stderr=file,
            )  # fmt: skip
        self._stack.callback(end, started)
        wait_until(lambda: b"Ray runtime started" in log.read_bytes() or started.poll() is not None, 90)
        assert started.poll() is None, log.read_text()[-1000:]

    def _namespace(self, suffix: str) -> str:
        name = f"{self._name}-{suffix}"
        ip("netns", "add", name)
        self._stack.callback(ip, "netns", "del", name)
        ip("-n", name, "link", "set", "lo", "up")
        return name


def end(process: subprocess.Popen[bytes]) -> None:
    """End `ray start --block`, which takes its children with it."""
    process.terminate()
    try:
        process.wait(timeout=40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def cluster_of(cpus: Mapping[int, int], slow: Mapping[int, float], logs: Path) -> Iterator[Network]:
    """A head without cores, and nodes of so many each, by number from 2; on some each epoch takes so long, seconds."""
    (logs / "token").write_text(uuid.uuid4().hex)
    with Network() as network:
        for number, cores in ({1: 0} | dict(cpus)).items():
            network.host(number)
            pace = {"TUNE_GATE_TEST_EPOCH_SECONDS": str(slow[number])} if number in slow else {}
            network.start_ray(number, cores, {**environment_of(logs / "token"), **pace}, logs / f"ray-{number}.log")
        yield network
