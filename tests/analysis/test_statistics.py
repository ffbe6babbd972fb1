from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import AnalysisError, wilson_interval
from analysis.statistics import EXACT_FLIPS, mean_interval, sign_flip_p, two_proportion_p


# Newcombe (1998), Two-sided confidence intervals for the single proportion, table I, method 3
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_values(successes, n, low, high):
    assert wilson_interval(successes / n, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@settings(max_examples=40, deadline=None)  # the first call imports scipy
@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_scipy_agrees(n, share, confidence):
    scipy_stats = pytest.importorskip("scipy.stats")
    successes = round(share * n)
    expected = scipy_stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    low, high = wilson_interval(successes / n, n, confidence)
    assert low == pytest.approx(expected.low, abs=1e-9)
    assert high == pytest.approx(expected.high, abs=1e-9)
    assert 0.0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1.0


def test_arrays_and_missing_values():
    low, high = wilson_interval(np.array([0.5, np.nan, 1.0, 0.5]), np.array([100, 100, 50, 0]))
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True, False, True]
    assert high[2] == 1.0


@pytest.mark.parametrize(("fraction", "confidence"), [(1.2, 0.95), (-0.1, 0.95), (0.5, 1.0), (0.5, 95)])
def test_out_of_range(fraction, confidence):
    with pytest.raises(AnalysisError):
        wilson_interval(fraction, 10, confidence)


def test_the_t_interval_of_student_s_sleep_data():
    # Student (1908): the ten differences between the two soporifics; mean 1.58, deviation 1.23
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    found = mean_interval(differences)
    assert (found.n, found.mean) == (10, pytest.approx(1.58))
    assert found.deviation == pytest.approx(1.23, abs=0.005)
    assert (found.low, found.high) == (pytest.approx(0.70, abs=0.005), pytest.approx(2.46, abs=0.005))


def test_one_value_has_a_mean_and_no_interval():
    one = mean_interval([0.5, np.nan])
    assert (one.n, one.mean) == (1, 0.5)
    assert np.isnan([one.deviation, one.low, one.high, one.standard_error]).all()
    assert np.isnan([mean_interval([]).mean, mean_interval([]).standard_error]).all()


def test_darwin_s_maize():
    # Fisher (1935), section 21: of 2^15 flips, 863 have a sum as large as 314 and 863 as small, so p = 0.05267
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sign_flip_p(eighths) == pytest.approx(2 * 863 / 2**15)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=9))
def test_every_flip_is_counted(tenths):
    differences = [value / 1000 for value in tenths]  # 0.1 + 0.2 and 0.3 must tie
    flips = [abs(sum(s * v for s, v in zip(signs, tenths, strict=True))) for signs in
             itertools.product((1, -1), repeat=len(tenths))]  # fmt: skip
    assert sign_flip_p(differences) == sum(flip >= abs(sum(tenths)) for flip in flips) / len(flips)


def test_many_differences_are_sampled_and_repeat_with_the_seed():
    generator = np.random.default_rng(1)
    exact = generator.normal(0.3, 1.0, EXACT_FLIPS)
    assert sign_flip_p([*exact, 0.0], seed=3) == pytest.approx(sign_flip_p(exact), abs=0.005)
    assert sign_flip_p([*exact, 0.0], seed=3) == sign_flip_p([*exact, 0.0], seed=3)
    assert math.isnan(sign_flip_p([]))
    assert sign_flip_p([0.0, 0.0]) == 1.0


def test_two_proportions():
    images = [100, 5000, float("nan"), 100], [100, 5000, 100, 50]
    p = two_proportion_p([0.5, 0.94, 0.5, 1.0], images[0], [0.5, 0.93, 0.4, 1.0], images[1])
    assert p[[0, 3]].tolist() == [1.0, 1.0]
    assert p[1] == pytest.approx(math.erfc(0.01 / math.sqrt(2 * 0.935 * 0.065 / 5000) / math.sqrt(2)))
    assert math.isnan(p[2])
