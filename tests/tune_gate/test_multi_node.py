"""Searches over several nodes, each with a raylet of its own, and what may happen to nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from analysis.events import AttemptFailed, EpochReported, ResourcesChosen, SessionStarted, TrialFailed, TrialSuggested
from analysis.log import LOG_FILE, read_log
from tests.tune_gate.test_on_ray import spec, wait_until
from tests.tune_gate.test_search import essence
from tune_gate.api import Outcome, launch, resume
from tune_gate.errors import Misuse
from tune_gate.verify import verify_study

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module", autouse=True)
def _nodes_find_the_trainables() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_health_check_initial_delay_ms", "0")
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that runs no trials, and three nodes of two cores and a (logical) GPU each."""
    nodes = new_cluster()
    for number in range(3):
        nodes.add_node(num_cpus=2, num_gpus=1, labels={"place": f"rack-{number}"}, resources={"rack": 1})
    yield nodes
    nodes.shutdown()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A head that runs no trials, for tests that kill."""
    nodes = new_cluster()
    yield nodes
    nodes.shutdown()


def new_cluster() -> Cluster:
    return Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})


def search(cluster: Cluster, folder: Path, trainable: str = "CurveTrainable", **changes: Any) -> Outcome:
    return launch(spec(trainable, **changes), folder, cluster=cluster.address)


def check_whole(folder: Path, trials: int) -> None:
    """Exactly the trials asked for, none lost or doubled, and every decision as the log's folds give it."""
    events = read_log(folder / LOG_FILE)
    assert [event.trial for event in events if isinstance(event, TrialSuggested)] == list(range(1, trials + 1))
    kept: dict[tuple[int, int], int] = {}
    for event in events:
        if isinstance(event, EpochReported):
            kept[event.trial, event.epoch] = kept.get((event.trial, event.epoch), 0) + 1
    assert set(kept.values()) == {1}  # a checkpoint is on disk before its report: nothing is trained twice
    assert verify_study(folder).differences == ()


def in_background(cluster: Cluster, folder: Path, trials: int, trainable: str = "Crawls") -> subprocess.Popen[str]:
    """A slow search in a process of its own, so that the test can make trouble meanwhile."""
    name = f"tests.tune_gate.troublesome:{trainable}"
    given = {"trials": trials, "epochs": 9, "scheduler.rungs": [3], "trainable": name}
    changes = [f"--set={key}={value}" for key, value in given.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "tune_gate", "launch", "--dir", str(folder), "--cluster", cluster.address, *changes],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def epochs_reported(folder: Path) -> int:
    if not (folder / LOG_FILE).exists():
        return 0
    return sum(isinstance(event, EpochReported) for event in read_log(folder / LOG_FILE))


def test_fractions_of_three_nodes_gpus(cluster: Cluster, tmp_path: Path) -> None:
    outcome = search(cluster, tmp_path / "study", "Slow", trials=9, resources={"cpus": 0.5, "gpus": 0.5})
    assert outcome.ended == "finished"
    check_whole(tmp_path / "study", 9)


def test_resources_that_are_left_open_are_measured_on_a_node_and_used_on_all(cluster: Cluster, tmp_path: Path) -> None:
    outcome = search(cluster, tmp_path / "study", "Slow", trials=9, resources="auto")
    assert outcome.ended == "finished"
    check_whole(tmp_path / "study", 9)
    events = read_log(tmp_path / "study" / LOG_FILE)
    (choice,) = (event for event in events if isinstance(event, ResourcesChosen))
    assert (choice.settings["resources.gpus"], choice.settings["resources.cpus"]) in {(1.0, 2.0), (0.5, 1.0)}
    assert [tried["trials"] for tried in choice.measured] == [1, 2]
    assert outcome.study.trials["gpu_hours"].sum() > 0


def test_labels_and_custom_resources_choose_nodes(cluster: Cluster, tmp_path: Path) -> None:
    places = {"labels": {"place": "rack-1"}, "custom": {"rack": 1}}
    assert search(cluster, tmp_path / "study", trials=3, resources=places).ended == "finished"
    check_whole(tmp_path / "study", 3)
    with pytest.raises(Misuse, match="no node has the label place=rack-9"):
        search(cluster, tmp_path / "nowhere", resources={"labels": {"place": "rack-9"}})
    assert not (tmp_path / "nowhere").exists()


def test_one_node_and_three_give_the_same_study(cluster: Cluster, tmp_path: Path) -> None:
    one_at_a_time = {"resources": {"concurrency": 1, "local_cpus": 1}}
    search(cluster, tmp_path / "three", **one_at_a_time)
    launch(spec("CurveTrainable", **one_at_a_time), tmp_path / "one")
    studies = [essence(read_log(tmp_path / name / LOG_FILE)) for name in ("one", "three")]
    assert studies[0] == studies[1]


def test_a_node_that_cannot_read_the_data_fails_the_preflight_by_name(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"node \S+ \(\S+\): this node has no data .nothing was trained"):
        search(cluster, tmp_path / "study", "WithoutData")
    assert not (tmp_path / "study").exists()


def test_a_trial_that_was_given_a_gpu_which_torch_cannot_see_fails_at_once(cluster: Cluster, tmp_path: Path) -> None:
    given = {"trials": 2, "epochs": 2, "resources": {"gpus": 0.5}}
    given["trainable"] = "tests.tune_gate.unchecked_trainable:Unchecked"
    outcome = launch(given, tmp_path / "study", cluster=cluster.address)
    assert outcome.ended == "finished"
    events = read_log(tmp_path / "study" / LOG_FILE)
    assert [event.failure for event in events if isinstance(event, AttemptFailed)] == ["unfit", "unfit"]
    reasons = [event.reason for event in events if isinstance(event, TrialFailed)]
    assert all("a GPU was asked for but torch" in reason for reason in reasons)
    assert verify_study(tmp_path / "study").differences == ()


def test_a_node_that_is_killed_costs_no_trial(own_cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    own_cluster.add_node(num_cpus=2)
    doomed = own_cluster.add_node(num_cpus=2)
    with in_background(own_cluster, folder, 8) as running:
        wait_until(lambda: epochs_reported(folder) > 6, 120)
        own_cluster.remove_node(doomed, allow_graceful=False)
        _, error = running.communicate()
    assert running.returncode == 0, error
    check_whole(folder, 8)
    events = read_log(folder / LOG_FILE)
    failures = [event.failure for event in events if isinstance(event, AttemptFailed)]
    assert set(failures) <= {"preempted"}
    assert failures or sum(isinstance(event, SessionStarted) for event in events) > 1  # the driver's own node, then


def test_a_node_that_joins_late_is_used_although_trials_are_shorter_than_a_workers_start(
    own_cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    own_cluster.add_node(num_cpus=1)
    with in_background(own_cluster, folder, 40, "SlowToStart") as running:
        wait_until(lambda: epochs_reported(folder) > 2, 120)
        own_cluster.add_node(num_cpus=2)
        _, error = running.communicate()
    assert running.returncode == 0, error
    check_whole(folder, 40)
    assert most_at_once(folder) > 1


def test_a_head_that_is_killed_ends_the_search_and_another_cluster_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    first = new_cluster()
    first.add_node(num_cpus=2)
    with in_background(first, folder, 6) as running:
        wait_until(lambda: epochs_reported(folder) > 4, 120)
        for processes in first.head_node.all_processes.values():
            for each in processes:
                os.kill(each.process.pid, signal.SIGKILL)
        _, error = running.communicate()
    assert running.returncode == 1
    assert "nothing is lost" in error
    first.shutdown()
    second = new_cluster()
    second.add_node(num_cpus=2)
    try:
        assert resume(folder, cluster=second.address).ended == "finished"
    finally:
        second.shutdown()
    check_whole(folder, 6)


def most_at_once(folder: Path) -> int:
    """The most trials that were ever between two of their reports at the same time."""
    now: dict[int, bool] = {}
    most = 0
    for event in read_log(folder / LOG_FILE):
        if isinstance(event, EpochReported):
            now[event.trial] = event.action == "continue"
            most = max(most, sum(now.values()))
    return most
