"""Where trials can run: what one asks for, which nodes can hold it, and whether those are fit for it."""

from __future__ import annotations

import contextlib
import importlib
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from analysis.copies import origin_of
from analysis.errors import StoreError
from analysis.objects import open_store
from analysis.study import STUDY_FILE
from trainables.errors import TrainableError
from tune_gate.errors import Misuse
from tune_gate.resources import ResourceSettings
from tune_gate.spec import StudySpec

#: Ray counts resources in ten-thousandths.
_SMALLEST = 1e-4

GB = 1e9

#: A node that does not say within so many seconds whether it is fit counts as unfit: the data may have to be fetched.
PREFLIGHT_SECONDS = 600.0

#: As much of a GPU as makes Ray show it to a task.
GPU_GLIMPSE = 0.001


@dataclass(frozen=True, slots=True)
class Node:
    """A living node of the cluster."""

    id: str
    name: str  # its host, and its address
    resources: Mapping[str, float]
    labels: Mapping[str, str]
    address: str = ""

    def room(self, needs: ResourceSettings) -> int:
        """How many trials fit on it."""
        if any(self.labels.get(key) != value for key, value in needs.labels.items()):
            return 0
        return int(min((self.resources.get(what, 0.0) + _SMALLEST) // amount for what, amount in bundle(needs).items()))


def bundle(needs: ResourceSettings) -> dict[str, float]:
    """What a trial takes of its node, in Ray's names: cores, GPUs, bytes."""
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": (needs.memory or 0.0) * GB, **needs.custom}
    return {what: amount for what, amount in wanted.items() if amount}


def request(needs: ResourceSettings) -> tune.PlacementGroupFactory:
    """What Tune asks Ray for, for each trial."""
    labels: Any = {"bundle_label_selector": [dict(needs.labels)]} if needs.labels else {}
    return tune.PlacementGroupFactory([bundle(needs)], **labels)


def living_nodes() -> list[Node]:
    """The nodes of the cluster as it is now."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's
    return [
        Node(
            node["NodeID"],
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            node["Resources"],
            node.get("Labels") or {},
            node["NodeManagerAddress"],
        )
        for node in nodes
        if node["Alive"]
    ]


def own_node() -> str:
    """The id of the node that this process is connected through."""
    return str(ray.get_runtime_context().get_node_id())


def check_room(nodes: Iterable[Node], needs: ResourceSettings) -> None:
    """See that some node can hold a trial, which otherwise would be waited for without end.

    Raises:
        Misuse: none can. A cluster that grows by itself must have one such node at the start.
    """
    nodes = list(nodes)
    if any(node.room(needs) for node in nodes):
        return
    raise Misuse(f"no node of the cluster can hold a trial of {_words(needs)}; {_most(nodes, needs)}")


def check_nodes(nodes: Iterable[Node], spec: StudySpec, study: Path) -> None:
    """See that each node that will run trials can: it sees the study's folder, the data, and its GPUs.

    Our own node is left out: it has been seen to before.

    Raises:
        Misuse: some cannot; it names them with their reasons.
    """
    settings = spec.trial_settings({}, spec.seed, spec.epochs)
    look = ray.remote(num_cpus=0, num_gpus=GPU_GLIMPSE if spec.resources.gpus else 0, max_retries=0)(unfit_for)
    looks = [
        (
            node.name,
            look.options(
                name="tune-gate preflight", scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
            ).remote(spec, settings, study.resolve(), origin_of(study)),
        )
        for node in nodes
        if node.id != own_node() and node.room(spec.resources)
    ]
    if looks:
        ray.wait([seen for _, seen in looks], num_returns=len(looks), timeout=PREFLIGHT_SECONDS)
    problems = {f"node {name}: {problem}": None for name, seen in looks if (problem := _answer(seen))}
    if problems:
        raise Misuse(f"{'; '.join(problems)} (nothing was trained; mend the node or take it out of the cluster)")


def unfit_for(spec: StudySpec, settings: dict[str, Any], study: Path, origin: str | None = None) -> str:
    """Why this node cannot run trials of the study; empty where it can. Runs there.

    Of a study in an object store, `origin`, the node need not see the driver's copy; it keeps its own scratch there.
    """
    if origin is None and not (study / STUDY_FILE).exists():
        return f"it does not see the study's folder {study}; choose storage that all nodes share"
    try:
        if origin is not None:
            open_store(origin)
            study.mkdir(parents=True, exist_ok=True)
        _try_to_write(study)
    except StoreError as error:
        return str(error)
    except OSError as error:
        return f"it cannot write to {study}: {error.strerror}"
    module, _, name = spec.trainable.partition(":")
    try:
        trainable = getattr(importlib.import_module(module), name)
        trainable.check(settings)
        if hasattr(trainable, "check_device"):
            trainable.check_device(spec.resources.cpus, spec.resources.gpus)
    except (TrainableError, ImportError) as error:
        return str(error)
    return ""


def _try_to_write(study: Path) -> None:
    path = study / f".preflight-{uuid.uuid4().hex}"
    try:
        path.write_bytes(os.urandom(16))
    finally:
        path.unlink(missing_ok=True)


def _answer(seen: Any) -> str:
    with contextlib.suppress(ray.exceptions.GetTimeoutError):
        try:
            return str(ray.get(seen, timeout=0))
        except ray.exceptions.NodeDiedError:
            return ""  # it left the cluster, and runs nothing
        except ray.exceptions.RayError as error:
            return next(line.strip() for line in reversed(str(error).splitlines()) if line.strip())
    return f"no answer within {PREFLIGHT_SECONDS:.0f} s"


def _words(needs: ResourceSettings) -> str:
    parts = [f"{needs.cpus:g} CPUs", f"{needs.gpus:g} GPUs"]
    if needs.memory:
        parts.append(f"{needs.memory:g} GB")
    parts.extend(f"{amount:g} {name}" for name, amount in needs.custom.items())
    parts.extend(f"label {key}={value}" for key, value in needs.labels.items())
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _most(nodes: list[Node], needs: ResourceSettings) -> str:
    """What to do about it: the first thing of which even the best node has too little."""
    for key, value in needs.labels.items():
        if not any(node.labels.get(key) == value for node in nodes):
            return f"no node has the label {key}={value} (`ray start --labels {key}={value}`)"
    for what, amount in bundle(needs).items():
        most = max((node.resources.get(what, 0.0) for node in nodes), default=0.0)
        if most + _SMALLEST < amount:
            unit, size = ("GB", GB) if what == "memory" else (what, 1.0)
            return f"the most that a node has is {most / size:g} {unit}: lower 'resources' or add a node"
    return "no node has all of it at once: lower 'resources' or add a node"
