"""Where a search runs, and what may connect there. Knows no Ray: whatever Ray reads from the environment, tokens above
all, must stand there before a process imports it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tune_gate.errors import ClusterUnreachable, Misuse

#: Ports that Ray uses unless told otherwise: of a cluster's head, and of its client server.
HEAD_PORT, CLIENT_PORT = 6379, 10001

#: A head that does not take a connection within so many seconds is not there.
CONNECT_SECONDS = 5.0

#: Ray takes the machine's outside address and listens on all interfaces, even where it is told 127.0.0.1, unless this
#: variable is "0" when it is imported: what it does by itself on Windows and macOS, where a firewall would ask.
SPANS_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

AUTH_MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"

_ADDRESS = re.compile(r"(?P<client>ray://)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """A cluster that runs. `auto`: the one of this machine; `head`: this machine is a node of it; `client`: it is not,
    and the driver runs on the cluster itself.
    """

    kind: Literal["auto", "head", "client"]
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.kind == "auto":
            return "auto"
        return f"{'ray://' if self.kind == 'client' else ''}{self.host}:{self.port}"


def parse_address(text: str) -> ClusterAddress:
    """The address that `text` means: `auto`, `HOST[:PORT]` of a head, or `ray://HOST[:PORT]` of its client server.

    Raises:
        Misuse: it is none of them.
    """
    if text == "auto":
        return ClusterAddress("auto")
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or 0) if found else 0
    if found is None or port > 65535:
        raise Misuse(f"--cluster {text!r} is neither 'auto' nor HOST:PORT nor ray://HOST:PORT")
    if found["client"]:
        return ClusterAddress("client", found["host"], port or CLIENT_PORT)
    return ClusterAddress("head", found["host"], port or HEAD_PORT)


def check_port(address: ClusterAddress) -> None:
    """Find out within seconds whether anything listens there; of `auto` nothing is known before Ray is asked.

    Raises:
        ClusterUnreachable: nothing does.
    """
    if address.kind == "auto":
        return
    try:
        with socket.create_connection((address.host.strip("[]"), address.port), timeout=CONNECT_SECONDS):
            return
    except OSError as error:
        reason = error.strerror or f"no answer within {CONNECT_SECONDS:.0f} s"
        raise ClusterUnreachable(
            f"cluster {address}: {reason}; does a Ray head run there, and does a firewall let the port through?"
        ) from None


def has_token(environment: Mapping[str, str]) -> bool:
    """Whether Ray would find a token: in the variable, in the file that another one names, or in the user's own."""
    if environment.get(AUTH_MODE, "token") != "token":
        return False
    named = environment.get(TOKEN_PATH)
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return bool(environment.get(TOKEN)) or path.is_file()


@contextlib.contextmanager
def session_environment(address: ClusterAddress | None) -> Iterator[dict[str, str]]:
    """The environment of a process that will connect to `address`; without one, to a Ray of its own.

    A Ray that we start listens on the loopback interface only, and asks for a token that is drawn for it, kept in a
    file which only this user can read, and gone with it; so nobody else on this machine can run code in it. A user who
    sets RAY_AUTH_MODE has decided otherwise on the token, and one who sets `SPANS_MACHINES` on the interface.
    """
    environment = dict(os.environ)
    if address is None:
        environment.setdefault(SPANS_MACHINES, "0")
    if address is not None or AUTH_MODE in environment:
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="tune-gate-") as folder:  # made for its owner alone
        path = Path(folder) / "ray-token"
        path.write_text(secrets.token_hex(32))
        environment.pop(TOKEN, None)
        yield {**environment, AUTH_MODE: "token", TOKEN_PATH: str(path)}
