from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import AnalysisError, wilson_interval


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
