"""Intervals for fractions: how far an accuracy on n images can be trusted."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.errors import AnalysisError


def wilson_interval(
    fraction: ArrayLike, n: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The Wilson score interval, without continuity correction, of a binomial proportion.

    With z the normal quantile of (1 + confidence)/2 and p the fraction observed, its ends are
    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
    Journal of the American Statistical Association 22, 209-212.

    Args:
        fraction: successes divided by trials, in [0, 1]; NaN gives NaN.
        n: number of trials (here: images); broadcast against `fraction`. NaN or less than 1 gives NaN.
        confidence: probability that the interval covers, in (0, 1).

    Returns:
        The lower and the upper ends, in [0, 1].

    Raises:
        AnalysisError: a fraction or the confidence is out of range.
    """
    if not 0.0 < confidence < 1.0:
        raise AnalysisError(f"a confidence between 0 and 1 is wanted, not {confidence!r}")
    p = np.asarray(fraction, dtype=np.float64)
    if np.any((p < 0.0) | (p > 1.0)):
        raise AnalysisError("a fraction of successes lies outside [0, 1]")
    trials = np.asarray(n, dtype=np.float64)
    trials = np.where(trials >= 1.0, trials, np.nan)
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    scale = 1.0 + z**2 / trials
    centre = (p + z**2 / (2.0 * trials)) / scale
    half = z / scale * np.sqrt(p * (1.0 - p) / trials + z**2 / (4.0 * trials**2))
    # at p = 0 and p = 1 rounding can step outside
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)
