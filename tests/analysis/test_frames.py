from __future__ import annotations

import json
import math
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis.columns
from analysis import (
    AnalysisError,
    LogCorrupt,
    SchemaUnknown,
    StudyNotFound,
    UnknownName,
    ledger,
    list_studies,
    open_study,
)
from analysis.event_records import event_to_record
from analysis.events import EpochReported, TrialSuggested
from analysis.frames import METRICS
from analysis.log import LOG_FILE
from analysis.trials import fold_trials


def test_importing_the_package_imports_no_pandas():
    code = "import sys, analysis; sys.exit(any(name in sys.modules for name in ('pandas', 'numpy', 'yaml')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there():
    assert all(getattr(analysis, name) is not None for name in analysis.__all__)
    assert set(analysis.__all__) == set(analysis._HOME)


def test_trials(study):
    trials = study.trials.set_index("trial")
    assert trials["state"].tolist() == [
        "completed",
        "stopped",
        "diverged",
        "failed",
        "waiting",
        "completed",
        "waiting",
    ]
    assert trials["end_reason"].fillna("").tolist() == [
        "completed",
        "stopped at rung 3",
        "diverged",
        "failed: 2 attempts failed",
        "",
        "completed",
        "",
    ]
    assert trials["ended_at"].fillna(0).tolist() == [9, 3, 2, 1, 0, 9, 0]
    assert trials["epochs"].tolist() == [9, 3, 2, 1, 2, 9, 0]
    assert trials["redone_epochs"].tolist() == [0, 0, 0, 0, 0, 2, 0]
    assert trials["attempts"].tolist() == [1, 1, 1, 2, 1, 2, 0]
    assert trials["best_epoch"].fillna(0).tolist() == [9, 2, 1, 1, 1, 9, 0]
    assert trials["hours"].tolist() == pytest.approx([0.09, 0.03, 0.02, 0.01, 0.02, 0.11, 0.0])
    assert trials.loc[6, "cpu_hours"] == pytest.approx(0.22)
    assert trials.loc[6, "gpu_hours"] == pytest.approx(0.055)
    assert trials.loc[1, "val_acc_low"] < 0.9 < trials.loc[1, "val_acc_high"]
    assert trials["kappa"].isna().tolist() == [False] * 5 + [True] * 2
    assert list(trials.columns[-3:]) == ["lr", "gate", "kappa"]


def test_epochs(study):
    epochs = study.epochs
    assert list(epochs.columns[9:]) == list(METRICS)
    assert not epochs.duplicated(["trial", "epoch"]).any()
    assert epochs[epochs["trial"] == 6]["attempt"].tolist() == [1] * 3 + [2] * 6
    at_rung = epochs[epochs["rung"].notna()]
    assert at_rung["epoch"].tolist() == [3, 3, 3]
    assert at_rung["rung_cutoff"].tolist() == [0.5] * 3
    diverged = epochs[epochs["action"] == "diverge"]
    assert diverged["val_loss"].isna().all()
    assert diverged["val_acc"].tolist() == [0.0]
    assert str(epochs["time"].dtype).endswith("UTC]")


def assert_tables_tell_the_fold(study):
    """The columns and the fold of events agree on everything that both know."""
    records, trials = study.records, study.trials.set_index("trial")
    assert sorted(records) == trials.index.tolist()
    for number, trial in records.items():
        row = trials.loc[number]
        assert (row["state"], row["attempts"], row["epochs"]) == (trial.state, trial.attempt, trial.epoch)
        best = trial.best("val_acc")
        assert (0 if pd.isna(row["best_epoch"]) else row["best_epoch"]) == (best.epoch if best else 0)
        spent = trial.redone_seconds + sum(report.metrics["seconds"] for report in trial.reports.values())
        assert row["hours"] * 3600 == pytest.approx(spent)
    told = [(trial, epoch) for trial in sorted(records) for epoch in records[trial].reports]
    assert list(zip(study.epochs["trial"], study.epochs["epoch"], strict=True)) == told


def test_tables_agree_with_the_fold(study):
    assert_tables_tell_the_fold(study)


numbers = st.integers(1, 3)
logs = st.lists(
    st.one_of(
        st.builds(TrialSuggested, st.just(1.0), numbers, st.just({"lr": 0.1}), st.just(0), st.just("random")),
        st.builds(
            EpochReported,
            time=st.just(1.0),
            trial=numbers,
            attempt=st.just(1),
            epoch=st.integers(1, 5),
            metrics=st.fixed_dictionaries({"val_acc": st.floats(0, 1), "seconds": st.integers(1, 3)}),
            action=st.sampled_from(["continue", "stop", "complete", "diverge"]),
        ),
    ),
    max_size=25,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(log=logs, block=st.sampled_from([300, 1 << 20]))
def test_tables_agree_with_the_fold_on_any_log(tmp_path_factory, write_study, encode, log, block):
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis.columns, "_BLOCK_BYTES", block)
        assert_tables_tell_the_fold(open_study(write_study(encode(log), folder=str(folder / "study"))))


def test_a_study_is_seen_as_it_was_when_it_was_opened(study):
    with (study.path / LOG_FILE).open("ab") as file:
        file.write(b"{damage\n")
    assert len(study.events) > 0
    assert len(study.trials) == 7
    with pytest.raises(LogCorrupt):
        _ = open_study(study.path).trials


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line.replace(b'"epoch": 1', b'"epoch": oops', 1),
        lambda line: line.replace(b'"action"', b'"acton"', 1),
        lambda line: line[:-1] + line,
        lambda line: b"\n" + line,
        lambda line: line.replace(b"{", b"[", 1),
    ],
)
def test_damage_is_told_alike_by_events_and_tables(study, spoil):
    log = study.path / LOG_FILE
    lines = log.read_bytes().splitlines(keepends=True)
    lines[15] = spoil(lines[15])
    assert b'"epoch"' in lines[15]
    log.write_bytes(b"".join(lines))
    offsets = []
    for name in ("events", "columns"):
        with pytest.raises(LogCorrupt) as caught:
            getattr(open_study(study.path), name)
        offsets.append(caught.value.offset)
    assert offsets[0] == offsets[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["metrics"].update(val_acc=math.nan),  # bare NaN, as other writers put it
        lambda record: record.update(trial=1.0),
        lambda record: record["metrics"].update(noisy_acc_true=1),
        lambda record: record["metrics"].clear(),
    ],
)
def test_unusual_but_sound_reports_are_read(study, change):
    log = study.path / LOG_FILE
    lines = log.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[15])
    change(record)
    lines[15] = json.dumps(record).encode() + b"\n"
    log.write_bytes(b"".join(lines))
    assert len(open_study(study.path).epochs) == len(study.epochs)


def test_a_report_of_the_wrong_type_is_told(study, events, write_study, encode):
    report = next(event for event in events if isinstance(event, EpochReported))
    line = json.dumps({**event_to_record(report), "metrics": {"val_acc": "high"}}).encode() + b"\n"
    with pytest.raises(AnalysisError, match="wrong type"):
        _ = open_study(write_study(encode(events) + line, folder="wrong")).epochs


@pytest.mark.parametrize("log", [b"", None])
def test_a_study_without_trials(write_study, encode, log):
    study = open_study(write_study(encode([]) if log is None else log))
    assert (len(study.trials), len(study.epochs), study.records) == (0, 0, {})
    assert list(study.epochs.columns[9:]) == list(METRICS)


def test_config_of(study):
    config = study.config_of(1)
    assert config == {
        "data": "synthetic",
        "lr": 0.1,
        "gate": "entropy",
        "kappa": 2.0,
        "epochs": 9,
        "seed": 101,
    }
    assert study.config_of(7)["kappa"] == 1.0
    with pytest.raises(UnknownName, match="unknown trial '70'"):
        study.config_of(70)


def test_studies_that_cannot_be_opened(tmp_path, write_study):
    with pytest.raises(StudyNotFound, match="is no folder"):
        open_study(tmp_path / "absent")
    with pytest.raises(StudyNotFound, match=r"study\.json"):
        open_study(tmp_path)
    with pytest.raises(SchemaUnknown, match="99"):
        open_study(write_study(b"", "new", {"schema": 99}))
    for number, damaged in enumerate(([], {"schema": 1}, {"schema": 1, "spec": 3}, {"schema": 1, "spec": {}})):
        with pytest.raises(AnalysisError, match="damaged"):
            open_study(write_study(b"", f"damaged{number}", damaged))


def test_studies_are_listed(tmp_path, write_study):
    for folder in ("b", "a/x", "a/y/z", "a/y/w/too-deep", "b/inside-a-study"):
        write_study(b"", folder)
    assert list_studies(tmp_path) == [tmp_path / name for name in ("a/x", "a/y/z", "b")]
    assert list_studies(tmp_path / "absent") == []


def test_the_fold_knows_every_trial(study, events):
    assert fold_trials(events).keys() == study.columns.trials.keys()


def test_a_part_is_what_its_trials_alone_would_be(study):
    everything = study.part(study.columns.trials)
    pd.testing.assert_frame_equal(everything.trials, study.trials)
    pd.testing.assert_frame_equal(everything.epochs, study.epochs)
    assert everything.events == study.events
    part = study.part([1, 6], ["a=b"])
    assert part.trials["trial"].tolist() == sorted(part.records) == sorted(part.columns.trials) == [1, 6]
    for name in ("trials", "epochs"):
        whole = getattr(study, name)
        pd.testing.assert_frame_equal(getattr(part, name), whole[whole["trial"].isin([1, 6])].reset_index(drop=True))
    assert {getattr(event, "trial", None) for event in part.events} == {None, 1, 6}
    assert part.columns.all_reports["trial"].value_counts().to_dict() == {1: 9, 6: 11}
    assert (part.whole, part.conditions) == (study, ("a=b",))


def test_what_a_part_cost_is_its_trials_share(study):
    whole, part = ledger(study), ledger(study.part([1, 6]))
    own = whole.trials[whole.trials["trial"].isin([1, 6])]
    assert part.trials["total"].tolist() == own["total"].tolist()
    assert part.totals["idle"] == 0.0
    assert part.allocated == pytest.approx(own["total"].sum())
