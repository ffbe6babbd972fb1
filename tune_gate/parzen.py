"""What Optuna's `TPESampler` draws, from a history that is divided once per suggestion and not once per parameter.

Optuna divides the trials into better and worse ones anew for each parameter, and turns their settings into numbers one
by one; at 1,000 trials that is nine tenths of a suggestion's time. Here both are done once. The numbers of a draw are
made by Optuna's own classes, so they are Optuna's; tests/tune_gate/test_parzen.py holds the two beside each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_gamma, default_weights
from optuna.trial import FrozenTrial, TrialState

#: Points drawn from the estimator of the better trials, of which the most promising is taken: Optuna's default.
CANDIDATES = 24

_PARAMETERS = _ParzenEstimatorParameters(
    prior_weight=1.0, consider_magic_clip=True, consider_endpoints=False, weights=default_weights, multivariate=True
)

#: Optuna's estimators are of several parameters, by name; ours are of one.
_ONE = "value"

Numbers = NDArray[np.int64]


class Observations:
    """The settings of all trials as the numbers that Optuna computes with, by parameter and by the trial's number."""

    def __init__(self, distributions: Mapping[str, BaseDistribution | None]) -> None:
        self._distributions = {name: wanted for name, wanted in distributions.items() if wanted is not None}
        self._values = np.full((len(self._distributions), 64), np.nan)
        self._trials = 0

    def add(self, params: Mapping[str, Any]) -> None:
        """The next trial, with the parameters that it has."""
        if self._trials == self._values.shape[1]:
            self._values = np.concatenate([self._values, np.full_like(self._values, np.nan)], axis=1)
        for row, (name, wanted) in enumerate(self._distributions.items()):
            if name in params:
                self._values[row, self._trials] = wanted.to_internal_repr(params[name])
        self._trials += 1

    def of(self, name: str, trials: Numbers) -> NDArray[np.float64]:
        """The values of a parameter in `trials`, in their order; those that do not have it are left out."""
        values: NDArray[np.float64] = self._values[list(self._distributions).index(name), trials]
        known: NDArray[np.float64] = values[~np.isnan(values)]
        return known


def divide(trials: Iterable[FrozenTrial]) -> tuple[Numbers, Numbers]:
    """The numbers of the better trials and of all others, both ascending, where larger values are better.

    Trials that are complete come before those that were pruned; those, by the last step that they reached, then by the
    value there. Running trials are among the others, whatever they have reported; failed ones in neither part.
    """
    complete: list[tuple[float, int]] = []
    pruned: list[tuple[float, float, int]] = []
    running: list[int] = []
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            complete.append((-_value(trial), trial.number))
        elif trial.state == TrialState.PRUNED:
            pruned.append((*_standing(trial), trial.number))
        elif trial.state == TrialState.RUNNING:
            running.append(trial.number)
    # Equal standings keep the order of their numbers, as in Optuna's stable sort.
    ranked = [number for _, number in sorted(complete)] + [number for _, _, number in sorted(pruned)]
    good = default_gamma(len(ranked))
    return np.array(sorted(ranked[:good]), dtype=np.int64), np.array(sorted(ranked[good:] + running), dtype=np.int64)


def draw(
    wanted: BaseDistribution, better: NDArray[np.float64], others: NDArray[np.float64], rng: np.random.RandomState
) -> Any:
    """A value of a parameter that is likely among the better trials and unlikely among the others.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (2011): of `CANDIDATES` draws from the estimator of
    the better ones, that with the largest ratio of the two densities.
    """
    space = {_ONE: wanted}
    good = _ParzenEstimator({_ONE: better}, space, _PARAMETERS)
    rest = _ParzenEstimator({_ONE: others}, space, _PARAMETERS)
    candidates = good.sample(rng, CANDIDATES)[_ONE]
    distinct, which = np.unique(candidates, return_inverse=True)  # of a choice, few are
    gain = good.log_pdf({_ONE: distinct}) - rest.log_pdf({_ONE: distinct})
    return wanted.to_external_repr(candidates[np.argmax(gain[which])].item())


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # noqa: S101  it is complete
    return trial.value


def _standing(trial: FrozenTrial) -> tuple[float, float]:
    if not trial.intermediate_values:
        return 1, 0.0
    step, value = max(trial.intermediate_values.items())
    return -step, -value
