"""What a search would cost: epochs, and room on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.event_records import event_to_record
from tests.tune_gate.random_logs import Chaos
from trainables.checkpoints import CheckpointFolder
from trainables.config import trial_config
from trainables.device import cpu
from trainables.measure import measure_epoch
from trainables.training import start_run, train
from tune_gate.plan import disk_plan, size_text
from tune_gate.spec import study_spec


def test_room_is_for_live_trials_the_best_of_the_ended_ones_and_the_log() -> None:
    spec = study_spec(
        {"trials": 100, "epochs": 27, "scheduler": {"kind": "asha"}, "checkpoints": {"keep": 3, "best": 4}}
    )
    plan = disk_plan(spec, checkpoint_bytes=1000, slots=2, epochs=600)
    assert (plan.live, plan.ended) == (2 * 6 * 1000, 4 * 6 * 1000)
    assert plan.total == plan.live + plan.ended + plan.log


def test_no_more_trials_are_counted_than_there_are() -> None:
    plan = disk_plan(study_spec({"trials": 3}), checkpoint_bytes=1000, slots=8, epochs=30)
    assert (plan.live, plan.ended) == (3 * 4 * 1000, 3 * 4 * 1000)


def test_trials_that_wait_for_promotion_are_live() -> None:
    spec = study_spec({"trials": 20, "epochs": 9, "scheduler": {"kind": "promotion"}})
    assert disk_plan(spec, 1000, slots=2, epochs=60).live == 20 * 4 * 1000


def test_a_real_trial_takes_no_more_room_than_planned(tmp_path: Path) -> None:
    config = trial_config({"data": "digits", "epochs": 5, "depth": 14})
    measured = measure_epoch(config, 1.0, 0.0)
    assert measured.seconds > 0
    folder = CheckpointFolder(tmp_path, keep=2)
    run = start_run(config, cpu())
    largest = 0
    for _ in train(run):
        folder.save(run)
        files = {path.stat().st_ino: path.stat().st_size for path in tmp_path.iterdir()}
        largest = max(largest, sum(files.values()))
    spec = study_spec({"trials": 1, "epochs": 5, "config": {"depth": 14}})
    assert largest <= 1.01 * disk_plan(spec, measured.checkpoint_bytes, slots=1, epochs=5).live


def test_the_log_takes_about_as_much_as_planned() -> None:
    spec = study_spec({"trials": 7, "epochs": 9})
    chaos = Chaos(spec, seed=0)
    chaos.session(200)
    size = sum(len(json.dumps(event_to_record(event))) for event in chaos.events)
    reports = sum(event.kind == "epoch" for event in chaos.events)
    assert disk_plan(spec, 0, slots=1, epochs=reports).log > size


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (25_000, "25 kB"), (3.2e9, "3.2 GB"), (5e13, "50 TB")],
)
def test_sizes_in_words(size: float, text: str) -> None:
    assert size_text(size) == text
