"""A search on a real Ray whose study lies in an object store, and whose machine is lost."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.errors import AnalysisError
from analysis.events import AttemptStarted, EpochReported, Event, SessionStarted, TrialSuggested
from analysis.holders import read_claim
from analysis.objects import open_store
from analysis.study import open_study
from analysis.trials import Trial
from tests.tune_gate.s3_server import credentials, s3_server
from tune_gate.api import resume
from tune_gate.verify import verify_study
from tune_gate.working_copy import CACHE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
TRIALS, EPOCHS = 5, 9


@pytest.fixture
def url() -> Iterator[str]:
    with s3_server() as endpoint, credentials():
        yield f"s3://bucket/studies/night?endpoint_override={endpoint}&scheme=http"


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_search_whose_machine_is_lost_goes_on_from_the_store(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "first machine"))
    settings = {
        "trials": TRIALS,
        "epochs": EPOCHS,
        "scheduler.kind": "asha",  # whose first trial is soon in its middle
        "scheduler.rungs": "[3]",
        "sampler.startup": 3,
        "trainable": "tests.tune_gate.troublesome:Slow",
        "resources.local_cpus": 2,
    }
    changes = [f"--set={name}={value}" for name, value in settings.items()]
    search = subprocess.Popen(
        [sys.executable, "-m", "tune_gate", "launch", "--dir", url, *changes],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: search.poll() is not None or is_on_its_way(events_at(url)))
    assert search.poll() is None
    claim = read_claim(open_store(url))
    assert claim is not None
    search.kill()
    search.wait()
    os.killpg(claim.holder.pid, signal.SIGKILL)  # the driver, and its Ray
    shutil.rmtree(tmp_path / "first machine", ignore_errors=True)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "second machine"))
    before = events_at(url)

    outcome = resume(url)
    assert outcome.ended == "finished"
    events = events_at(url)
    assert events[: len(before)] == before
    assert sum(isinstance(event, SessionStarted) for event in events) == 2
    assert sum(isinstance(event, TrialSuggested) for event in events) == TRIALS
    went_on = {event.trial for event in events[len(before) :] if isinstance(event, AttemptStarted)}
    assert went_on & in_their_middle(before)
    for trial in open_study(url).records.values():
        assert list(trial.reports) == list(range(1, trial.epoch + 1))
        assert [report.metrics["val_acc"] for report in trial.reports.values()] == pytest.approx(curve(trial))
    verified = verify_study(Path(url))
    assert verified.differences == ()
    stored = {entry.key for entry in open_store(url).objects()}
    assert "exports/best.csv" in stored
    assert any(key.startswith("trials/") for key in stored)


def events_at(url: str) -> list[Event]:
    with contextlib.suppress(AnalysisError):
        return open_study(url).events
    return []


def is_on_its_way(events: list[Event]) -> bool:
    """Whether a trial is in its middle, and another waits at a rung or has ended."""
    held = any(isinstance(event, EpochReported) and event.action != "continue" for event in events)
    return held and bool(in_their_middle(events))


def in_their_middle(events: list[Event]) -> set[int]:
    """The trials that were being trained after their second epoch or a later one."""
    last = {event.trial: event for event in events if isinstance(event, EpochReported)}
    return {trial for trial, event in last.items() if event.action == "continue" and event.epoch >= 2}


def curve(trial: Trial) -> list[float]:
    """What `CurveTrainable` reports when each epoch goes on from the one before."""
    state, values = trial.seed, []
    plateau = 0.9 - 0.08 * abs(math.log10(trial.settings["lr"]) + 1) - 0.02 * trial.settings["gate_iters"]
    for epoch in range(1, trial.epoch + 1):
        generator = random.Random(state)
        state = generator.randrange(2**32)
        values.append(plateau * (1 - math.exp(-epoch / 3)) + 0.01 * generator.random())
    return values


def wait_until(condition: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
