"""Whether a worker that is gone was lost by itself or with its node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from analysis.events import FailureKind
from tune_gate.losses import VERDICT_SECONDS, Loss, Losses
from tune_gate.placement import Node


def nodes(*names: str) -> Iterator[Node]:
    """Nodes at 10.0.0.x, of which `a` and `b` share a machine."""
    return (Node(name, name, {}, {}, {"own": "10.0.0.1", "a": "10.0.0.2", "b": "10.0.0.2"}[name]) for name in names)


def loss(address: str = "10.0.0.2", heard: float = 0.0, noticed: float = 5.0) -> Loss:
    return Loss(3, 1, "it went away", "", address, heard, noticed)


def verdicts(losses: Losses, now: float) -> list[FailureKind]:
    return [kind for _, kind in losses.judge(now)]


def test_a_loss_waits_until_its_nodes_end_is_known_and_is_judged_once() -> None:
    losses = Losses("own")
    losses.see(nodes("own", "a", "b"), 1.0)
    losses.add(loss())
    assert verdicts(losses, 6.0) == []
    losses.see(nodes("own", "b"), 7.0)
    assert verdicts(losses, 7.0) == ["preempted"]
    assert verdicts(losses, 100.0) == []


def test_a_node_that_left_before_its_worker_was_told_is_known() -> None:
    losses = Losses("own")
    losses.see(nodes("own", "a"), 1.0)
    losses.see(nodes("own"), 4.0)
    losses.add(loss(heard=3.0))
    assert verdicts(losses, 5.0) == ["preempted"]


@pytest.mark.parametrize("address", ["10.0.0.2", ""])
def test_a_process_that_died_on_a_node_which_stays_is_lost(address: str) -> None:
    losses = Losses("own")
    losses.see(nodes("own", "a", "b"), 1.0)
    losses.add(loss(address))
    assert verdicts(losses, 5.0 + VERDICT_SECONDS - 0.1) == []
    assert verdicts(losses, 5.0 + VERDICT_SECONDS) == ["lost"]


def test_another_nodes_end_or_an_earlier_one_is_no_excuse() -> None:
    losses = Losses("own")
    losses.see(nodes("own", "a", "b"), 1.0)
    losses.see(nodes("own", "a"), 2.0)  # b went before the worker was last heard of
    losses.add(loss(heard=3.0))
    losses.add(loss("10.0.0.1", heard=0.0))
    assert verdicts(losses, 5.0) == ["lost"]  # the second: on our own node there is nothing to wait for
    assert verdicts(losses, 5.0 + VERDICT_SECONDS) == ["lost"]


def test_on_one_machine_nothing_is_waited_for() -> None:
    losses = Losses("own")
    losses.see(nodes("own"), 1.0)
    losses.add(loss(""))
    assert verdicts(losses, 5.0) == ["lost"]
