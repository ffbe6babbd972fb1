"""Was early stopping safe? On curves whose answer is known, and on the published runs."""

from __future__ import annotations

import csv
import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import AnalysisError, Study, early_stopping_safety, rank_correlation
from tests.analysis.studies import noisy_curves, write_curves

FLAT = [0.5] * 30


def crossing(trials: int, settles: int, epochs: int = 30) -> list[list[float]]:
    """Trials that rank one way before an epoch and the other way from then on."""
    return [
        [0.4 + 0.01 * trial if epoch < settles else 0.9 - 0.01 * trial for epoch in range(1, epochs + 1)]
        for trial in range(trials)
    ]


def test_curves_that_never_cross_are_safe_to_stop(tmp_path: Path) -> None:
    safety = early_stopping_safety(write_curves(tmp_path / "s", crossing(20, settles=1)))
    assert [rung.epoch for rung in safety.rungs] == [2, 4, 10, 20]
    assert not safety.own_rungs
    assert all((rung.spearman, rung.lost, rung.winners) == (1.0, 0, 2) for rung in safety.rungs)
    assert safety.settles == 1
    assert "was safe" in safety.advice


def test_curves_that_cross_late_are_not(tmp_path: Path) -> None:
    rates = [[0.1] * 14 + [0.01] * 16] * 20
    safety = early_stopping_safety(write_curves(tmp_path / "s", crossing(20, settles=15), rates=rates))
    early, late = safety.rungs[0], safety.rungs[-1]
    assert (early.spearman, early.lost, early.lost_share) == (-1.0, 2, 1.0)
    assert (late.spearman, late.lost) == (1.0, 0)
    assert (safety.settles, safety.first_drop) == (15, 15)
    assert "epoch 2, 4, 10 is not safe: the ranking settles at about epoch 15 of 30" in safety.advice
    assert "scheduler.grace_period=15" in safety.advice
    assert "a cosine schedule" in safety.advice


def test_noise_alone_is_no_ground_to_stop(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    curves = draw.uniform(0.4, 0.5, size=(30, 12)).tolist()
    safety = early_stopping_safety(write_curves(tmp_path / "s", curves))
    assert safety.settles is None
    assert "scheduler.kind=full" in safety.advice


def test_epochs_that_few_trials_reached_say_nothing(tmp_path: Path) -> None:
    curves = [*crossing(20, settles=5), [0.5 + 0.001 * epoch for epoch in range(60)]]
    assert early_stopping_safety(write_curves(tmp_path / "s", curves)).settles in (5, 6)


def test_trials_on_different_data_are_not_judged_together_unnoticed(tmp_path: Path) -> None:
    points = [{"data": ("cifar10", "cifar100")[trial % 2]} for trial in range(20)]
    study = write_curves(tmp_path / "s", crossing(20, settles=1), points, space={"data": ["cifar10", "cifar100"]})
    assert "these trials mix data sets" in early_stopping_safety(study).advice
    assert "mix data sets" not in early_stopping_safety(study, trials=range(1, 20, 2)).advice


def test_chosen_trials_are_as_long_as_the_longest_of_them(tmp_path: Path) -> None:
    """An imported study holds runs of several lengths."""
    curves = [[0.1 * trial] * (6 if trial < 3 else 12) for trial in range(1, 6)]
    study = write_curves(tmp_path / "s", curves)
    assert early_stopping_safety(study).full_epochs == 12
    assert early_stopping_safety(study, trials=[1, 2]).full_epochs == 6


def test_few_trials_give_no_advice(study: Study) -> None:
    safety = early_stopping_safety(study)
    assert safety.own_rungs
    assert [(rung.epoch, rung.n, rung.stopped) for rung in safety.rungs] == [(3, 2, 1)]
    assert "2 finished trials are too few" in safety.advice
    json.dumps(safety.to_record(), allow_nan=False)
    assert len(safety.lines()) == 3


def test_rungs_of_a_search(tmp_path: Path) -> None:
    safety = early_stopping_safety(write_curves(tmp_path / "s", noisy_curves(60, 27, seed=1), rungs=(3, 9)))
    first, second = safety.rungs
    assert first.judged == 60
    assert first.n == second.n == safety.finished
    assert first.stopped > second.stopped > 0
    assert list(safety.frame()["epoch"]) == [3, 9]


@pytest.mark.parametrize("wrong", [{"smooth": 0}, {"winners": 0.0}, {"winners": 1.5}])
def test_what_cannot_be_asked(study: Study, wrong: dict[str, float]) -> None:
    with pytest.raises(AnalysisError, match="smooth is at least 1"):
        early_stopping_safety(study, **wrong)  # type: ignore[arg-type]


def test_a_rank_correlation_needs_variety_and_numbers() -> None:
    assert math.isnan(rank_correlation([1.0, 1.0], [1.0, 2.0]).spearman)
    few = rank_correlation([1.0, 2.0, 3.0, math.nan], [1.0, 3.0, 2.0, 1.0])
    assert (few.n, few.spearman, few.spearman_low, few.spearman_high) == (3, 0.5, -1.0, 1.0)
    # rho 0.5 of 28 pairs: artanh 0.5 = 0.5493, its error √(1.125/25) = 0.2121
    x = np.arange(28.0)
    many = rank_correlation(x, x)
    assert many.spearman == pytest.approx(1.0)
    assert many.kendall == pytest.approx(1.0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=40))
def test_an_interval_holds_its_value(pairs: list[tuple[int, int]]) -> None:
    found = rank_correlation(*zip(*pairs, strict=True))
    if not math.isnan(found.spearman):
        assert found.spearman_low - 1e-9 <= found.spearman <= found.spearman_high + 1e-9
        assert found.kendall_low - 1e-9 <= found.kendall <= found.kendall_high + 1e-9
        swapped = rank_correlation(*zip(*[(b, a) for a, b in pairs], strict=True))
        assert swapped.spearman == pytest.approx(found.spearman)


@pytest.fixture(scope="module")
def published(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The 16 published runs on CIFAR-10 with one gate iteration."""
    folder = shared / "reference" / "greyc-runs"
    if not folder.is_dir():
        pytest.skip("the published runs are not here")
    curves: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    with gzip.open(folder / "curves.csv.gz", "rt") as lines:
        for row in csv.DictReader(lines):
            if row["run"].startswith("runs_vc10_resnet_gate_classifier110") and "_it1g" in row["run"]:
                curves.setdefault(row["run"], []).append(float(row["val_acc"]) / 100.0)
                rates.setdefault(row["run"], []).append(float(row["lr"]))
    return write_curves(tmp_path_factory.mktemp("published") / "s", [*curves.values()], rates=[*rates.values()])


def test_the_published_runs_were_blind_before_the_first_drop(published: Study) -> None:
    before, at = (20, 40, 60, 80, 100, 120, 130), 140
    safety = early_stopping_safety(published, epochs=[*before, at], smooth=10)
    found = {rung.epoch: rung for rung in safety.rungs}
    assert {rung.n for rung in safety.rungs} == {16}
    assert max(round(found[epoch].spearman, 2) for epoch in before) == 0.31
    assert all(found[epoch].spearman_low < 0.0 for epoch in before)
    assert round(found[at].spearman, 2) == 0.59
    assert found[at].sees
    assert safety.first_drop == 134  # the first epoch at the lower rate
    assert safety.settles is not None
    assert safety.settles > 133
    assert "is not safe" in safety.advice
    assert "after the learning rate drops (epoch 134)" in safety.advice
