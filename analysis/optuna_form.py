"""A study as Optuna has it: for its importances and plots, and as a storage that optuna-dashboard opens."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

    from analysis.study import Study
    from analysis.trials import Trial

_STATES = {
    "completed": "COMPLETE",
    "stopped": "PRUNED",
    "diverged": "PRUNED",
    "failed": "FAIL",
    "running": "RUNNING",
    "paused": "RUNNING",  # Optuna knows no pause: it has begun, and has not ended
    "waiting": "WAITING",
}

Encode = Callable[[str, Any], Any]


def plain_distributions(values: Mapping[str, Sequence[Any]]) -> tuple[dict[str, BaseDistribution], Encode]:
    """A distribution for each setting, from the values that were tried; and how a value is written in it.

    Numbers of which more than two differ are a range, on a log scale where they span a factor of 10 or more; others
    are a choice. A list becomes its JSON text.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: PLC0415  optuna is slow

    found: dict[str, BaseDistribution] = {}
    for name, tried in values.items():
        kinds = {type(value) for value in tried}
        if kinds <= {int, float} and len(set(tried)) > 2:
            low, high = float(min(tried)), float(max(tried))
            found[name] = FloatDistribution(low, high, log=low > 0.0 and high / low >= 10.0)
        else:
            found[name] = CategoricalDistribution(list(dict.fromkeys(_text(value) for value in tried)))

    def encode(name: str, value: Any) -> Any:
        return float(value) if isinstance(found[name], FloatDistribution) else _text(value)

    return found, encode


def study_distributions(study: Study) -> tuple[dict[str, BaseDistribution], Encode]:
    """The distribution of each searched setting as the study's space has it, widened to the values tried; and how a
    value is written in it.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: PLC0415

    trials = study.columns.trials.values()
    found: dict[str, BaseDistribution] = {}
    for name in study.spec.space:
        tried = [trial.settings[name] for trial in trials if name in trial.settings]
        form = study.spec.dimensions.get(name)
        kind, argument = next(iter(form.items()), ("", ())) if isinstance(form, dict) else ("", ())
        numbers = all(type(value) in (int, float) for value in tried)
        if kind in ("float", "log-float") and numbers:
            low, high = min([*argument[:2], *tried]), max([*argument[:2], *tried])
            found[name] = FloatDistribution(low, high, log=kind == "log-float")
        elif kind in ("int", "log-int") and all(type(value) is int for value in tried):
            low, high = min([*argument[:2], *tried]), max([*argument[:2], *tried])
            found[name] = IntDistribution(low, high, log=kind == "log-int")
        else:
            choices = [*(argument if kind == "choice" else ()), *tried]
            texts = list(dict.fromkeys(_text(value) for value in choices))
            if texts:
                found[name] = CategoricalDistribution(texts)

    def encode(name: str, value: Any) -> Any:
        return _text(value) if isinstance(found[name], CategoricalDistribution) else value

    return found, encode


def optuna_trials(study: Study) -> list[optuna.trial.FrozenTrial]:
    """The trials, with their validation accuracies as intermediate values by epoch.

    A stopped or diverged trial is PRUNED. A completed one has the accuracy of its best epoch as value.
    """
    distributions, encode = study_distributions(study)
    curves: dict[int, dict[int, float]] = {}
    reported = study.epochs.dropna(subset="val_acc")
    for number, epoch, value in zip(*(reported[name].tolist() for name in ("trial", "epoch", "val_acc")), strict=True):
        curves.setdefault(number, {})[epoch] = value
    times = study.epochs.groupby("trial")["time"].max()
    ends = dict(zip(times.index.tolist(), [time.timestamp() for time in times], strict=True))
    return [
        _frozen(number, trial, curves.get(number, {}), ends.get(number, trial.suggested), distributions, encode)
        for number, trial in sorted(study.columns.trials.items())
    ]


def write_optuna(study: Study, target: str) -> None:
    """Write the study to a new storage: a URL (sqlite:///study.db) or the path of a journal file.

    Raises:
        AnalysisError: the storage cannot be written, or already holds a study of that name.
    """
    import optuna  # noqa: PLC0415

    from analysis.importers.optuna_storage import open_storage  # noqa: PLC0415

    trials = optuna_trials(study)
    if "://" not in target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        made = optuna.create_study(storage=open_storage(target), study_name=study.name, direction="maximize")
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            made.set_metric_names(["val_acc"])
        made.set_user_attr("tune-gate", str(study.path))
        made.add_trials(trials)
    except optuna.exceptions.DuplicatedStudyError:
        raise AnalysisError(f"{target} already holds a study {study.name!r}; choose another file") from None
    except Exception as error:  # noqa: BLE001  whatever the database's driver raises
        raise AnalysisError(f"cannot write {target}: {' '.join(str(error).split())[:200]}") from None
    finally:
        optuna.logging.set_verbosity(level)


def _frozen(
    number: int,
    trial: Trial,
    curve: Mapping[int, float],
    ended: float,
    distributions: Mapping[str, BaseDistribution],
    encode: Encode,
) -> optuna.trial.FrozenTrial:
    from optuna.trial import FrozenTrial, TrialState  # noqa: PLC0415

    state = TrialState[_STATES[trial.state]]
    if state == TrialState.COMPLETE and not curve:
        state = TrialState.FAIL  # Optuna knows no completed trial without a value
    params = {name: encode(name, value) for name, value in trial.settings.items() if name in distributions}
    began = datetime.fromtimestamp(trial.suggested)
    return FrozenTrial(
        number=number - 1,
        trial_id=-1,
        state=state,
        value=max(curve.values()) if state == TrialState.COMPLETE else None,
        datetime_start=None if state == TrialState.WAITING else began,
        datetime_complete=datetime.fromtimestamp(ended) if state.is_finished() else None,
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs={"trial": number, "source": trial.source, "state": trial.state, "seed": trial.seed},
        system_attrs={"fail_reason": trial.reason} if trial.reason else {},
        intermediate_values={epoch: value for epoch, value in curve.items() if math.isfinite(value)},
    )


def _text(value: Any) -> Any:
    """A choice as Optuna can hold it: lists and mappings as JSON text."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value
