"""Checkpoints of live trials and of the best ended ones stay; the rest go."""

from __future__ import annotations

from pathlib import Path

from analysis.events import EpochReported
from analysis.trials import Trial, TrialState
from tune_gate.retention import Retention
from tune_gate.study_dir import checkpoint_folder


def trial(study: Path, number: int, state: TrialState, val_acc: float) -> Trial:
    folder = checkpoint_folder(study, number)
    folder.mkdir(parents=True)
    (folder / "best.pt").touch()
    report = EpochReported(0.0, number, 1, 1, {"val_acc": val_acc}, "continue")
    return Trial(number, {}, 0, "random", 0.0, state, reports={1: report})


def test_the_best_ended_and_all_live_trials_keep_theirs(tmp_path: Path) -> None:
    trials = [
        trial(tmp_path, 1, "completed", 0.7),
        trial(tmp_path, 2, "stopped", 0.8),
        trial(tmp_path, 3, "completed", 0.9),
        trial(tmp_path, 4, "running", 0.1),
        trial(tmp_path, 5, "waiting", 0.1),
        trial(tmp_path, 6, "diverged", 0.99),
        trial(tmp_path, 7, "failed", 0.99),
        trial(tmp_path, 8, "paused", 0.1),
    ]
    Retention(tmp_path, "val_acc", 2, trials)
    left = sorted(int(folder.name) for folder in (tmp_path / "trials").iterdir())
    assert left == [2, 3, 4, 5, 8]


def test_a_paused_trial_keeps_its_own_until_it_is_retired(tmp_path: Path) -> None:
    best, paused = trial(tmp_path, 1, "completed", 0.9), trial(tmp_path, 2, "paused", 0.5)
    retention = Retention(tmp_path, "val_acc", 1, [best, paused])
    paused.state = "stopped"
    for _ in range(2):  # an ended trial counts once
        retention.take_in([best, paused])
        retention.sweep()
        assert [folder.name for folder in (tmp_path / "trials").iterdir()] == ["0001"]


def test_a_better_trial_takes_the_place_of_the_worst(tmp_path: Path) -> None:
    retention = Retention(tmp_path, "val_acc", 2)
    for number, val_acc in enumerate([0.5, 0.9, 0.7, 0.6, 0.7], start=1):
        retention.take_in([trial(tmp_path, number, "completed", val_acc)])
        assert (checkpoint_folder(tmp_path, number)).exists()  # until the log is on the disk
    retention.sweep()
    assert sorted(int(folder.name) for folder in (tmp_path / "trials").iterdir()) == [2, 3]
