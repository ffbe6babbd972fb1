"""Accuracy against compute: what could be done with each model, and which ways none beats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import AnalysisError, NothingToShow, chart, figure, front_lines, operating_points, paper_figure
from analysis.pareto import OPERATING_POINT_COLUMNS, on_front
from analysis.plots.chart import Lines, Points
from analysis.study import Study
from tests.analysis.studies import SPACE, write_curves

EARLY = {
    "macs": 100e6,
    "macs_skipping": 60e6,
    "val_acc_skip25": 0.8,
    "val_acc_skip50": 0.79,
    "val_acc_skip75": 0.7,
    "val_acc_shallow": 0.5,
}
LATE = {"macs": 100e6}
SMALL = {"macs": 70e6}
SETTINGS = [{"lr": 0.1, "gate": "entropy", "kappa": 2.0}, *({"lr": lr, "gate": "none"} for lr in (0.2, 0.3, 0.4))]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """One early gate, a late one that is better, a small model, and one that diverged."""
    curves = [[0.6, 0.8, 0.75], [0.7, 0.75, 0.85], [0.5, 0.72, 0.71], [0.6, float("nan")]]
    return write_curves(tmp_path / "study", curves, SETTINGS, more=[EARLY, LATE, SMALL, SMALL])


def test_an_early_gate_has_a_point_for_each_share_and_others_have_one(study: Study) -> None:
    points = operating_points(study)
    assert set(points) == {*OPERATING_POINT_COLUMNS, *SPACE}
    found = {
        (row["trial"], row["skipped"]): (row["epoch"], row["macs"], row["val_acc"], row["on_front"])
        for row in points.to_dict("records")
    }
    assert found == {
        (1, 0.0): (2, pytest.approx(100e6), 0.8, False),
        (1, 0.25): (2, pytest.approx(90e6), 0.8, True),
        (1, 0.5): (2, pytest.approx(80e6), 0.79, True),
        (1, 0.75): (2, pytest.approx(70e6), 0.7, False),  # the small model is as cheap and better
        (1, 1.0): (2, pytest.approx(60e6), 0.5, True),
        (2, 0.0): (3, pytest.approx(100e6), 0.85, True),
        (3, 0.0): (2, pytest.approx(70e6), 0.72, True),
    }
    assert points["macs"].is_monotonic_increasing
    assert ((points["val_acc_low"] < points["val_acc"]) & (points["val_acc"] < points["val_acc_high"])).all()


def test_in_words(study: Study) -> None:
    first, *rest = front_lines(study)
    assert first.startswith("7 ways to use the models of 3 trials; 5 of them are beaten by none")
    assert rest[0].startswith("  50.00 % [45.6")
    assert (
        "for 60 M multiply-accumulates (60% of the most): trial 1 at epoch 2, 100% of the images skip layers" in rest[0]
    )
    assert rest[0].endswith("; lr=0.1, gate=entropy, kappa=2")
    assert rest[-1].endswith("(100% of the most): trial 2 at epoch 3; lr=0.2, gate=none")


def test_the_figure_shows_every_point_and_the_front(study: Study) -> None:
    (panel,) = chart(study, "pareto").panels
    front, beaten, best = panel.marks
    assert isinstance(front, Lines)
    assert isinstance(beaten, Points)
    assert isinstance(best, Points)
    assert (len(front.x), len(beaten.x), len(best.x)) == (5, 2, 5)
    assert front.y.tolist() == pytest.approx([50.0, 72.0, 79.0, 80.0, 85.0])
    assert figure(study, "pareto").data
    assert paper_figure(study, "pareto").axes


def test_models_that_cost_the_same_make_no_figure(tmp_path: Path) -> None:
    study = write_curves(tmp_path / "study", [[0.7], [0.8]], SETTINGS[1:3], more=[LATE, LATE])
    assert front_lines(study)[-1].startswith("all cost the same")
    with pytest.raises(NothingToShow, match="cost the same"):
        chart(study, "pareto")


@pytest.mark.parametrize("curves", [[[0.7]], [[float("nan")]]])
def test_a_study_without_compute_says_so(tmp_path: Path, curves: list[list[float]]) -> None:
    study = write_curves(tmp_path / "study", curves, SETTINGS[1:2])
    assert operating_points(study).empty
    with pytest.raises(AnalysisError, match="recorded the compute"):
        front_lines(study)
    with pytest.raises(NothingToShow, match="recorded the compute"):
        chart(study, "pareto")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30))
def test_a_point_is_on_the_front_unless_another_dominates_it(points: list[tuple[int, int]]) -> None:
    costs, values = (np.array([point[i] for point in points], dtype=np.float64) for i in (0, 1))
    expected = [
        not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points) for cost, value in points
    ]
    assert on_front(costs, values).tolist() == expected
