"""A small study on disk, written by hand: every way in which a trial can end, and epochs that were redone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from analysis.event_records import event_to_record
from analysis.events import (
    Action,
    AttemptFailed,
    AttemptStarted,
    EpochReported,
    Event,
    RungEntry,
    SessionEnded,
    SessionStarted,
    TrialFailed,
    TrialSuggested,
    Warned,
)
from analysis.log import LOG_FILE, header_line
from analysis.study import Study, open_study

START = 1_700_000_000.0

STUDY = {
    "schema": 1,
    "created": "2026-01-02T03:04:05+00:00",
    "versions": {"tune-gate": "0.1.0"},
    "git_commit": None,
    "base_config": {"data": "digits", "lr": 0.1, "gate": "entropy", "kappa": 1.0, "epochs": 27, "seed": 0},
    "spec": {
        "name": "small_study",
        "seed": 5,
        "trials": 8,
        "epochs": 9,
        "metric": "val_acc",
        "config": {"data": "synthetic"},
        "space": {
            "lr": {"log_uniform": [0.001, 1.0]},
            "gate": ["entropy", "none"],
            "kappa": {"uniform": [1.0, 4.0], "when": {"gate": "entropy"}},
        },
        "scheduler": {"kind": "asha", "reduction_factor": 3, "rungs": [3]},
        "sampler": {"kind": "random"},
        "resources": {"cpus": 2.0, "gpus": 0.5},
    },
}


def suggested(trial: int, **settings: Any) -> TrialSuggested:
    return TrialSuggested(START + trial, trial, settings, seed=100 + trial, source="random")


def reported(trial: int, epoch: int, accuracy: float, action: Action = "continue", attempt: int = 1) -> EpochReported:
    metrics = {
        "val_acc": accuracy,
        "val_loss": float("nan") if action == "diverge" else 1.0 - accuracy,
        "seconds": 36.0,
        "lr": 0.1,
        "diverged": float(action == "diverge"),
        "val_images": 500.0,
    }
    rung = RungEntry(3, accuracy, 0.5, rank=1, peers=3, survivors=1) if epoch == 3 else None
    return EpochReported(START + 10 * epoch, trial, attempt, epoch, metrics, action, rung)


def started(trial: int, attempt: int = 1, from_epoch: int = 0) -> AttemptStarted:
    return AttemptStarted(START, trial, attempt, from_epoch)


def small_events() -> list[Event]:
    lost = "the node left"
    return [
        SessionStarted(START, 1, "host", 42, {"ray": "2.60.0"}),
        *(suggested(trial, lr=0.1 * trial, gate="entropy", kappa=1.0 + trial) for trial in (1, 2, 3, 4, 5)),
        suggested(6, lr=0.6, gate="none"),
        suggested(7, lr=0.7, gate="none"),
        *(started(trial) for trial in (1, 2, 3, 4, 5, 6)),
        *(reported(1, epoch, 0.1 * epoch, "complete" if epoch == 9 else "continue") for epoch in range(1, 10)),
        reported(2, 1, 0.3),
        reported(2, 2, 0.4),
        reported(2, 3, 0.35, "stop"),
        reported(3, 1, 0.95),
        reported(3, 2, 0.0, "diverge"),
        reported(4, 1, 0.2),
        AttemptFailed(START, 4, 1, "error", "CUDA out of memory", "Traceback"),
        started(4, 2, 1),
        AttemptFailed(START, 4, 2, "error", "CUDA out of memory", "Traceback"),
        TrialFailed(START, 4, "2 attempts failed"),
        reported(5, 1, 0.5),
        reported(5, 2, 0.4),
        *(reported(6, epoch, 0.1 * epoch) for epoch in range(1, 6)),
        AttemptFailed(START, 6, 1, "lost", lost),
        Warned(START, "a node left", 6),
        started(6, 2, 3),
        *(
            reported(6, epoch, 0.1 * epoch, "complete" if epoch == 9 else "continue", attempt=2)
            for epoch in range(4, 10)
        ),
        SessionEnded(START, 1, "interrupted"),
    ]


def log_bytes(events: Iterable[Event]) -> bytes:
    lines = (json.dumps(event_to_record(event), allow_nan=False).encode() + b"\n" for event in events)
    return header_line() + b"".join(lines)


WriteStudy = Callable[..., Path]


@pytest.fixture
def write_study(tmp_path: Path) -> WriteStudy:
    """Writes a study folder with the given log and returns its path."""

    def write(log: bytes, folder: str = "study", study: object = STUDY) -> Path:
        path = tmp_path / folder
        (path / LOG_FILE).parent.mkdir(parents=True)
        (path / "study.json").write_text(json.dumps(study))
        (path / LOG_FILE).write_bytes(log)
        return path

    return write


@pytest.fixture
def events() -> list[Event]:
    return small_events()


@pytest.fixture
def encode() -> Callable[[Iterable[Event]], bytes]:
    return log_bytes


@pytest.fixture
def study(write_study: WriteStudy) -> Study:
    return open_study(write_study(log_bytes(small_events())))
