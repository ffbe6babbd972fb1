"""A promotion search on a real Ray: its driver is killed, and trials that pause go on from where they paused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.events import AttemptStarted, EpochReported, Event, SessionStarted, TrialPromoted
from analysis.log import LOG_FILE, read_log
from analysis.trials import fold_trials
from tune_gate.api import resume
from tune_gate.lock import current_holder
from tune_gate.study_dir import read_spec
from tune_gate.verify import verify_log

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 9

STUDY = f"""
trials: {TRIALS}
epochs: 9
scheduler: {{kind: promotion, grace_period: 1}}
sampler: {{startup: 3}}
trainable: tests.tune_gate.troublesome:Slow
checkpoints: {{best: 1}}
resources: {{local_cpus: 2, concurrency: 2}}
"""


@pytest.mark.slow
def test_a_search_whose_processes_are_killed_promotes_from_checkpoints_and_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "study"
    (tmp_path / "study.yaml").write_text(STUDY)
    process = subprocess.Popen(
        [sys.executable, "-m", "tune_gate", "launch", str(tmp_path / "study.yaml"), "--dir", str(folder)],
        cwd=tmp_path, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: any(isinstance(event, TrialPromoted) for event in read_log(folder / LOG_FILE)))
    finally:
        process.kill()  # the supervisor first, which would replace the driver
        process.wait()
        os.kill(json.loads((folder / "driver.lock").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: current_holder(folder) is None)
    paused = [trial for trial in fold_trials(read_log(folder / LOG_FILE)).values() if trial.state == "paused"]

    assert resume(folder).ended == "finished"
    events = read_log(folder / LOG_FILE)
    trials = fold_trials(events)
    assert len(trials) == TRIALS
    assert {trial.state for trial in trials.values()} == {"completed", "stopped"}
    assert all(trials[trial.number].ended for trial in paused)
    assert sum(isinstance(event, SessionStarted) for event in events) == 2
    assert verify_log(read_spec(folder), events) == []
    assert_goes_on_where_it_paused(events)
    assert len(list((folder / "trials").iterdir())) == 1  # those that never went on lose their checkpoints, too


def assert_goes_on_where_it_paused(events: list[Event]) -> None:
    """Each attempt begins after the last epoch reported, so that no epoch is reported twice."""
    reports = [event for event in events if isinstance(event, EpochReported)]
    starts = {(event.trial, event.attempt): event.from_epoch for event in events if isinstance(event, AttemptStarted)}
    first: dict[tuple[int, int], int] = {}
    for report in reports:
        first.setdefault((report.trial, report.attempt), report.epoch)
    assert all(epoch == starts[place] + 1 for place, epoch in first.items())
    seen = [(report.trial, report.epoch) for report in reports]
    assert len(seen) == len(set(seen))


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
