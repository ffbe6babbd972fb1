"""What an audit passes, and every kind of tampering that it finds."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.event_records import event_to_record
from analysis.events import Event, TrialFailed
from analysis.log import LOG_FILE, read_log
from analysis.trials import fold_trials
from tests.tune_gate.tampering import TAMPERINGS, at_rung, changed, continues, drawn_by_tpe, first
from tests.tune_gate.virtual_cluster import Cluster, metrics_of, run_killed
from tune_gate.budget import extend_study, plan_extension
from tune_gate.cli import main
from tune_gate.lock import hold
from tune_gate.search import Search
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import checkpoint_folder, create_study
from tune_gate.verify import verify_log, verify_study

SPEC = study_spec(
    {
        "trials": 12,
        "epochs": 9,
        "scheduler": {"kind": "asha"},
        "sampler": {"kind": "tpe", "startup": 4},
        "trainable": "tests.tune_gate.curve_trainable:CurveTrainable",
    }
)


def run_with_kills(spec: StudySpec, folder: Path, workers: int, seed: int, kills: list[int]) -> None:
    order = random.Random(seed)
    run_killed(spec, folder, kills, workers, order)
    Cluster(spec, folder, workers=workers, order=order).run(stop_after=5)
    Cluster(spec, folder, workers=workers, order=order).run()


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """A finished study of several workers, killed twice and interrupted once."""
    folder = tmp_path_factory.mktemp("study")
    run_with_kills(SPEC, folder, 3, 0, [9, 17])
    return read_log(folder / LOG_FILE)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    workers=st.integers(1, 5),
    kills=st.lists(st.integers(1, 30), max_size=3),
    kind=st.sampled_from(["tpe", "tpe-rung", "random"]),
)
def test_a_search_that_was_killed_and_resumed_has_no_differences(
    seed: int, workers: int, kills: list[int], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = study_spec({"trials": 9, "epochs": 9, "seed": seed, "sampler": {"kind": kind, "startup": 3}})
    folder = tmp_path_factory.mktemp("study")
    run_with_kills(spec, folder, workers, seed, kills)
    assert verify_log(spec, read_log(folder / LOG_FILE)) == []


def test_every_prefix_of_a_log_is_clean(events: list[Event]) -> None:
    for size in range(0, len(events), 7):
        assert verify_log(SPEC, events[:size]) == []


def test_an_extended_study_is_clean(tmp_path: Path) -> None:
    create_study(SPEC, tmp_path / "study")
    Cluster(SPEC, tmp_path / "study").run()
    extend_study(tmp_path / "study", plan_extension(tmp_path / "study", trials=15, epochs=30).budget)
    Cluster(SPEC, tmp_path / "study", workers=3).run()
    assert verify_log(SPEC, read_log(tmp_path / "study" / LOG_FILE)) == []


def test_failures_and_epochs_done_again_are_clean(tmp_path: Path) -> None:
    search = Search(SPEC, tmp_path, clock=lambda: 0.0)
    search.begin("host", 1, {})
    for attempt, epochs in enumerate([(1, 2, 3), (3, 4), (2,)], start=1):  # from older checkpoints than the newest
        assignment = search.next_assignment()
        assert assignment is not None
        for epoch in epochs:
            search.report(1, attempt, epoch, metrics_of(assignment.settings, epoch))
        search.fail(1, attempt, "lost", "the node died")
    assert search.trials[1].state == "waiting"
    search.next_assignment()
    search.fail(1, 4, "error", "ValueError: boom")
    assert search.trials[1].state == "failed"
    search.end("Ray is gone")
    found = read_log(tmp_path / LOG_FILE)
    assert verify_log(SPEC, found) == []


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(events: list[Event], name: str) -> None:
    tamper, message = TAMPERINGS[name]
    found = verify_log(SPEC, tamper(events))
    assert any(re.search(message, str(difference)) for difference in found), [str(each) for each in found]


def test_a_trial_given_up_without_cause_is_found(events: list[Event]) -> None:
    index = first(events, continues)
    trial = getattr(events[index], "trial", 0)
    found = verify_log(SPEC, [*events[: index + 1], TrialFailed(0.0, trial, "I say so")])
    assert [str(each) for each in found] == [
        f"line {index + 3}: trial {trial} was given up after 0 failures in a row; 2 retries were allowed"
    ]


def test_a_single_change_is_told_at_its_line_and_does_not_make_everything_after_it_differ(events: list[Event]) -> None:
    index = first(events, at_rung)
    tampered = changed(at_rung, rung=lambda e: replace(e.rung, rank=17))(events)
    assert [each.line for each in verify_log(SPEC, tampered)] == [index + 2]


def write_study(folder: Path, events: list[Event], spec: StudySpec = SPEC) -> Path:
    create_study(spec, folder)
    lines = [{"event": "log", "schema": 1}, *map(event_to_record, events)]
    (folder / "log").mkdir()
    (folder / LOG_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@dataclass(frozen=True)
class Said:
    """What a command left."""

    code: int
    out: str
    err: str


def tune_gate(*arguments: object) -> Said:
    """Run the command line in this process."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["tune-gate", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
    return Said(int(caught.value.code or 0), out.getvalue(), err.getvalue())


@pytest.mark.filterwarnings("ignore:the log")
def test_the_command_says_what_differs_and_exits_1(tmp_path: Path, events: list[Event]) -> None:
    study = write_study(tmp_path / "study", changed(drawn_by_tpe, seed=1)(events))
    with (study / LOG_FILE).open("a") as log:
        log.write('{"event": "from_the_future"}\n')
    result = tune_gate("verify", study)
    assert result.code == 1
    line = first(events, drawn_by_tpe) + 2
    lines = result.out.splitlines()
    assert lines[0].startswith(f"line {line}: trial")
    assert lines[-1].endswith("; 1 difference")


def test_checkpoints_of_other_trainables_and_of_running_studies_are_left_alone(
    tmp_path: Path, events: list[Event]
) -> None:
    study = write_study(tmp_path / "study", events)
    found = verify_study(study)
    assert not found.differences
    assert "has a format of its own" in found.notes[0]
    assert found.summary.endswith("nothing differs")
    with hold(study):
        assert "is at work on them" in verify_study(study).notes[0]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A study of two trials with real checkpoints: the first is complete, the second rests before its last epoch."""
    from trainables.checkpoints import CheckpointFolder
    from trainables.config import trial_config
    from trainables.device import cpu
    from trainables.training import start_run

    spec = study_spec(
        {
            "trials": 2,
            "epochs": 2,
            "space": {"lr": {"log-float": [0.01, 0.4]}},
            "scheduler": {"kind": "full"},
            "config": {"data": "digits", "depth": 14},
        }
    )
    study = tmp_path / "trained"
    create_study(spec, study)
    search = Search(spec, study, clock=lambda: 0.0)
    search.begin("host", 1, {})
    for epochs in (2, 1):
        assignment = search.next_assignment()
        assert assignment is not None
        run = start_run(trial_config(assignment.settings), cpu())
        folder = CheckpointFolder(checkpoint_folder(study, assignment.trial))
        for epoch in range(1, epochs + 1):
            run.epoch = run.best_epoch = epoch
            folder.save(run)
            if assignment.trial == 2 and epoch == epochs:
                search.request_stop()
            search.report(assignment.trial, 1, epoch, metrics_of(assignment.settings, epoch))
    search.end()
    return study


def test_checkpoints_are_loaded_and_compared(trained: Path) -> None:
    assert [trial.state for trial in fold_trials(read_log(trained / LOG_FILE)).values()] == ["completed", "waiting"]
    found = verify_study(trained)
    assert (found.differences, found.notes, found.checkpoints) == ((), (), 3)

    one, two = (checkpoint_folder(trained, trial) for trial in (1, 2))
    newest = (two / "epoch-0001.pt").read_bytes()
    (two / "epoch-0001.pt").write_bytes(newest[:1000])
    damaged, nothing_left = verify_study(trained).differences
    assert str(damaged) == f"{two / 'epoch-0001.pt'} is damaged, or is no checkpoint (RuntimeError)"
    assert "it would begin again" in str(nothing_left)

    (two / "epoch-0001.pt").write_bytes((one / "epoch-0001.pt").read_bytes())
    assert "trial 2 has" in str(verify_study(trained).differences[0])

    for path in two.glob("epoch-*.pt"):
        path.unlink()
    assert "it would begin again" in str(verify_study(trained).differences[0])

    (two / "epoch-0001.pt").write_bytes(newest)
    (one / "best.pt").unlink()
    found = verify_study(trained)
    assert not found.differences
    assert found.notes == ("ended trials of which no best model is kept: 1",)


def test_ten_thousand_events_are_verified_within_seconds(tmp_path: Path) -> None:
    spec = study_spec({"trials": 100, "epochs": 400, "scheduler": {"rungs": [90, 200]}})
    Cluster(spec, tmp_path, workers=4).run()
    found = read_log(tmp_path / LOG_FILE)
    assert len(found) > 10_000
    start = time.perf_counter()
    assert verify_log(spec, found) == []
    assert time.perf_counter() - start < 15  # about 3 s here
