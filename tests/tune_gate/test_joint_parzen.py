"""The joint Parzen estimator: a density over the cube, and draws from it."""

from __future__ import annotations

import numpy as np
import pytest

from tune_gate.joint_parzen import CANDIDATES, JointParzen, draw_promising

POINTS = np.array([[0.02, 2.0, 0.5], [0.6, 0.0, np.nan], [0.95, 2.0, 0.1]])
CHOICES = (0, 3, 0)


def grid_of_cells(count: int) -> np.ndarray:
    """The middles of count x 3 x count cells."""
    middles = (np.arange(count) + 0.5) / count
    first, second, third = np.meshgrid(middles, np.arange(3.0), middles, indexing="ij")
    return np.stack([first.ravel(), second.ravel(), third.ravel()], axis=1)


@pytest.mark.parametrize("points", [POINTS, POINTS[:1], POINTS[:0]])
def test_the_density_has_mass_one(points: np.ndarray) -> None:
    density = np.exp(JointParzen(points, CHOICES).log_density(grid_of_cells(40)))
    assert density.mean() == pytest.approx(1.0, abs=1e-3)


def test_draws_follow_the_density_and_stay_in_the_cube() -> None:
    parzen = JointParzen(POINTS, CHOICES)
    drawn = parzen.draw(np.random.default_rng(0), 20_000)
    assert drawn.min() >= 0
    assert drawn[:, 0].max() <= 1
    cells = grid_of_cells(40)
    mass = np.exp(parzen.log_density(cells)) / len(cells)
    for axis in range(3):
        assert drawn[:, axis].mean() == pytest.approx((mass * cells[:, axis]).sum(), abs=0.02)
    corner = (cells[:, 0] < 0.1) & (cells[:, 1] == 2)
    assert np.mean((drawn[:, 0] < 0.1) & (drawn[:, 1] == 2)) == pytest.approx(mass[corner].sum(), abs=0.02)


def test_it_sees_how_parameters_go_together() -> None:
    """Good where both are low or both high: a product of one estimator for each parameter could not tell."""
    good = JointParzen(np.array([[0.1, 0.1], [0.9, 0.9]] * 5), (0, 0))
    others = JointParzen(np.array([[0.1, 0.9], [0.9, 0.1]] * 10), (0, 0))
    best = np.array([draw_promising(good, others, np.random.default_rng(seed))[0] for seed in range(50)])
    assert np.mean((best[:, 0] < 0.5) == (best[:, 1] < 0.5)) > 0.9


def test_the_most_promising_comes_first() -> None:
    good, others = JointParzen(np.array([[0.2]]), (0,)), JointParzen(np.array([[0.8]]), (0,))
    drawn = draw_promising(good, others, np.random.default_rng(1))
    gain = good.log_density(drawn) - others.log_density(drawn)
    assert drawn.shape == (CANDIDATES, 1)
    assert np.all(np.diff(gain) <= 0)
