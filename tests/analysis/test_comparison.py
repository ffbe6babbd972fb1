"""Studies side by side."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from analysis import AnalysisError, Study, compare, open_study
from tests.analysis.studies import write_curves

#: Two of the settings are in both; in the second study the rate is 0.1 throughout, and the gate varies.
FIRST = [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.2}]
SECOND = [{"lr": 0.1, "gate": "entropy"}, {"lr": 0.1, "gate": "none"}]


@pytest.fixture
def studies(tmp_path: Path) -> list[Study]:
    first = write_curves(
        tmp_path / "a", [[0.5, 0.6], [0.6, 0.7], [0.6, 0.9]], FIRST, space={"lr": {"log_uniform": [0.01, 1.0]}}
    )
    second = write_curves(tmp_path / "b", [[0.65, 0.62], [0.5, 0.8]], SECOND)
    return [first, second]


def test_the_target_is_what_all_reached(studies: list[Study]) -> None:
    found = compare(studies)
    assert found.target == 0.8
    table = found.studies.set_index("study")
    assert list(table.index) == ["small_study", "small_study (2)"]
    assert table["val_acc"].tolist() == [0.9, 0.8]
    assert table["best_trial"].tolist() == [3, 2]
    assert table["trials_to_target"].tolist() == [3, 2]
    # 9 s for each of 6 and 4 epochs, on half a GPU; the log's clock goes 10 s for each
    assert table["hours_to_target"].tolist() == pytest.approx([6 * 9 * 0.5 / 3600, 4 * 9 * 0.5 / 3600])
    assert table["wall_hours_to_target"].tolist() == pytest.approx([60 / 3600, 40 / 3600])


def test_what_a_diverged_trial_reached_does_not_count(tmp_path: Path) -> None:
    diverged = write_curves(tmp_path / "d", [[0.95, math.nan], [0.5, 0.6]])
    found = compare([diverged, write_curves(tmp_path / "e", [[0.6, 0.7]])])
    assert found.target == 0.6
    assert found.studies["trials_to_target"].tolist() == [2, 1]  # both trials were paid for


def test_a_setting_that_one_does_not_record_is_told_once(studies: list[Study]) -> None:
    file = studies[1].path / "study.json"
    record = json.loads(file.read_text())
    record["base_config"] |= {"depth": 20, "block": "basic"}
    file.write_text(json.dumps(record))
    warnings = compare([studies[0], open_study(studies[1].path)]).warnings
    assert warnings == ("small_study does not record: block, depth",)


def test_a_target_that_one_never_reached(studies: list[Study]) -> None:
    table = compare(studies, target=0.85).studies
    assert table["trials_to_target"].isna().tolist() == [False, True]
    assert table["hours_to_target"].isna().tolist() == [False, True]


def test_the_same_settings_fixed_here_and_searched_there(studies: list[Study]) -> None:
    same = compare(studies).same
    # the first study's trials have the gate's default, entropy, and kappa 1
    assert len(same) == 0
    third = write_curves(studies[0].path.parent / "c", [[0.1, 0.3]], [{"lr": 0.2}], space={"lr": {}})
    same = compare([studies[0], third]).same
    assert same.to_dict("records") == [
        {
            "lr": 0.2,
            "small_study": pytest.approx(0.8),
            "small_study (2)": 0.3,
            "small_study_n": 2,
            "small_study (2)_n": 1,
        }
    ]


def test_different_data_is_told(studies: list[Study], tmp_path: Path) -> None:
    file = tmp_path / "b" / "study.json"
    record = json.loads(file.read_text())
    record["spec"]["config"]["data"] = "digits"
    file.write_text(json.dumps(record))
    from analysis import open_study

    (warning,) = compare([studies[0], open_study(tmp_path / "b")]).warnings
    assert "accuracies cannot be compared" in warning
    json.dumps(compare(studies).to_record(), allow_nan=False)


def test_an_empty_study_beside_another(studies: list[Study], write_study) -> None:  # type: ignore[no-untyped-def]
    from analysis import open_study

    found = compare([studies[0], open_study(write_study(b""))])
    assert found.target is None
    assert found.studies["trials"].tolist() == [3, 0]


def test_what_cannot_be_compared(studies: list[Study]) -> None:
    with pytest.raises(AnalysisError, match="two studies or more"):
        compare(studies[:1])
    with pytest.raises(AnalysisError, match=r"0\.93 is 93 %"):
        compare(studies, target=93.0)
