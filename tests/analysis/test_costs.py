"""The ledger: its entries add up to what was allocated, whatever happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import LEDGER_PURPOSES, Study, ledger, open_study
from analysis.attempts import attempts_frame
from analysis.events import (
    AttemptFailed,
    AttemptStarted,
    BudgetExtended,
    EpochReported,
    Event,
    SessionEnded,
    SessionStarted,
    TrialPromoted,
    TrialRetired,
)
from tests.analysis.conftest import STUDY, log_bytes, reported, suggested

HOUR = 3600.0


def epoch(time: float, trial: int, number: int, seconds: float, action: str = "continue", attempt: int = 1) -> Event:
    report = reported(trial, number, 0.5, action, attempt)  # type: ignore[arg-type]
    return replace(report, time=time, metrics={**report.metrics, "seconds": seconds})


def timed_events() -> list[Event]:
    """Two slots for 100 s: one trial completes in 60 s, another loses its worker, and its next one is cut off."""
    return [
        SessionStarted(0.0, 1, "host", 1),
        replace(suggested(1, lr=0.1), time=0.0),
        replace(suggested(2, lr=0.2), time=0.0),
        AttemptStarted(0.0, 1, 1, 0),
        AttemptStarted(10.0, 2, 1, 0),
        epoch(20.0, 2, 1, 8.0),
        epoch(30.0, 2, 2, 10.0),
        AttemptFailed(37.0, 2, 1, "lost", "the node left"),
        AttemptStarted(40.0, 2, 2, 1),
        epoch(60.0, 1, 9, 55.0, "complete"),
        epoch(55.0, 2, 2, 12.0, attempt=2),
        epoch(100.0, 2, 3, 30.0, "stop", attempt=2),
        SessionEnded(100.0, 1, "finished"),
    ]


def folded(tmp_path: Path, events: Iterable[Event], gpus: float = 0.0) -> Study:
    folder = tmp_path / "timed"
    (folder / "log").mkdir(parents=True)
    spec = {**STUDY["spec"], "resources": {"cpus": 1.0, "gpus": gpus}}  # type: ignore[dict-item]
    (folder / "study.json").write_text(json.dumps({**STUDY, "spec": spec}))
    (folder / "log" / "events.jsonl").write_bytes(log_bytes(events))
    return open_study(folder)


def test_every_second_is_where_it_was_spent(tmp_path: Path) -> None:
    result = ledger(folded(tmp_path, timed_events()))
    seconds = {purpose: round(hours * HOUR, 6) for purpose, hours in result.totals.items()}
    assert seconds == {
        "useful": 55.0,
        "stopped": 8.0 + 12.0 + 30.0,
        "diverged": 0.0,
        "failed": 0.0,
        "unfinished": 0.0,
        "probes": 0.0,
        "redone": 10.0 + 7.0,  # the epoch done over, and what was lost after it
        "overhead": 5.0 + 2.0 + 18.0,  # of the first trial; of the second's two attempts
        "idle": 200.0 - 60.0 - 27.0 - 60.0,
    }
    assert result.unit == "CPU-hours"
    assert result.allocated == pytest.approx(200.0 / HOUR)


def test_what_was_saved_is_a_range(tmp_path: Path) -> None:
    saved = ledger(folded(tmp_path, timed_events(), gpus=0.5)).saved
    assert (saved.stopped, saved.epochs, saved.unknown) == (1, 6, 0)
    # its epochs took 8, 12 and 30 s; of one trial that went on, up to 79 % may diverge (Wilson)
    assert saved.low == pytest.approx(6 * 8.8 * 0.5 / HOUR * (1.0 - 3.8414588 / 4.8414588))
    assert saved.high == pytest.approx(6 * 26.4 * 0.5 / HOUR)


def test_a_killed_session_ends_with_its_last_event_and_loses_what_was_begun(tmp_path: Path) -> None:
    events = timed_events()[:8]
    events += [
        BudgetExtended(1000.0, 4, 9, (3,)),
        SessionStarted(2000.0, 2, "host", 2),
        AttemptStarted(2001.0, 1, 2, 0),
    ]
    attempts = attempts_frame(folded(tmp_path, events))
    killed = attempts[(attempts["trial"] == 1) & (attempts["attempt"] == 1)].iloc[0]
    assert (killed["held"], killed["lost"], killed["session"]) == (37.0, 37.0, 1)
    assert attempts["held"].tolist() == [37.0, 0.0, 27.0]


def test_epochs_agree_with_the_table_of_trials(study: Study) -> None:
    result = ledger(study)
    of_epochs = [purpose for purpose in LEDGER_PURPOSES if purpose not in ("overhead", "idle")]
    spent = sum(result.totals[purpose] for purpose in of_epochs)
    assert result.unit == "GPU-hours"
    # trials 3 and 6 carry parts of epochs lost with their workers beside what the table counts
    assert spent >= study.trials["gpu_hours"].sum() - 1e-12
    assert result.trials["state"].tolist() == study.trials["state"].tolist()


def test_of_an_imported_study_nothing_is_idle(tmp_path: Path) -> None:
    study = folded(tmp_path, timed_events())
    file = study.path / "study.json"
    imported = {"source": "csv:runs.csv", "runs": ["a", "b"]}
    file.write_text(json.dumps({**json.loads(file.read_text()), "imported": imported}))
    result = ledger(open_study(study.path))
    assert result.totals["idle"] == 0.0
    assert result.allocated * HOUR == pytest.approx(60.0 + 27.0 + 60.0)


def test_a_study_without_events(write_study: Callable[..., Path]) -> None:
    result = ledger(open_study(write_study(b"")))
    assert result.allocated == 0.0
    assert result.lines()[-1] == "no trial was stopped early: nothing was saved by it"


def test_a_trial_that_waits_has_spent_nothing(tmp_path: Path) -> None:
    result = ledger(folded(tmp_path, timed_events()[:2]))
    assert result.trials["total"].tolist() == [0.0]
    assert set(result.trials.drop(columns=["trial", "state"]).dtypes) == {np.dtype("float64")}


def test_a_paused_trial_holds_nothing_and_stays_stopped_where_it_is_retired(tmp_path: Path) -> None:
    """10 s of trial 1, then 30 s in which it pauses, then 20 s in which it goes on; trial 2 never does."""
    events = [
        SessionStarted(0.0, 1, "host", 1),
        replace(suggested(1, lr=0.1), time=0.0),
        replace(suggested(2, lr=0.2), time=0.0),
        AttemptStarted(0.0, 1, 1, 0),
        epoch(10.0, 1, 3, 10.0, "pause"),
        AttemptStarted(10.0, 2, 1, 0),
        epoch(40.0, 2, 3, 30.0, "pause"),
        TrialPromoted(40.0, 1, 3),
        AttemptStarted(40.0, 1, 2, 3),
        epoch(60.0, 1, 9, 20.0, "complete", attempt=2),
        TrialRetired(60.0, 2, 3),
        SessionEnded(60.0, 1, "finished"),
    ]
    result = ledger(folded(tmp_path, events))
    assert {purpose: round(hours * HOUR, 6) for purpose, hours in result.totals.items() if hours} == {
        "useful": 30.0,
        "stopped": 30.0,
    }
    assert result.allocated == pytest.approx(60.0 / HOUR)
    before = ledger(folded(tmp_path / "before", events[:7]))
    assert round(before.totals["unfinished"] * HOUR, 6) == 40.0


KINDS = st.sampled_from(
    ["start", "continue", "stop", "complete", "diverge", "fail", "end", "session", "pause", "promote", "retire"]
)
STEPS = st.lists(st.tuples(KINDS, st.integers(1, 4), st.floats(0.0, 50.0), st.floats(0.0, 80.0)), max_size=40)


def history(steps: list[tuple[str, int, float, float]]) -> list[Event]:
    """A log in which anything happens in any order; clocks only go forwards, `seconds` may exceed them."""
    now, sessions = 0.0, 1
    attempts, epochs = dict.fromkeys(range(1, 5), 1), dict.fromkeys(range(1, 5), 0)
    events: list[Event] = [SessionStarted(0.0, 1, "host", 1)]
    events += [replace(suggested(trial, lr=0.1), time=0.0) for trial in attempts]
    for kind, trial, pause, seconds in steps:
        now += pause
        match kind:
            case "start":
                attempts[trial] += 1
                epochs[trial] = max(0, epochs[trial] - 1)  # from a checkpoint before the last report
                events.append(AttemptStarted(now, trial, attempts[trial], epochs[trial]))
            case "fail":
                events.append(AttemptFailed(now, trial, attempts[trial], "lost", "gone"))
            case "end":
                events.append(SessionEnded(now, sessions, "interrupted"))
            case "promote":
                events.append(TrialPromoted(now, trial, 3))
            case "retire":
                events.append(TrialRetired(now, trial, 3))
            case "session":
                sessions += 1
                events.append(SessionStarted(now, sessions, "host", 1))
            case _:
                epochs[trial] += 1
                events.append(epoch(now, trial, epochs[trial], seconds, kind, attempts[trial]))
    return events


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_it_adds_up_whatever_happened(steps: list[tuple[str, int, float, float]], tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    events = history(steps)
    study = folded(tmp_path_factory.mktemp("any"), events)
    result = ledger(study)
    assert all(spent >= 0.0 for spent in result.totals.values())
    assert sum(result.totals.values()) == pytest.approx(result.allocated)
    assert result.trials["total"].sum() + result.totals["idle"] == pytest.approx(result.allocated)
    for purpose in result.totals:
        if purpose != "idle":
            assert result.trials[purpose].sum() == pytest.approx(result.totals[purpose])
    trained = sum(event.metrics["seconds"] for event in events if isinstance(event, EpochReported)) / HOUR
    assert trained <= result.allocated + 1e-9
    assert trained == pytest.approx(study.trials["cpu_hours"].sum())
    assert 0.0 <= result.saved.low <= result.saved.high
