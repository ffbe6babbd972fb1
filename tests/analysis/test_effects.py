from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import AnalysisError, Measure, UnknownName, effects, importances, noise, open_study
from analysis.events import EpochReported, Event, TrialSuggested
from analysis.importance import IMPORTANCE_COLUMNS
from analysis.main_effects import EFFECT_COLUMNS, INTERACTION_COLUMNS
from analysis.scores import scores, selected_trials
from tests.analysis.studies import write_curves

HEADER = {
    "schema": 1,
    "created": "2026-01-02T03:04:05+00:00",
    "base_config": {},
    "spec": {
        "name": "factorial",
        "seed": 0,
        "trials": 8,
        "epochs": 2,
        "config": {"data": "digits"},
        "space": {"a": {"choice": [1, 2]}, "b": {"choice": [[0.4], [0.5]]}, "c": {"choice": ["x", "y"]}},
    },
}


def factorial(replicates: int = 1) -> list[Event]:
    """a adds 0.1, b nothing, c 0.02 with a=2 alone; replicates differ by 0.01."""
    events: list[Event] = []
    number = 0
    for a in (1, 2):
        for b in ([0.4], [0.5]):
            for c in ("x", "y"):
                for again in range(replicates):
                    number += 1
                    value = 0.5 + 0.1 * (a == 2) + 0.02 * (c == "y" and a == 2) + 0.01 * again
                    events.append(TrialSuggested(1.0, number, {"a": a, "b": b, "c": c}, number, "grid"))
                    for epoch, action in ((1, "continue"), (2, "complete")):
                        accuracy = value if epoch == 1 else value - 0.05
                        metrics = {"val_acc": accuracy, "val_images": 400.0, "test_acc": accuracy - 0.1 * (epoch == 1)}
                        events.append(EpochReported(2.0, number, 1, epoch, metrics, action))  # type: ignore[arg-type]
    return events


@pytest.fixture
def study(write_study, encode):
    return open_study(write_study(encode(factorial()), study=HEADER))


def test_main_effects_and_interaction(study):
    found = effects(study)
    assert list(found.main.columns) == [*EFFECT_COLUMNS]
    main = found.main.set_index("setting")
    assert main["effect"].to_dict() == pytest.approx({"a": 0.11, "c": 0.01, "b": 0.0})
    assert main["pairs"].tolist() == [4, 4, 4]
    assert main.loc["a", "se"] == pytest.approx(np.std([0.1, 0.1, 0.12, 0.12], ddof=1) / 2)
    assert main.loc["a", "p"] == 0.125
    assert (main.loc["b", "low"], main.loc["b", "high"]) == ("[0.4]", "[0.5]")
    assert list(found.interactions.columns) == [*INTERACTION_COLUMNS]
    assert found.interactions.loc[0, "interaction"] == pytest.approx(0.02)
    assert found.interactions.loc[0, "squares"] == 2
    assert "a: 1 → 2: +11.00 ± 0.58, 4 pairs, p 0.125 (too few: 4 pairs cannot give p below 0.125)" in found.lines()


def test_conditions(study):
    assert effects(study, where=["b=[0.4]"]).trials == 4
    assert effects(study, where=["c=x", "a=2"]).trials == 2
    assert len(selected_trials(study, ["data=digits"])) == 8
    with pytest.raises(UnknownName, match="unknown setting 'aa'"):
        effects(study, where=["aa=1"])
    with pytest.raises(AnalysisError, match="NAME=VALUE"):
        effects(study, where=["a"])
    with pytest.raises(AnalysisError, match="no trial"):
        effects(study, where=["a=3"])


def test_measures(study):
    assert scores(study).loc[1] == pytest.approx(0.5)
    assert scores(study, Measure("test_acc")).loc[1] == pytest.approx(0.4)
    assert scores(study, Measure(at="last", last=1)).loc[1] == pytest.approx(0.45)
    assert scores(study, Measure(at="last")).loc[1] == pytest.approx(0.475)
    with pytest.raises(UnknownName, match="did you mean 'val_acc'"):
        effects(study, Measure("val_ac"))
    with pytest.raises(UnknownName, match="place"):
        Measure(at="middle")  # type: ignore[arg-type]


def test_noise(write_study, encode):
    study = open_study(write_study(encode(factorial(2)), study=HEADER))
    found = noise(study)
    assert (found.replicated, found.degrees) == (8, 8)
    assert found.replicate_sd == pytest.approx(0.01 / math.sqrt(2))
    assert found.binomial_se == pytest.approx(math.sqrt(0.63 * 0.37 / 400))
    assert (found.best, found.within_1_se) == (pytest.approx(0.63), 6)
    assert found.test_flattery == pytest.approx(0.05)
    assert noise(study, ignore=["b"]).replicated == 4
    assert effects(study).configurations == 8
    assert len(noise(study).lines()) == 12


def test_without_replicates_nothing_is_claimed(study):
    found = noise(study)
    assert math.isnan(found.replicate_sd)
    assert "not known" in " ".join(found.lines())


def test_a_search_without_pairs_says_so(write_study, encode):
    events: list[Event] = []
    for number in range(1, 11):
        events.append(TrialSuggested(1.0, number, {"a": 0.1 * number, "b": [0.4], "c": 1.0 / number}, 1, "random"))
        events.append(EpochReported(2.0, number, 1, 1, {"val_acc": 0.05 * number}, "complete"))
    study = open_study(write_study(encode(events), study=HEADER))
    found = effects(study)
    assert found.main["pairs"].tolist() == [0, 0]
    assert found.main["effect"].isna().all()
    assert found.interactions.empty
    assert "no two configurations" in " ".join(found.lines())
    table = importances(study, bootstraps=2)
    assert list(table.columns) == [*IMPORTANCE_COLUMNS]
    assert table.groupby("evaluator")["importance"].sum().tolist() == pytest.approx([1.0, 1.0])


def test_importances_of_too_little(study):
    with pytest.raises(AnalysisError, match="at least 8"):
        importances(study, where=["a=1"])
    with pytest.raises(UnknownName, match="did you mean 'fanova'"):
        importances(study, evaluators=["fanov"])


@given(st.lists(st.sampled_from(["1", "x", "[0.4]", "", "1.0", "true", "*"]), max_size=3))
def test_conditions_never_add_trials(values):
    from analysis.scores import _is

    for value in values:
        assert _is("x", value) == (value in ("x", "*"))
        assert _is(1, value) == (value in ("1", "1.0"))
        assert _is(None, value) == (value == "")


@pytest.mark.parametrize("value", [3, True, 0.5, "none", [0.4, 0.6]])
def test_a_setting_that_some_trials_do_not_have_pairs_them_apart(tmp_path, value):
    points = [{"lr": rate, **({"odd": value} if odd else {})} for rate in (0.01, 0.1) for odd in (True, False)] * 2
    curves = [[0.5 + 0.1 * ("odd" in point) + 0.01 * place] for place, point in enumerate(points)]
    space = {"lr": {"choice": [0.01, 0.1]}, "odd": {"choice": [value, None]}}
    study = write_curves(tmp_path / "s", curves, points, space=space)
    assert effects(study).main[["setting", "pairs"]].to_numpy().tolist() == [["lr", 2]]
    assert noise(study).groups["trials"].tolist() == [2, 2, 2, 2]


def test_the_noise_of_a_study_that_only_diverged_is_not_known(tmp_path):
    study = write_curves(tmp_path / "s", [[math.nan]] * 2)
    (line,) = noise(study).lines()
    assert "no trial ended in full" in line


def test_values_from_a_range_that_happen_to_be_neighbours_are_no_levels(tmp_path: Path) -> None:
    rates = [0.001 * (1.0 + trial) for trial in range(20)]
    study = write_curves(tmp_path / "s", [[0.5 + rate] for rate in rates], [{"lr": rate} for rate in rates])
    found = effects(study)
    assert found.main["pairs"].tolist() == [0]
    assert found.lines()[1:] == ["lr: no two configurations differ in it alone; see the importances"]
    few = write_curves(tmp_path / "few", [[0.5 + rate] for rate in rates[:5]], [{"lr": rate} for rate in rates[:5]])
    assert effects(few).main["pairs"].tolist() == [1, 1, 1, 1]
