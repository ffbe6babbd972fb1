"""A search over three nodes with fractions of logical GPUs, in this process: what the slow tests build upon."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from tests.tune_gate.test_multi_node import ROOT, check_whole
from tests.tune_gate.test_on_ray import spec as small_study
from tests.tune_gate.test_on_ray import wait_until
from tests.tune_gate.troublesome import nodes_visited
from tune_gate import ended_trials
from tune_gate.on_ray import run_on_ray
from tune_gate.placement import living_nodes
from tune_gate.search import Search
from tune_gate.spec import study_spec
from tune_gate.study_dir import create_study

NODES, TRIALS = 3, 12


@pytest.fixture(scope="module")
def _three_nodes() -> Iterator[None]:
    """A head and two more nodes, with a core and a logical GPU each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        # Ray's own wait for a node ends after half a minute, which a loaded machine may need longer than.
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "num_gpus": 1, "include_dashboard": False, "wait": False},
        )
        for _ in range(2):
            cluster.add_node(wait=False, num_cpus=1, num_gpus=1)
        ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
        wait_until(lambda: len(living_nodes()) == NODES, 300)
        yield
        ray.shutdown()
        cluster.shutdown()


@dataclass(frozen=True)
class Searched:
    """A search that has ended, and how many ended trials Tune kept after each of its steps."""

    folder: Path
    attempts: int
    kept: list[int]


@pytest.fixture(scope="module")
def searched(_three_nodes: None, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A search of short trials, two on each node, of which one raises once."""
    folder = tmp_path_factory.mktemp("searched") / "study"
    given = small_study("MeetsOnThreeNodes", trials=TRIALS, epochs=4, resources={"cpus": 0.5, "gpus": 0.5})
    spec = create_study(study_spec(given), folder)
    with pytest.MonkeyPatch.context() as patch, closing(Search(spec, folder)) as search:
        patch.setattr(ended_trials, "BATCH", 2)
        begun, kept = watch_trials(patch)
        search.begin("host", os.getpid(), {})
        run_on_ray(search, spec, folder)
        search.end()
    return Searched(folder, len(begun), kept)


def watch_trials(patch: pytest.MonkeyPatch) -> tuple[list[weakref.ref[Trial]], list[int]]:
    """The trials that Tune is given, and after each step of its how many of them are still there though they ended."""
    begun: list[weakref.ref[Trial]] = []
    kept: list[int] = []
    add_trial, on_step_end = TuneController.add_trial, TuneController.on_step_end

    def add(controller: TuneController, trial: Trial) -> None:
        begun.append(weakref.ref(trial))
        add_trial(controller, trial)

    def count(controller: TuneController) -> None:
        on_step_end(controller)
        kept.append(sum(trial is not None and trial.is_finished() for trial in (known() for known in begun)))

    patch.setattr(TuneController, "add_trial", add)
    patch.setattr(TuneController, "on_step_end", count)
    return begun, kept


@pytest.mark.timeout(900)
def test_trials_share_the_gpus_of_three_nodes_and_none_is_lost_or_doubled(searched: Searched) -> None:
    check_whole(searched.folder, TRIALS)
    assert nodes_visited(searched.folder) == {node.id for node in living_nodes()}


@pytest.mark.timeout(900)
def test_tune_forgets_the_trials_that_have_ended(searched: Searched) -> None:
    assert searched.attempts > TRIALS  # the one that raised began twice, and those that paused go on
    assert max(searched.kept) < TRIALS / 2
