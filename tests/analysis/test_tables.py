from __future__ import annotations

import pytest

from analysis import BEST_TABLE_COLUMNS, AnalysisError, UnknownName, best_table, best_trial, open_study, report_html
from analysis.events import EpochReported, TrialSuggested
from analysis.scores import mixed_data
from analysis.tables import chosen_columns
from tests.analysis.studies import write_curves


def test_ranks(study):
    table = best_table(study)
    # 1 and 6 tie in accuracy and epoch; 3 (diverged, 0.95) and 4 (failed) come last; 7 never reported
    assert table["trial"].tolist() == [1, 6, 5, 2, 3, 4]
    assert table["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["ended"].tolist() == [
        "completed at epoch 9",
        "completed at epoch 9",
        "waiting",
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


def test_only_trials_that_meet_the_conditions(study):
    table = best_table(study, where=["gate=entropy", "kappa=2.0"])
    assert table["trial"].tolist() == [1]
    assert table["rank"].tolist() == [1]
    with pytest.raises(AnalysisError, match="no trial is left by: gate=late"):
        best_table(study, where=["gate=late"])
    with pytest.raises(UnknownName, match="did you mean 'kappa'"):
        best_table(study, where=["kapa=2"])


def test_chosen_columns_come_with_their_intervals(study):
    table = chosen_columns(best_table(study), ["lr", "val_acc", "trial"])
    assert table.columns.tolist() == ["lr", "val_acc", "val_acc_low", "val_acc_high", "trial"]
    with pytest.raises(UnknownName, match="did you mean 'hours'"):
        chosen_columns(best_table(study), ["hour"])


def test_a_ranking_over_several_data_sets_says_so(study, tmp_path):
    assert mixed_data(study) == []
    space = {"data": {"choice": ["cifar10", "cifar100"]}, "val_fraction": {"choice": [0.1]}}
    settings = [{"data": name, "val_fraction": 0.1} for name in ("cifar10", "cifar100")]
    mixed = write_curves(tmp_path / "mixed", [[0.9], [0.7]], settings, space=space)
    assert mixed_data(mixed) == ["data"]
    assert "differ in data: accuracies on different images cannot be compared" in report_html(mixed, ["summary"])
