"""Where a search stands, told from its log."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.events import (
    Action,
    AttemptFailed,
    AttemptStarted,
    BudgetExtended,
    EpochReported,
    Event,
    RungEntry,
    SessionEnded,
    SessionStarted,
    TrialFailed,
    TrialSuggested,
    Warned,
)
from analysis.statistics import wilson_interval
from tune_gate.budget import Budget
from tune_gate.display import status_view
from tune_gate.expectation import stretches
from tune_gate.progress import ProgressReader, clock, duration, short
from tune_gate.recorder import Recorder
from tune_gate.sections import SchedulerSettings
from tune_gate.spec import study_spec
from tune_gate.study_dir import create_study

EPOCHS = 9
SECONDS = 36.0  # of an epoch: a hundredth of an hour


def suggested(trial: int) -> TrialSuggested:
    return TrialSuggested(0.0, trial, {"lr": 0.1 * trial}, 1, "random")


def started(trial: int, attempt: int = 1, from_epoch: int = 0) -> AttemptStarted:
    return AttemptStarted(0.0, trial, attempt, from_epoch)


def reported(trial: int, epoch: int, value: float, action: Action = "continue", attempt: int = 1) -> EpochReported:
    metrics = {"val_acc": value, "seconds": SECONDS, "diverged": float(action == "diverge"), "val_images": 500.0}
    judged = epoch in (1, 3) and action != "diverge"
    rung = RungEntry(epoch, value, 0.25, rank=2, peers=4, survivors=1) if judged else None
    return EpochReported(0.0, trial, attempt, epoch, metrics, action, rung)


def run(trial: int, values: Sequence[float], end: Action = "continue") -> list[Event]:
    """A trial from its suggestion on, one epoch for each value; the last one is decided as `end`."""
    reports = [reported(trial, epoch, value) for epoch, value in enumerate(values[:-1], start=1)]
    return [suggested(trial), started(trial), *reports, reported(trial, len(values), values[-1], end)]


BEGUN = SessionStarted(0.0, 1, "host", 42)
RISING = [0.1 * epoch for epoch in range(1, EPOCHS + 1)]

#: One trial of each fate.
MIXED: list[Event] = [
    BEGUN,
    *run(1, RISING, "complete"),
    *run(2, [0.3, 0.5, 0.2], "stop"),
    *run(3, [0.95, 0.0], "diverge"),
    *run(4, [0.99]),
    AttemptFailed(0.0, 4, 1, "error", "boom"),
    TrialFailed(0.0, 4, "boom"),
    *run(5, [0.4, 0.5, 0.6, 0.6]),
    AttemptFailed(0.0, 5, 1, "lost", "the node left"),
    started(5, 2, 2),
    reported(5, 3, 0.65, attempt=2),
    suggested(6),
]


def study(folder: Path, events: Sequence[Event], **changes: Any) -> ProgressReader:
    spec = study_spec({"name": "night", "trials": 10, "epochs": EPOCHS, "scheduler": {"kind": "asha"}, **changes})
    if not folder.exists():
        create_study(spec, folder)
    with Recorder(folder) as recorder:
        for event in events:
            recorder.append(event)
    reader = ProgressReader(folder)
    reader.read()
    return reader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "study"


def test_a_new_study_stands_at_nothing(folder: Path) -> None:
    progress = study(folder, []).progress(alive=False)
    assert (progress.name, progress.wanted, progress.epochs, progress.ended) == ("night", 10, EPOCHS, 0)
    assert (progress.states, progress.running, progress.best, progress.hours) == ({}, (), None, 0.0)
    assert progress.session == "not started"
    assert [rung.milestone for rung in progress.rungs] == [1, 3]


def test_trials_are_counted_by_state(folder: Path) -> None:
    progress = study(folder, MIXED).progress(alive=True)
    assert progress.states == {
        "completed": 1, "stopped": 1, "diverged": 1, "failed": 1, "running": 1, "waiting": 1,
    }  # fmt: skip
    assert progress.ended == 4
    died = study(folder.with_name("died"), MIXED).progress(alive=False)
    assert (died.states["waiting"], died.states.get("running"), died.running) == (2, None, ())
    assert [(trial.number, trial.attempt, trial.epoch) for trial in progress.running] == [(5, 2, 3)]


def test_nothing_runs_where_no_driver_lives(folder: Path) -> None:
    assert study(folder, MIXED).progress(alive=False).running == ()


def test_the_best_is_of_a_trial_that_can_be_trusted(folder: Path) -> None:
    """Trials 3 and 4 were better before they diverged and failed."""
    best = study(folder, MIXED).progress(alive=True).best
    assert best is not None
    assert (best.trial, best.epoch, best.val_acc) == (1, 9, pytest.approx(0.9))
    low, high = wilson_interval(0.9, 500)
    assert (best.low, best.high) == pytest.approx((float(low), float(high)))


def test_of_equal_values_the_earliest_is_best(folder: Path) -> None:
    best = study(folder, [BEGUN, *run(1, [0.2, 0.5]), *run(2, [0.5]), *run(3, [0.5])]).progress(alive=True).best
    assert best is not None
    assert (best.trial, best.epoch) == (2, 1)


def test_redone_epochs_cost_hours_as_well(folder: Path) -> None:
    """Nine, three, two and one epochs; and the fifth trial's four, one of them twice."""
    epochs = 9 + 3 + 2 + 1 + 4 + 1
    progress = study(folder, MIXED).progress(alive=False)
    assert progress.hours == pytest.approx(epochs * 0.01)
    assert progress.device == "CPU"


@pytest.mark.parametrize(
    ("resources", "hours", "device"),
    [({"cpus": 4}, 0.36, "CPU"), ({"cpus": 4, "gpus": 0.5}, 0.045, "GPU"), ({"gpus": 2}, 0.18, "GPU")],
)
def test_hours_are_of_the_devices_that_a_trial_has(
    folder: Path, resources: dict[str, float], hours: float, device: str
) -> None:
    progress = study(folder, run(1, RISING, "complete"), resources=resources).progress(alive=False)
    assert (progress.hours, progress.device) == (pytest.approx(hours), device)


def test_rungs_tell_who_reached_them(folder: Path) -> None:
    rungs = study(folder, MIXED).progress(alive=True).rungs
    assert [(rung.milestone, rung.reached, rung.stopped, rung.best) for rung in rungs] == [
        (1, 5, 0, 0.99),
        (3, 4, 1, 0.6),  # the one that diverged at epoch 2 included; the first value of the fifth stands
    ]


def test_on_a_narrow_terminal_only_the_settings_give_way(folder: Path) -> None:
    long = {f"setting_{number}": 0.1 for number in range(12)}
    events = [BEGUN, TrialSuggested(0.0, 1, long, 1, "random"), started(1), reported(1, 1, 0.5)]
    console = Console(file=io.StringIO(), width=60)
    console.print(status_view(study(folder, events).progress(alive=True), "val_acc"))
    assert isinstance(console.file, io.StringIO)
    head, row = console.file.getvalue().splitlines()[-2:]
    assert head.split() == ["trial", "epoch", "val_acc", "settings"]
    assert row.split()[:3] == ["1", "1/9", "0.5000"]
    assert row.rstrip().endswith("…")


def test_no_estimate_before_three_trials_have_been_judged(folder: Path) -> None:
    two = [BEGUN, *run(1, [0.5] * 2), *run(2, [0.1], "stop"), suggested(3), started(3)]
    assert study(folder, two).progress(alive=True).seconds_left is None
    assert study(folder, [reported(3, 1, 0.1, "stop")]).progress(alive=True).seconds_left is not None
    assert study(folder, [reported(1, 3, 0.1, "stop")]).progress(alive=True).seconds_left is None  # none runs


@pytest.mark.parametrize(("kind", "held"), [("asha", "stop"), ("promotion", "pause")])
def test_the_estimate_is_of_the_epochs_that_are_left_at_the_pace_of_those_that_run(
    kind: str, held: Action, folder: Path
) -> None:
    scheduler = SchedulerSettings.model_validate({"kind": kind})
    plan = stretches(scheduler, Budget(10, EPOCHS, (1, 3)))
    judged = [*run(1, RISING, "complete"), *run(2, [0.1], held), *run(3, [0.1], held)]
    reader = study(folder, [BEGUN, *judged, *run(4, [0.5, 0.5]), *run(5, [0.5] * 7)], scheduler={"kind": kind})
    left = 5 * 1 + (plan[1].trials - 3) * 2 + 1 + max(0.0, plan[2].trials - 2) * 6 + 2
    assert reader.progress(alive=True).seconds_left == pytest.approx(left * SECONDS / 2)
    assert reader.progress(alive=False).seconds_left is None


def test_an_estimate_is_never_below_zero(folder: Path) -> None:
    events = [BEGUN, *(e for trial in (1, 2, 3) for e in run(trial, [0.1], "stop")), *run(4, [0.5] * 9)]
    assert study(folder, events, trials=4).progress(alive=True).seconds_left == 0.0


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ([], "died"),
        ([SessionEnded(0.0, 1, "finished")], "finished"),
        ([SessionEnded(0.0, 1, "interrupted")], "interrupted"),
        ([SessionEnded(0.0, 1, "failed", "no cluster")], "failed"),
        ([SessionEnded(0.0, 1, "interrupted"), SessionStarted(1.0, 2, "host", 43)], "died"),
    ],
)
def test_the_state_of_the_session(folder: Path, last: list[Event], state: str) -> None:
    reader = study(folder, [BEGUN, *run(1, [0.1]), *last])
    assert reader.progress(alive=False).session == state
    assert reader.progress(alive=True).session == "running"


def test_the_record_is_plain_json(folder: Path) -> None:
    record = study(folder, MIXED).progress(alive=True).to_record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["trials"] == {
        "wanted": 10, "ended": 4,
        "completed": 1, "stopped": 1, "diverged": 1, "failed": 1, "running": 1, "waiting": 1,
    }  # fmt: skip
    assert record["running"] == [{"trial": 5, "attempt": 2, "epoch": 3, "of": EPOCHS}]
    assert record["best"] == {"trial": 1, "epoch": 9, "val_acc": pytest.approx(0.9)}
    assert record["cpu_hours"] == pytest.approx(0.2)
    assert record["session"] == "running"
    empty = study(folder.with_name("empty"), []).progress(alive=False).to_record()
    assert json.loads(json.dumps(empty, allow_nan=False)) == empty
    assert empty["best"] is None


def test_a_reader_that_follows_the_log_stands_where_a_new_one_does(folder: Path) -> None:
    reader = study(folder, [])
    for event in MIXED:
        study(folder, [event])
        assert reader.read() == [event]
    assert reader.read() == []
    fresh = ProgressReader(folder)
    assert fresh.read() == MIXED
    assert reader.progress(alive=True) == fresh.progress(alive=True)


def test_a_line_that_is_being_written_is_waited_for(folder: Path) -> None:
    reader = study(folder, [BEGUN])
    log = folder / "log" / "events.jsonl"
    whole = log.read_bytes()
    study(folder, [suggested(1)])
    line = log.read_bytes()[len(whole) :]
    log.write_bytes(whole + line[:20])
    assert reader.read() == []
    log.write_bytes(whole + line)
    assert reader.read() == [suggested(1)]


def test_an_extension_moves_the_goal(folder: Path) -> None:
    reader = study(folder, [BEGUN, *run(1, RISING, "complete"), *run(2, [0.1], "stop")])
    assert reader.progress(alive=False).ended == 2
    study(folder, [BudgetExtended(0.0, 20, 30, (1, 3, 27))])
    reader.read()
    progress = reader.progress(alive=False)
    assert (progress.wanted, progress.epochs, progress.ended) == (20, 30, 1)
    assert [rung.milestone for rung in progress.rungs] == [1, 3, 27]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            TrialSuggested(0.0, 3, {"lr": 0.012345, "schedule": "cosine", "milestones": [0.4]}, 1, "tpe"),
            "trial 3 suggested (tpe): lr 0.0123, schedule cosine, milestones [0.4]",
        ),
        (started(3), None),
        (started(3, 2, 5), "trial 3 goes on after epoch 5 (attempt 2)"),
        (reported(3, 1, 0.5), None),
        (
            reported(3, 3, 0.2, "stop"),
            "trial 3 stopped at rung 3: 0.2000, rank 2 of 4 (best 1 go on, from 0.2500)",
        ),
        (
            reported(3, 3, 0.2, "pause"),
            "trial 3 paused at rung 3: 0.2000, rank 2 of 4 (best 1 go on, from 0.2500)",
        ),
        (
            replace(reported(3, 3, 0.2, "pause"), rung=RungEntry(3, 0.2, 0.2, rank=1, peers=1, survivors=0)),
            "trial 3 paused at rung 3: 0.2000, rank 1 of 1 (none goes on yet)",
        ),
        (reported(3, 9, 0.91236, "complete"), "trial 3 completed 9 epochs: 0.9124"),
        (reported(3, 2, 0.0, "diverge"), "trial 3 diverged at epoch 2"),
        (reported(3, 4, 0.5, "interrupt"), "trial 3 saved at epoch 4"),
        (AttemptFailed(0.0, 3, 2, "lost", "the node died"), "trial 3, attempt 2 lost: the node died"),
        (TrialFailed(0.0, 3, "3 attempts in a row failed"), "trial 3 given up: 3 attempts in a row failed"),
        (BudgetExtended(0.0, 20, 30, (1, 3)), "the budget is now 20 trials of up to 30 epochs"),
        (Warned(0.0, "a checkpoint was damaged", 3), "warning: a checkpoint was damaged"),
        (BEGUN, None),
        (SessionEnded(0.0, 1, "finished"), None),
    ],
)
def test_what_a_person_would_want_to_hear_of(folder: Path, event: Event, line: str | None) -> None:
    assert study(folder, []).describe(event) == line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_small_words() -> None:
    assert (short(0.000123456), short(3), short("cosine"), short(True)) == ("0.000123", "3", "cosine", "True")
    assert len(clock(0.0)) == len("00:00:00")
