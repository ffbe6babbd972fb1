"""Any prefix of any log folds, also one that is cut in the middle of a line; and folding on is folding the whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.events import Event
from analysis.frames import epochs_frame, trials_frame
from analysis.log import LOG_FILE, LogPosition, read_log, read_log_from
from analysis.study import open_study
from analysis.tables import best_table
from analysis.trials import TrialsFold, abandon, fold_trials
from tests.tune_gate.random_logs import EPOCHS, SPECS, TRIALS, Chaos, log_bytes, studies, with_repeats
from tune_gate.budget import budgets
from tune_gate.changes import current_spec
from tune_gate.deaths import DeathsFold
from tune_gate.progress import ProgressReader
from tune_gate.recorder import Fold, Recorder
from tune_gate.retention import Retention
from tune_gate.samplers import build_sampler
from tune_gate.schedulers import build_scheduler
from tune_gate.search import Search
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import checkpoint_folder, create_study
from tune_gate.verify import verify_log

Study = tuple[StudySpec, list[Event]]


def _rungs(scheduler: Any) -> object:
    metrics = {"val_acc": 0.4, "diverged": 0.0, "probe_val_acc": 0.5}
    decisions = [scheduler.decide(trial, epoch, metrics) for trial in (1, TRIALS + 9) for epoch in range(1, 30)]
    return scheduler.counts(), decisions


#: What a fold shows of itself; looking must not change it.
LOOKS: dict[str, tuple[Callable[[StudySpec], Fold], Callable[[Any], object]]] = {
    "trials": (lambda _: TrialsFold(), lambda fold: repr(fold.trials)),
    "scheduler": (build_scheduler, _rungs),
    "sampler": (build_sampler, lambda fold: [fold.suggest(number) for number in (1, TRIALS, TRIALS + 5)]),
    "deaths": (lambda _: DeathsFold(), lambda fold: (fold.in_a_row, fold.suspects(0), fold.suspects(2))),
}


def folded(name: str, spec: StudySpec, events: list[Event]) -> Any:
    fold = LOOKS[name][0](spec)
    for event in events:
        fold.apply(event)
    return fold


@pytest.mark.parametrize("name", LOOKS)
@settings(max_examples=10, deadline=None)
@given(study=studies(), share=st.floats(0, 1))
def test_folding_a_prefix_and_then_the_rest_is_folding_the_whole(name: str, study: Study, share: float) -> None:
    spec, events = study
    cut = int(share * len(events))
    look = LOOKS[name][1]
    fold = folded(name, spec, events[:cut])
    assert look(fold) == look(fold)
    for event in events[cut:]:
        fold.apply(event)
    assert look(fold) == look(folded(name, spec, events))


@settings(max_examples=20, deadline=None)
@given(study=studies(), share=st.floats(0, 1))
def test_a_log_cut_at_any_byte_is_the_log_of_its_whole_lines(
    study: Study, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _, events = study
    path = tmp_path_factory.mktemp("cut") / LOG_FILE
    path.parent.mkdir()
    data = log_bytes(events)
    cut = int(share * len(data))
    path.write_bytes(data[:cut])
    whole = max(0, data[:cut].count(b"\n") - 1)
    assert repr(read_log(path)) == repr(events[:whole])
    found, position = read_log_from(path, LogPosition())
    path.write_bytes(data)  # the writer goes on, and so does the reader
    assert repr(found + read_log_from(path, position)[0]) == repr(events)


@settings(max_examples=10, deadline=None)
@given(study=studies(), share=st.floats(0, 1))
def test_whatever_reads_a_study_can_read_it_cut_at_any_byte(
    study: Study, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec, events = study
    folder = tmp_path_factory.mktemp("studies") / "study"
    spec = create_study(spec, folder)
    path = folder / LOG_FILE
    path.parent.mkdir()
    data = log_bytes(events)
    path.write_bytes(data[: int(share * len(data))])
    reader = ProgressReader(folder)
    for event in reader.read():
        reader.describe(event)
    reader.progress(alive=True)
    prefix = read_log(path)
    trials = fold_trials(prefix)
    assert len(trials_frame(open_study(folder))) == len(trials)
    assert len(epochs_frame(open_study(folder))) == sum(len(trial.reports) for trial in trials.values())
    best_table(open_study(folder))
    budgets(spec, prefix)
    current_spec(spec, prefix)
    verify_log(spec, prefix)  # says what it finds, whatever it is

    path.write_bytes(data)
    reader.read()
    following = ProgressReader(folder)
    following.read()
    assert repr(reader.progress(alive=False)) == repr(following.progress(alive=False))
    _assert_frames_are_the_folds(folder, events)


def _assert_frames_are_the_folds(folder: Path, events: list[Event]) -> None:
    """The tables come by another way than the fold (in blocks, by columns), and must say the same."""
    trials = fold_trials(events)
    abandon(trials.values())  # nobody drives it
    study = open_study(folder)
    frame = trials_frame(study)
    assert list(frame["trial"]) == sorted(trials)
    assert list(frame["state"]) == [trials[number].state for number in sorted(trials)]
    assert list(frame["epochs"]) == [trials[number].epoch for number in sorted(trials)]
    epochs = epochs_frame(study)
    recorded = [
        (number, epoch, report.attempt, report.action, report.metrics["val_acc"])
        for number in sorted(trials)
        for epoch, report in trials[number].reports.items()
    ]
    columns = ["trial", "epoch", "attempt", "action", "val_acc"]
    pd.testing.assert_frame_equal(
        epochs[columns].reset_index(drop=True),
        pd.DataFrame(recorded, columns=columns).astype({name: epochs[name].dtype for name in columns}),
    )


@settings(max_examples=12, deadline=None)
@given(study=studies(), share=st.floats(0, 1), torn=st.integers(0, 40))
def test_a_search_goes_on_from_any_prefix(
    study: Study, share: float, torn: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was the last thing to be written, the next session begins and hands out work that is wanted."""
    spec, events = study
    folder = tmp_path_factory.mktemp("study")
    path = folder / LOG_FILE
    path.parent.mkdir()
    cut = int(share * len(events))
    path.write_bytes(log_bytes(events[:cut]) + log_bytes(events[cut : cut + 1])[len(log_bytes([])) :][:torn])
    search = Search(spec, folder)
    search.begin("host", 2, {})
    handed = [assignment for _ in range(4) if (assignment := search.next_assignment()) is not None]
    assert len({assignment.trial for assignment in handed}) == len(handed)
    for assignment in handed:
        assert assignment.from_epoch == search.trials[assignment.trial].epoch
        assert not search.trials[assignment.trial].ended
    search.end()
    assert len(read_log(path)) >= cut + 2
    assert repr(fold_trials(read_log(path))) == repr(search.trials)


@settings(max_examples=12, deadline=None)
@given(study=studies(), share=st.floats(0, 1))
def test_a_recorder_that_opens_a_log_folds_as_the_one_that_wrote_it(
    study: Study, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec, events = study
    folder = tmp_path_factory.mktemp("study")
    cut = int(share * len(events))
    for part in (events[:cut], events[cut:]):
        folds = {name: make(spec) for name, (make, _) in LOOKS.items()}
        with Recorder(folder, folds.values()) as recorder:
            for event in part:
                recorder.append(event)
    for name, fold in folds.items():
        assert LOOKS[name][1](fold) == LOOKS[name][1](folded(name, spec, events))
    assert (folder / LOG_FILE).read_bytes().count(b"\n") == len(events) + 1


@settings(max_examples=12, deadline=None)
@given(study=studies())
def test_retention_begun_anew_keeps_what_retention_that_saw_it_all_keeps(
    study: Study, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec, events = study
    followed, anew = tmp_path_factory.mktemp("followed"), tmp_path_factory.mktemp("anew")
    fold = TrialsFold()
    retention = Retention(followed, spec.metric, 2)
    ended: set[int] = set()
    for event in events:
        fold.apply(event)
        for number, trial in fold.trials.items():
            for folder in (followed, anew):
                if number not in ended:
                    checkpoint_folder(folder, number).mkdir(parents=True, exist_ok=True)
            if trial.ended and number not in ended:
                ended.add(number)
                retention.take_in([trial])
    retention.sweep()
    Retention(anew, spec.metric, 2, fold.trials.values())
    kept = {path.name for path in (anew / "trials").glob("*")}
    live = {f"{number:04d}" for number, trial in fold.trials.items() if not trial.ended}
    best = {name for name in kept if int(name) in ended and fold.trials[int(name)].ended}
    assert live <= kept
    assert len(best) <= 2


def test_the_logs_are_varied() -> None:
    """What the properties are tried on holds every kind of end, failures, repeats and rewinds."""
    states: set[str] = set()
    kinds: set[str] = set()
    redone = 0
    for seed in range(24):
        spec = study_spec({"trials": TRIALS, "epochs": EPOCHS, "failures": {"retries": 1}, **SPECS[seed % len(SPECS)]})
        chaos = Chaos(spec, seed)
        for steps in (30, 60, 60):
            chaos.session(steps)
        chaos.extend()
        chaos.session(60)
        trials = fold_trials(with_repeats(chaos.events, [0.3, 0.6]))
        states |= {trial.state for trial in trials.values()}
        kinds |= {event.kind for event in chaos.events}
        redone += sum(trial.redone_seconds > 0 for trial in trials.values())
    assert states >= {"completed", "stopped", "diverged", "failed", "waiting", "running"}
    assert kinds >= {"attempt_failed", "trial_failed", "budget_extended", "warned", "session_ended"}
    assert redone > 3
    assert not math.isnan(redone)
