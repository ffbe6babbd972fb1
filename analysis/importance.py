"""Which settings matter: Optuna's importances, with the spread that comes from which trials happened to be run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.names import unknown_name
from analysis.scores import Measure, scores, selected_trials, varied

if TYPE_CHECKING:
    import optuna
    from optuna.importance import BaseImportanceEvaluator

    from analysis.study import Study

#: Columns of `importances`, documented.
IMPORTANCE_COLUMNS = {
    "evaluator": "how it was computed: fanova or ped-anova",
    "setting": "name of the setting",
    "importance": "share of the variance of the measure, from all trials; the shares of an evaluator sum to 1",
    "low": "lower quartile of the bootstrap",
    "high": "upper quartile of the bootstrap",
    "trials": "trials that the importance was computed from",
}

#: Fewer trials than this say nothing about importance.
MIN_TRIALS = 8


def _fanova(seed: int) -> BaseImportanceEvaluator:
    from optuna.importance import FanovaImportanceEvaluator  # noqa: PLC0415  optuna is slow to import

    return FanovaImportanceEvaluator(n_trees=16, max_depth=16, seed=seed)


def _ped_anova(seed: int) -> BaseImportanceEvaluator:  # noqa: ARG001  it draws nothing
    from optuna.importance import PedAnovaImportanceEvaluator  # noqa: PLC0415

    return PedAnovaImportanceEvaluator()


#: The evaluators, by name: F. Hutter et al. (2014), An efficient approach for assessing hyperparameter importance; and
#: S. Watanabe et al. (2023), PED-ANOVA: efficiently quantifying hyperparameter importance in arbitrary subspaces.
EVALUATORS: Mapping[str, Callable[[int], BaseImportanceEvaluator]] = MappingProxyType(
    {"fanova": _fanova, "ped-anova": _ped_anova}
)


def importances(
    study: Study,
    measure: Measure | None = None,
    where: Iterable[str] = (),
    evaluators: Sequence[str] = tuple(EVALUATORS),
    bootstraps: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """How much of the measure's variance each setting accounts for, among completed trials that meet `where`.

    Trials are drawn anew, with replacement, `bootstraps` times, seeded: `low` and `high` are the quartiles of what
    comes out. Settings that not all of these trials have are left out. Columns: `IMPORTANCE_COLUMNS`, the most
    important setting of each evaluator first.

    Raises:
        UnknownName: there is no such evaluator, setting or metric.
        AnalysisError: less than `MIN_TRIALS` trials or no setting that varies are left.
    """
    for name in evaluators:
        if name not in EVALUATORS:
            raise unknown_name("evaluator", name, EVALUATORS)
    trials = selected_trials(study, where)
    values = scores(study, measure or Measure()).reindex(trials.index).dropna()
    trials = trials.loc[values.index]
    if len(trials) < MIN_TRIALS:
        raise AnalysisError(f"importances want at least {MIN_TRIALS} completed trials, and there are {len(trials)}")
    names = [name for name in varied(trials, study.spec.space) if bool(trials[name].notna().all())]
    if not names:
        raise AnalysisError("importances want a setting that varies and that every trial has")
    frozen = _frozen_trials(trials, names, values)
    generator = np.random.default_rng(seed)
    draws = [generator.integers(0, len(frozen), len(frozen)) for _ in range(bootstraps)]
    rows = [row for evaluator in evaluators for row in _of_evaluator(evaluator, frozen, names, draws, seed)]
    return pd.DataFrame(rows, columns=list(IMPORTANCE_COLUMNS))


def _of_evaluator(
    evaluator: str, trials: list[optuna.trial.FrozenTrial], names: list[str], draws: list[Any], seed: int
) -> list[dict[str, Any]]:
    told = _importances(evaluator, trials, names, seed)
    drawn = pd.DataFrame(
        [_importances(evaluator, [trials[place] for place in draw], names, seed) for draw in draws], columns=names
    )
    rows = [
        {
            "evaluator": evaluator,
            "setting": name,
            "importance": told[name],
            "low": drawn[name].quantile(0.25),
            "high": drawn[name].quantile(0.75),
            "trials": len(trials),
        }
        for name in names
    ]
    return sorted(rows, key=lambda row: -row["importance"])


def _importances(
    evaluator: str, trials: list[optuna.trial.FrozenTrial], names: list[str], seed: int
) -> dict[str, float]:
    import optuna  # noqa: PLC0415  slow

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its being experimental, and of draws in which nothing varies
            found = optuna.importance.get_param_importances(study, evaluator=EVALUATORS[evaluator](seed), params=names)
    except (ValueError, RuntimeError, ZeroDivisionError):  # a draw of equal trials has no variance to share out
        return dict.fromkeys(names, 0.0)
    finally:
        optuna.logging.set_verbosity(level)
    return {name: float(found.get(name, 0.0)) for name in names}


def _frozen_trials(trials: pd.DataFrame, names: list[str], values: pd.Series[float]) -> list[optuna.trial.FrozenTrial]:
    import optuna  # noqa: PLC0415

    from analysis.optuna_form import plain_distributions  # noqa: PLC0415

    distributions, encode = plain_distributions({name: trials[name].tolist() for name in names})
    return [
        optuna.trial.create_trial(
            params={name: encode(name, value) for name, value in zip(names, point, strict=True)},
            distributions=distributions,
            value=float(value),
        )
        for point, value in zip(trials[names].itertuples(index=False, name=None), values.tolist(), strict=True)
    ]
