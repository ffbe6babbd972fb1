"""`resources: auto` on a cluster: measured on one of its nodes, and logged before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_gate.errors import Misuse, SearchFailed
from tune_gate.failures import failure_message
from tune_gate.heartbeat import Heartbeat
from tune_gate.packing import Packing, Room
from tune_gate.packing_here import Question, available_memory, choose_here, question
from tune_gate.placement import GPU_GLIMPSE, Node, check_room, living_nodes
from tune_gate.resources import ResourceSettings
from tune_gate.search import Search
from tune_gate.study_dir import STOP_REQUEST

_LOOK_SECONDS = 0.5


def choose_resources(search: Search, study: Path) -> None:
    """Where `search` leaves it open what a trial is given, measure it on a node, and have it logged.

    Does nothing where it is known; ends without a choice where the search is asked to stop.

    Raises:
        Misuse: no node can hold a trial, or none can be measured.
        SearchFailed: the node, or the worker that measured, was lost; another session may be luckier.
    """
    wanted = search.spec.resources
    if not wanted.auto:
        return
    node = typical_node(living_nodes(), wanted)
    glimpse = GPU_GLIMPSE if node.resources.get("GPU", 0.0) >= 1 and (wanted.gpus or "gpus" in wanted.auto) else 0
    running = (
        ray.remote(num_cpus=0, num_gpus=glimpse, max_retries=0)(_choose_there)
        .options(name="tune-gate packing", scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
        .remote(question(search.spec), room_of(node))
    )
    beat = Heartbeat(study)
    while not ray.wait([running], timeout=_LOOK_SECONDS)[0]:
        beat()
        if (study / STOP_REQUEST).exists():
            search.request_stop()
        if search.stopping:
            ray.cancel(running, force=True)
            return
    try:
        packing: Packing = ray.get(running)
    except ray.exceptions.RayError as error:
        raise no_measurement(error, node) from None
    search.take_resources(packing.settings(), packing.room.name, str(packing), packing.record())


def no_measurement(error: ray.exceptions.RayError, node: Node) -> Exception:
    """What the session ends with where the measurement on `node` ended in `error`."""
    if not isinstance(error, ray.exceptions.RayTaskError):
        told = failure_message(error).partition(". ")[0]  # Ray goes on for lines
        return SearchFailed(
            f"nothing could be measured on node {node.name} ({told}); where that does not pass, say what a trial is "
            "given in 'resources'"
        )
    if isinstance(error.cause, Misuse):
        return Misuse(f"{error.cause}; say what a trial is given in 'resources'")
    return error


def typical_node(nodes: Iterable[Node], wanted: ResourceSettings) -> Node:
    """The node to measure on: of those that can hold a trial, one with GPUs where they are left open, and the smallest
    of them, so that what is chosen fits the others.

    Raises:
        Misuse: none can hold a trial.
    """
    nodes = list(nodes)
    check_room(nodes, wanted)
    fit = [node for node in nodes if node.room(wanted)]
    if "gpus" in wanted.auto and any(node.resources.get("GPU", 0.0) >= 1 for node in fit):
        fit = [node for node in fit if node.resources.get("GPU", 0.0) >= 1]
    return min(fit, key=lambda node: (node.resources.get("CPU", 0.0), node.name))


def room_of(node: Node) -> Room:
    """What Ray says that `node` has."""
    has = node.resources
    return Room(node.name, has.get("CPU", 0.0), has.get("GPU", 0.0), has.get("memory", float("inf")))


def _choose_there(asked: Question, room: Room) -> Packing:
    """The choice, made on the node `room`."""
    free = min(room.memory, available_memory())
    return choose_here(asked, Room(room.name, room.cpus, room.gpus, free))
