"""Whole searches on a real Ray of this machine: supervisor, driver process, workers, and what may happen to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from analysis.events import AttemptFailed, EpochReported, SessionStarted, TrialSuggested
from analysis.log import LOG_FILE, read_log
from analysis.trials import fold_trials
from tests.tune_gate.virtual_cluster import essence
from tune_gate import heartbeat
from tune_gate.api import launch, resume
from tune_gate.budget import extend_study, plan_extension
from tune_gate.errors import Misuse
from tune_gate.lock import current_holder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _workers_find_the_trainables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def spec(trainable: str, **changes: Any) -> dict[str, Any]:
    module = "curve_trainable" if trainable == "CurveTrainable" else "troublesome"
    return {
        "trials": 5,
        "epochs": 9,
        "scheduler": {"rungs": [3], "probe": {"share": 0.5}},  # the trouble is made after the first epoch
        "sampler": {"startup": 3},
        "trainable": f"tests.tune_gate.{module}:{trainable}",
        "resources": {"local_cpus": 2},
        **changes,
    }


def one_at_a_time() -> dict[str, Any]:
    return {"resources": {"local_cpus": 1, "concurrency": 1}}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The events of an undisturbed search, one trial at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        folder = tmp_path_factory.mktemp("whole") / "study"
        outcome = launch(spec("CurveTrainable", **one_at_a_time()), folder)
    assert outcome.ended == "finished"
    return essence(read_log(folder / LOG_FILE))


def test_a_search_with_two_workers_ends_with_every_trial_and_a_table(tmp_path: Path) -> None:
    outcome = launch(spec("SeesWhoListens"), tmp_path / "study")
    trials = outcome.study.trials
    assert outcome.ended == "finished"
    assert len(trials) == 5
    assert set(trials["state"]) <= {"completed", "stopped"}
    assert {path.name for path in outcome.written} == {"best.csv", "best.md", "best-config.yaml"}
    assert current_holder(tmp_path / "study") is None
    found = {line for path in tmp_path.glob("study/trials/*/listening") for line in path.read_text().splitlines()}
    assert {"gcs_server", "raylet"} <= {line.split()[0] for line in found}
    assert all(line.endswith(("127.0.0.1", " ::1")) for line in found), found


def test_a_real_search_on_digits_trains_and_keeps_checkpoints(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    outcome = launch({"trials": 2, "epochs": 2, "scheduler": {"kind": "full"}}, folder)
    epochs = outcome.study.epochs
    assert outcome.ended == "finished"
    assert len(epochs) == 4
    assert epochs["val_acc"].between(0.0, 1.0).all()
    assert {"val_gate_loss", "gate_mean", "gate_q50", "lr", "lr_gate", "images_per_second"} <= set(epochs.columns)
    assert {path.name for path in (folder / "trials" / "0001").iterdir()} == {
        "best.pt",
        "epoch-0001.pt",
        "epoch-0002.pt",
    }


def test_data_that_cannot_be_read_stop_the_launch_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="no/such"):
        launch({"trials": 2, "epochs": 2, "config": {"data": "npz:no/such.npz"}}, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_an_unknown_gate_stops_the_launch(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="unknown gate 'entrpy'; did you mean 'entropy'"):
        launch({"trials": 2, "epochs": 2, "config": {"gate": "entrpy"}}, tmp_path / "study")


def test_a_request_that_no_node_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="no node of the cluster can hold a trial of 1 CPUs and 1 GPUs"):
        launch(spec("CurveTrainable", resources={"gpus": 1.0, "local_gpus": 0}), tmp_path / "study")


@pytest.mark.slow
def test_fractions_of_a_gpu_are_shared(tmp_path: Path) -> None:
    resources = {"cpus": 0.5, "gpus": 0.5, "local_cpus": 2, "local_gpus": 1}
    outcome = launch(spec("CurveTrainable", resources=resources), tmp_path / "study")
    assert outcome.ended == "finished"


def test_a_driver_that_dies_is_replaced_and_the_study_is_the_same(
    tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    folder = tmp_path / "study"
    outcome = launch(spec("KillsItsDriver", **one_at_a_time()), folder)
    events = read_log(folder / LOG_FILE)
    assert outcome.ended == "finished"
    assert sum(isinstance(event, SessionStarted) for event in events) == 2
    assert essence(events) == uninterrupted


def test_a_trial_that_raises_goes_on_from_its_checkpoint(tmp_path: Path, uninterrupted: list[dict[str, Any]]) -> None:
    folder = tmp_path / "study"
    launch(spec("RaisesOnce", **one_at_a_time()), folder)
    events = read_log(folder / LOG_FILE)
    failed = [event for event in events if isinstance(event, AttemptFailed)]
    assert [(event.trial, event.failure, event.message) for event in failed] == [
        (2, "error", "ValueError: once is an accident")
    ]
    assert "before_epoch" in failed[0].traceback
    assert essence(events) == uninterrupted


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, uninterrupted: list[dict[str, Any]]) -> None:
    folder = tmp_path / "study"
    launch(spec("KillsItsWorker", **one_at_a_time()), folder)
    events = read_log(folder / LOG_FILE)
    assert [(event.trial, event.failure) for event in events if isinstance(event, AttemptFailed)] == [(2, "lost")]
    assert essence(events) == uninterrupted


@pytest.mark.slow
def test_a_driver_that_loses_its_node_gives_up_and_is_replaced(
    tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    folder = tmp_path / "study"
    launch(spec("KillsItsNode", **one_at_a_time()), folder)
    events = read_log(folder / LOG_FILE)
    assert sum(isinstance(event, SessionStarted) for event in events) == 2
    assert essence(events) == uninterrupted


@pytest.mark.slow
def test_a_driver_that_is_frozen_is_ended_and_replaced(
    tmp_path: Path, uninterrupted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 15.0)
    folder = tmp_path / "study"
    launch(spec("StopsItsDriver", **one_at_a_time()), folder)
    events = read_log(folder / LOG_FILE)
    assert sum(isinstance(event, SessionStarted) for event in events) == 2
    assert essence(events) == uninterrupted


@pytest.mark.slow
def test_a_trial_that_hangs_is_ended_and_goes_on(tmp_path: Path, uninterrupted: list[dict[str, Any]]) -> None:
    folder = tmp_path / "study"
    launch(spec("Hangs", **one_at_a_time(), failures={"silence": 15.0}), folder)
    events = read_log(folder / LOG_FILE)
    failed = [event for event in events if isinstance(event, AttemptFailed)]
    assert [(event.trial, event.failure) for event in failed] == [(2, "lost")]
    assert "no report for" in failed[0].message
    assert essence(events) == uninterrupted


@pytest.mark.slow
def test_a_finished_study_is_extended(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    launch(spec("CurveTrainable", trials=3), folder)
    extend_study(folder, plan_extension(folder, trials=4, epochs=12).budget)
    outcome = resume(folder)
    assert outcome.ended == "finished"
    assert len(outcome.study.trials) == 4
    assert outcome.study.trials["epochs"].max() == 12


@pytest.mark.slow
def test_a_trial_that_always_raises_is_given_up(tmp_path: Path) -> None:
    outcome = launch(spec("RaisesAlways"), tmp_path / "study")
    states = outcome.study.trials.set_index("trial")["state"]
    assert outcome.ended == "finished"
    assert states[2] == "failed"
    assert (states.drop(2) != "failed").all()


def test_ctrl_c_saves_and_resume_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    arguments = [f"--set=trainable={spec('Slow')['trainable']}", "--set=trials=6", "--set=epochs=9"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tune_gate", "launch", "--dir", str(folder), *arguments],
        stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wait_until(lambda: any(isinstance(event, EpochReported) for event in read_log(folder / LOG_FILE)))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 130
    assert f"tune-gate resume {folder}" in output
    trials = fold_trials(read_log(folder / LOG_FILE))
    assert not any(trial.state == "running" for trial in trials.values())
    assert len(trials) < 6 or any(trial.state == "waiting" for trial in trials.values())

    outcome = resume(folder)
    events = read_log(folder / LOG_FILE)
    reports = [(event.trial, event.epoch) for event in events if isinstance(event, EpochReported)]
    assert outcome.ended == "finished"
    assert len(reports) == len(set(reports))  # an epoch that was saved is not trained again
    assert sum(isinstance(event, TrialSuggested) for event in events) == 6


def wait_until(condition: Any, seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
