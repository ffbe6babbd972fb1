"""Intervals and tests: how far an accuracy, a mean of a few seeds, or a difference can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.errors import AnalysisError

#: Up to so many differences `sign_flip_p` counts every flip (two lists of 2^18 sums); beyond, it draws.
EXACT_FLIPS = 36

#: Flips that are drawn where there are too many to count.
DRAWN_FLIPS = 200_000


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


def two_proportion_p(
    first: ArrayLike, first_n: ArrayLike, second: ArrayLike, second_n: ArrayLike
) -> NDArray[np.float64]:
    """The two-sided p-value of the hypothesis that two fractions, of independent samples, have one expectation.

    With p the fraction of both samples together, z = (p1 - p2) / √(p(1-p)(1/n1 + 1/n2)) is taken as normal; equal
    fractions give 1. Source: A. Agresti (2013), Categorical data analysis, 3rd edition, section 3.1.

    Args:
        first, second: successes divided by trials, in [0, 1]; broadcast. NaN gives NaN.
        first_n, second_n: numbers of trials; NaN or less than 1 gives NaN.
    """
    p1, n1, p2, n2 = (np.asarray(each, dtype=np.float64) for each in (first, first_n, second, second_n))
    n1, n2 = (np.where(n >= 1.0, n, np.nan) for n in (n1, n2))
    pooled = (p1 * n1 + p2 * n2) / (n1 + n2)
    error = np.sqrt(np.clip(pooled * (1.0 - pooled), 0.0, None) * (1.0 / n1 + 1.0 / n2))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(p1 == p2, 0.0 * error, np.abs(p1 - p2) / error)
    p: NDArray[np.float64] = np.vectorize(math.erfc, otypes=[np.float64])(z / math.sqrt(2.0))
    return p


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """The mean of a sample, and how far it can be trusted. What a sample is too small for is NaN."""

    mean: float
    deviation: float  # of the sample, with n - 1; NaN for less than 2 values
    low: float
    high: float
    n: int

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(self.n) if self.n else math.nan


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> MeanInterval:
    """Student's t interval for the mean of independent values: mean ± t · s/√n, with n - 1 degrees of freedom.

    Source: Student (1908), The probable error of a mean, Biometrika 6, 1-25.

    Args:
        values: any number of them; NaN does not count.
        confidence: probability that the interval covers, in (0, 1).

    Raises:
        AnalysisError: the confidence is out of range.
    """
    from scipy.special import stdtrit  # noqa: PLC0415  slow to import

    if not 0.0 < confidence < 1.0:
        raise AnalysisError(f"a confidence between 0 and 1 is wanted, not {confidence!r}")
    sample = _without_nan(values)
    n = len(sample)
    if n < 2:
        return MeanInterval(float(sample[0]) if n else math.nan, math.nan, math.nan, math.nan, n)
    mean, deviation = float(sample.mean()), float(sample.std(ddof=1))
    half = float(stdtrit(n - 1, 0.5 + confidence / 2.0)) * deviation / math.sqrt(n)
    return MeanInterval(mean, deviation, mean - half, mean + half, n)


def sign_flip_p(differences: ArrayLike, seed: int = 0) -> float:
    """The two-sided p-value of paired differences: the share of all flips of their signs with a mean as far from 0.

    Under the hypothesis that a pair's two values could as well be exchanged, each difference is as likely with the
    other sign. Exact up to `EXACT_FLIPS` differences; beyond, `DRAWN_FLIPS` flips are drawn, the one observed counted
    with them. With n differences no p-value lies below 2^(1-n): 5 pairs can never give 0.05.
    Source: R. A. Fisher (1935), The design of experiments, section 21.

    Args:
        differences: one per pair; NaN does not count. None at all gives NaN.
        seed: of the draws, where there are too many flips to count.
    """
    sample = np.abs(_without_nan(differences))
    if not len(sample):
        return math.nan
    observed = abs(float(_without_nan(differences).sum()))
    limit = observed - 1e-9 * float(sample.sum())  # sums that are equal but for rounding count as equal
    if limit <= 0.0:
        return 1.0
    if len(sample) > EXACT_FLIPS:
        return _drawn_flips(sample, limit, seed)
    # Sums of all flips are sums of one from each half; by symmetry both tails hold as many.
    first, second = _flipped_sums(sample[::2]), np.sort(_flipped_sums(sample[1::2]))
    as_large = len(second) - np.searchsorted(second, limit - first, side="left")
    return float(2 * as_large.sum() / (len(first) * len(second)))


def _flipped_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 2^n sums of the n `values`, each with either sign."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _drawn_flips(values: NDArray[np.float64], limit: float, seed: int) -> float:
    generator = np.random.default_rng(seed)
    as_large = 1
    for _ in range(100):  # in parts, for the sake of memory
        signs = generator.integers(0, 2, (DRAWN_FLIPS // 100, len(values))) * 2.0 - 1.0
        as_large += int((np.abs(signs @ values) >= limit).sum())
    return as_large / (DRAWN_FLIPS + 1)


def _without_nan(values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64).ravel()
    kept: NDArray[np.float64] = sample[~np.isnan(sample)]
    return kept
