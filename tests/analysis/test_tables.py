from __future__ import annotations

import pytest

from analysis import BEST_TABLE_COLUMNS, AnalysisError, best_table, best_trial, open_study


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
