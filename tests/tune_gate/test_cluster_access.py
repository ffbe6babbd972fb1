"""Addresses, tokens, and why a cluster does not take us: what needs no Ray."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from tune_gate.cluster_access import (
    SPANS_MACHINES,
    ClusterAddress,
    check_port,
    has_token,
    parse_address,
    session_environment,
)
from tune_gate.cluster_probe import explain
from tune_gate.errors import ClusterUnreachable, Misuse

HEAD = ClusterAddress("head", "head.example", 6379)

VERSIONS = """RuntimeError: Version mismatch: The cluster was started with:
    Ray: 2.59.0
    Python: 3.12.4
This process on node 10.0.0.7 was started with:
    Ray: 2.60.0
    Python: 3.11.9
"""


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("auto", ClusterAddress("auto")),
        ("head.example:6380", ClusterAddress("head", "head.example", 6380)),
        ("10.0.0.7", ClusterAddress("head", "10.0.0.7", 6379)),
        ("[fd00::7]:6379", ClusterAddress("head", "[fd00::7]", 6379)),
        ("ray://head.example", ClusterAddress("client", "head.example", 10001)),
    ],
)
def test_an_address_is_read_and_written(text: str, address: ClusterAddress) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["", "http://head:8265", "head:port", "head:70000", "ray://", "a b"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Misuse, match="neither 'auto' nor HOST:PORT nor ray://HOST:PORT"):
        parse_address(text)


def test_a_port_on_which_nothing_listens_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        port = taken.getsockname()[1]
        with pytest.raises(ClusterUnreachable, match=f"cluster 127.0.0.1:{port}: Connection refused"):
            check_port(ClusterAddress("head", "127.0.0.1", port))


@pytest.mark.parametrize(
    ("output", "token", "words"),
    [
        ("W gcs_client.cc: Unauthenticated: RPC error: InvalidAuthToken", True, "refuses the token"),
        ("W gcs_client.cc: Unauthenticated: RPC error: InvalidAuthToken", False, "asks for a token"),
        (VERSIONS, True, "runs Ray 2.59.0 with Python 3.12.4, this machine Ray 2.60.0 with Python 3.11.9"),
        ("RuntimeError: This node has an IP address of 10.0.0.9, and Ray expects", True, "is no node of cluster"),
        ("", True, "did not answer within"),
        ("ValueError: something else\n", True, "cannot connect to cluster .*: ValueError: something else"),
    ],
)
def test_why_a_cluster_does_not_take_us_is_one_line(output: str, token: object, words: str) -> None:
    error = explain(HEAD, output, token=bool(token))
    assert len(str(error).splitlines()) == 1
    with pytest.raises(Misuse, match=words):
        raise error


def test_a_cluster_that_does_not_answer_may_come_back_and_one_that_refuses_does_not() -> None:
    assert isinstance(explain(HEAD, "", token=True), ClusterUnreachable)
    assert not isinstance(explain(HEAD, VERSIONS, token=True), ClusterUnreachable)


def test_a_ray_of_our_own_gets_a_token_that_only_its_owner_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with session_environment(None) as environment:
        path = Path(environment["RAY_AUTH_TOKEN_PATH"])
        assert environment["RAY_AUTH_MODE"] == "token"
        assert len(path.read_text()) == 64
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


def test_what_the_user_says_on_tokens_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with session_environment(None) as environment:
        assert environment["RAY_AUTH_MODE"] == "disabled"
        assert not has_token(environment)
        assert environment[SPANS_MACHINES] == "0"  # it listens on the loopback interface all the same
    with session_environment(HEAD) as environment:
        assert SPANS_MACHINES not in environment
    monkeypatch.setenv(SPANS_MACHINES, "1")
    with session_environment(None) as environment:
        assert environment[SPANS_MACHINES] == "1"


def test_a_token_is_found_where_ray_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_token({})
    assert has_token({"RAY_AUTH_TOKEN": "secret"})
    assert not has_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert has_token({})
