"""Whose fault it was that a worker fell silent: its own process's, or its node's.

Ray often sees that a worker's connection broke before it knows that the worker's whole node is gone, and says only the
former. So a loss is judged a little later, by whether the node left, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.events import FailureKind
from tune_gate.placement import Node

#: Within so many seconds after a worker's connection broke, Ray knows whether its node is gone.
VERDICT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Loss:
    """An attempt whose worker is gone."""

    trial: int
    attempt: int
    message: str
    traceback: str
    address: str  # of the worker's node; empty: it never said
    heard: float  # when the worker was last heard of; seconds of the caller's clock, as all times here
    noticed: float  # when it was found lost


class Losses:
    """Losses that wait for their verdict, and the nodes that came and went."""

    def __init__(self, own_node: str) -> None:
        self._own_node = own_node
        self._nodes: dict[str, str] = {}  # address by id
        self._left: dict[str, tuple[str, float]] = {}  # address and time, by id
        self._waiting: list[Loss] = []

    def see(self, nodes: Iterable[Node], now: float) -> None:
        """Take note of the nodes that live now."""
        living = {node.id: node.address for node in nodes}
        self._left.update({gone: (self._nodes[gone], now) for gone in self._nodes.keys() - living.keys()})
        self._nodes = living

    def add(self, loss: Loss) -> None:
        """Let `loss` wait for its verdict."""
        self._waiting.append(loss)

    def judge(self, now: float) -> list[tuple[Loss, FailureKind]]:
        """The losses whose cause is known by now, each once: `preempted` by its node's end, or `lost` by itself."""
        verdicts = [(loss, self._verdict(loss, now)) for loss in self._waiting]
        self._waiting = [loss for loss, verdict in verdicts if verdict is None]
        return [(loss, verdict) for loss, verdict in verdicts if verdict is not None]

    def _verdict(self, loss: Loss, now: float) -> FailureKind | None:
        if any(left >= loss.heard and loss.address in {"", address} for address, left in self._left.values()):
            return "preempted"
        # Our own node's end would have been ours.
        elsewhere = [node for node, address in self._nodes.items() if loss.address in {"", address}]
        waited = now - loss.noticed >= VERDICT_SECONDS
        return "lost" if waited or set(elsewhere) <= {self._own_node} else None
