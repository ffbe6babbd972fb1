"""Searches over nodes in network namespaces of their own: a cable that is pulled or loose, and a node that is slow."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.events import AttemptFailed, AttemptStarted, TrialFailed
from analysis.log import LOG_FILE, read_log
from tests.tune_gate.namespaces import Network, cluster_of, environment_of, possible
from tests.tune_gate.test_multi_node import ROOT, check_whole, epochs_reported
from tests.tune_gate.test_on_ray import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not possible(), reason="needs root, the program ip, and network namespaces"),
]

TRIALS = 8


def search(network: Network, folder: Path) -> subprocess.Popen[str]:
    """A search in a process of its own, on the head's host."""
    given = {
        "trials": TRIALS,
        "epochs": 9,
        "scheduler.rungs": [3],
        "trainable": "tests.tune_gate.troublesome:AsItsNode",
    }
    changes = [f"--set={key}={value}" for key, value in given.items()]
    launch = ("-m", "tune_gate", "launch", "--dir", str(folder), "--cluster", network.cluster, *changes)
    return subprocess.Popen(
        network.inside(1, sys.executable, *launch), cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=environment_of(folder.with_name("token")),
    )  # fmt: skip


def failures(folder: Path) -> list[AttemptFailed]:
    return [event for event in read_log(folder / LOG_FILE) if isinstance(event, AttemptFailed)]


def check_ended_well(folder: Path) -> None:
    """Every trial ended by a decision; what was lost was lost with its node."""
    check_whole(folder, TRIALS)
    assert {event.failure for event in failures(folder)} <= {"preempted"}
    assert not any(isinstance(event, TrialFailed) for event in read_log(folder / LOG_FILE))


def test_a_node_whose_network_is_cut_costs_no_trial_and_its_workers_are_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with cluster_of({2: 2, 3: 2}, {}, tmp_path) as network, search(network, folder) as running:
        wait_until(lambda: epochs_reported(folder) > 8, 120)
        network.cut(3)  # its workers go on training for a while, into the folder that all share
        wait_until(lambda: len(failures(folder)) > 0, 120)
        network.mend(3)  # what they say now is too late
        _, error = running.communicate()
    assert running.returncode == 0, error
    check_ended_well(folder)
    restarted = [
        event for event in read_log(folder / LOG_FILE) if isinstance(event, AttemptStarted) and event.attempt > 1
    ]
    assert {event.trial for event in restarted} >= {event.trial for event in failures(folder)}


def test_a_loose_cable_costs_no_trial(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with cluster_of({2: 2, 3: 2}, {}, tmp_path) as network, search(network, folder) as running:
        wait_until(lambda: epochs_reported(folder) > 4, 120)
        for _ in range(4):
            network.cut(3)
            time.sleep(1.5)  # less than makes a node dead
            network.mend(3)
            time.sleep(2)
        _, error = running.communicate()
    assert running.returncode == 0, error
    check_ended_well(folder)


def test_a_slow_node_holds_nobody_up_and_what_it_trains_counts(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with cluster_of({2: 1, 3: 1}, {3: 4.0}, tmp_path) as network, search(network, folder) as running:
        _, error = running.communicate()
    assert running.returncode == 0, error
    check_ended_well(folder)
    assert failures(folder) == []
    paces = {path.read_text().splitlines()[0] for path in (folder / "trials").glob("*/nodes")}
    assert paces == {"0.5", "4.0"}
