from __future__ import annotations

import pytest

from analysis import BEST_TABLE_COLUMNS, AnalysisError, UnknownName, best_table, best_trial, open_study
from analysis.events import EpochReported, TrialSuggested


def test_ranks(study):
    table = best_table(study)
    # 1 and 6 tie in accuracy and epoch; 3 (diverged, 0.95) and 4 (failed) come last; 7 never reported
    assert table["trial"].tolist() == [1, 6, 5, 2, 3, 4]
    assert table["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["ended"].tolist() == [
        "completed at epoch 9",
        "completed at epoch 9",
        "running",
        "stopped at rung 3",
        "diverged at epoch 2",
        "failed: 2 attempts failed",
    ]
    assert table["last_epoch"].tolist() == [9, 9, 2, 3, 2, 1]
    assert table["epochs"].tolist() == [9, 11, 2, 3, 2, 1]
    assert best_trial(study) == 1


def test_columns_are_the_documented_ones(study):
    names = list(BEST_TABLE_COLUMNS)
    assert list(best_table(study).columns) == [*names[:2], "lr", "gate", "kappa", *names[2:]]


def test_top(study):
    assert len(best_table(study, top=2)) == 2
    assert len(best_table(study, top=100)) == 6
    with pytest.raises(AnalysisError, match="at least 1"):
        best_table(study, top=0)


def test_a_study_without_reports_has_an_empty_table_and_no_best_trial(write_study, encode):
    study = open_study(write_study(encode([])))
    assert len(best_table(study)) == 0
    with pytest.raises(AnalysisError, match="no best trial"):
        best_trial(study)


def test_ties_late_means_and_test(study):
    table = best_table(study).set_index("trial")
    assert table["tied"].tolist() == [True, True, False, False, False, False]  # 0.95 of a diverged trial ties nobody
    assert table.loc[1, "late_val_acc"] == pytest.approx(0.5)
    assert table.loc[2, "late_val_acc"] == pytest.approx(0.35)
    assert table["test_acc"].isna().all()
    assert best_table(study, late=2).set_index("trial").loc[1, "late_val_acc"] == pytest.approx(0.85)
    assert best_table(study, late=1)["late_val_acc"].equals(best_table(study)["last_val_acc"].rename("late_val_acc"))
    with pytest.raises(AnalysisError, match="at least 1 last epoch"):
        best_table(study, late=0)


def test_grouped_by_a_setting(study):
    table = best_table(study, top=2, by="gate")
    assert table["gate"].tolist() == ["entropy", "entropy", "none"]
    assert table["trial"].tolist() == [1, 5, 6]
    assert table["rank"].tolist() == [1, 2, 1]
    assert table["tied"].tolist() == [True, False, True]
    with pytest.raises(UnknownName, match="did you mean 'gate'"):
        best_table(study, by="gates")
    with pytest.raises(UnknownName):
        best_table(study, by="state")


def test_without_the_number_of_images_nothing_is_tied_or_untied(write_study, encode):
    log = [
        TrialSuggested(1.0, 1, {"lr": 0.1}, 1, "random"),
        EpochReported(2.0, 1, 1, 1, {"val_acc": 0.5}, "complete"),
    ]
    assert best_table(open_study(write_study(encode(log))))["tied"].isna().all()
