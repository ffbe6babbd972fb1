"""How alike two rankings are, with how far that can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Spearman's rho and Kendall's tau-b of `n` pairs, each with the ends of its interval; NaN where not defined."""

    n: int
    spearman: float
    spearman_low: float
    spearman_high: float
    kendall: float
    kendall_low: float
    kendall_high: float


def rank_correlation(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> RankCorrelation:
    """The rank correlations of the pairs in which neither `x` nor `y` is NaN (both of shape (n,)).

    The intervals are normal in Fisher's z = artanh r, with the standard errors √((1 + ρ²/2)/(n - 3)) for rho
    (Bonett and Wright, 2000, Sample size requirements for estimating Pearson, Kendall and Spearman correlations,
    Psychometrika 65, 23-28) and √(0.437/(n - 4)) for tau (Fieller, Hartley and Pearson, 1957, Tests for rank
    correlation coefficients I, Biometrika 44, 470-481). Up to 4 pairs they say nothing: the ends are -1 and 1.
    """
    from scipy import stats  # noqa: PLC0415  slow to import

    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    both = ~(np.isnan(first) | np.isnan(second))
    first, second, n = first[both], second[both], int(both.sum())
    if n < 2 or np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return RankCorrelation(n, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan)
    rho = float(stats.spearmanr(first, second).statistic)
    tau = float(stats.kendalltau(first, second).statistic)
    rho_error = math.sqrt((1.0 + rho**2 / 2.0) / (n - 3)) if n > 4 else math.inf
    tau_error = math.sqrt(0.437 / (n - 4)) if n > 4 else math.inf
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    return RankCorrelation(n, rho, *_interval(rho, z * rho_error), tau, *_interval(tau, z * tau_error))


def _interval(r: float, half: float) -> tuple[float, float]:
    if math.isinf(half):
        return -1.0, 1.0
    centre = math.atanh(max(-1.0 + 1e-12, min(1.0 - 1e-12, r)))  # at ±1 Fisher's z is infinite
    return math.tanh(centre - half), math.tanh(centre + half)
