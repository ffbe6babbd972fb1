"""A search over three nodes with fractions of logical GPUs, in this process: what the slow tests build upon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.tune_gate.test_multi_node import ROOT, check_whole
from tests.tune_gate.test_on_ray import spec as small_study
from tests.tune_gate.test_on_ray import wait_until
from tests.tune_gate.troublesome import nodes_visited
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


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_three_nodes")
def test_trials_share_the_gpus_of_three_nodes_and_none_is_lost_or_doubled(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    given = small_study("MeetsOnThreeNodes", trials=TRIALS, epochs=4, resources={"cpus": 0.5, "gpus": 0.5})
    spec = create_study(study_spec(given), folder)
    with closing(Search(spec, folder)) as search:
        search.begin("host", os.getpid(), {})
        run_on_ray(search, spec, folder)
        search.end()
    check_whole(folder, TRIALS)
    assert nodes_visited(folder) == {node.id for node in living_nodes()}
