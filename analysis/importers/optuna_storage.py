"""Studies of Optuna: a storage URL (sqlite:///file.db, mysql://…) or a journal file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.importers.foreign import (
    Dimension,
    ForeignEpoch,
    ForeignState,
    ForeignStudy,
    ForeignTrial,
    ImportFailed,
    ImportOptions,
)
from analysis.importers.ranking import Ranking, chosen_ranking, ranked
from analysis.names import unknown_name

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage

#: Names of the metrics: what a trial reported step by step, and the value that it was told with at its end.
REPORTED, OBJECTIVE = "reported", "objective"

_STATES: Mapping[str, ForeignState] = {
    "COMPLETE": "completed",
    "PRUNED": "stopped",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


def read(source: str, options: ImportOptions) -> ForeignStudy:
    """The study in the storage `source`, the only one or the one that `options.study` names.

    Steps become epochs, counted from 1: a study that reported at step 0 is moved by one. Optuna records when a trial
    began and ended, not when it reported: its reports are spread evenly between.

    Raises:
        ImportFailed: the storage cannot be read, holds no such study, or the study has several objectives.
    """
    study = _load(source, options.study)
    if len(study.directions) > 1:
        raise ImportFailed(f"the study {study.study_name!r} has {len(study.directions)} objectives; one is wanted")
    found = study.get_trials(deepcopy=False)
    steps = [step for trial in found for step in trial.intermediate_values]
    offset = 1 if steps and min(steps) == 0 else 0
    trials = [_trial(trial, offset) for trial in found]
    minimised = study.directions[0].name == "MINIMIZE"
    reported = any(REPORTED in epoch.metrics for trial in trials for epoch in trial.epochs)
    ranking = chosen_ranking(trials, options, REPORTED if reported else OBJECTIVE)
    if minimised and options.unit is None:
        ranking = Ranking(ranking.metric, "loss", options.val_images)
    notes = [ranking.note, "Optuna does not record when a trial reported: its reports are spread evenly over its time"]
    space = {name: _dimension(each) for trial in found for name, each in trial.distributions.items()}
    return ForeignStudy(study.study_name, tuple(ranked(trials, ranking)), tuple(notes), space)


def open_storage(source: str) -> BaseStorage | str:
    """The storage at `source`: a URL, or the path of a journal file."""
    from optuna.storages import JournalStorage  # noqa: PLC0415  optuna is slow to import
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    return source if "://" in source else JournalStorage(JournalFileBackend(source))


def _load(source: str, name: str | None) -> optuna.Study:
    import optuna  # noqa: PLC0415  slow

    file = Path(source.removeprefix("sqlite:///"))
    if ("://" not in source or source.startswith("sqlite:///")) and not file.is_file():
        raise ImportFailed(f"{file} is no file; a storage URL (sqlite:///study.db) or a journal file is wanted")
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = open_storage(source)
        names = optuna.get_all_study_names(storage)
        if name is None and len(names) != 1:
            raise ImportFailed(f"{source} holds {len(names)} studies ({', '.join(names)}): name one with --study")
        if name is not None and name not in names:
            raise unknown_name("study", name, names)
        return optuna.load_study(study_name=name or names[0], storage=storage)
    except ImportFailed:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and "unknown study" in str(error):
            raise
        raise ImportFailed(f"cannot read the Optuna storage {source}: {' '.join(str(error).split())[:200]}") from None
    finally:
        optuna.logging.set_verbosity(level)


def _trial(trial: optuna.trial.FrozenTrial, offset: int) -> ForeignTrial:
    started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    ended = trial.datetime_complete.timestamp() if trial.datetime_complete else started
    values = {step + offset: {REPORTED: value} for step, value in sorted(trial.intermediate_values.items())}
    if trial.values is not None and math.isfinite(trial.values[0]):
        values.setdefault(max(values, default=1), {})[OBJECTIVE] = trial.values[0]
    step = (ended - started) / max(len(values), 1)
    epochs = tuple(
        ForeignEpoch(epoch, started + step * place, {**metrics, "seconds": step})
        for place, (epoch, metrics) in enumerate(values.items(), start=1)
    )
    reason = str(trial.system_attrs.get("fail_reason", ""))
    settings = {name: _setting(value) for name, value in trial.params.items()}
    state = _STATES[trial.state.name]
    return ForeignTrial(f"trial {trial.number}", settings, epochs, state, started, reason=reason)


def _dimension(distribution: BaseDistribution) -> Dimension:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: PLC0415

    if isinstance(distribution, CategoricalDistribution):
        return {"choice": [_setting(value) for value in distribution.choices]}
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # noqa: S101  Optuna has no fourth kind
    kind = "float" if isinstance(distribution, FloatDistribution) else "int"
    return {f"log-{kind}" if distribution.log else kind: [distribution.low, distribution.high]}


def _setting(value: Any) -> Any:
    """`value`, or the JSON value in a text that our own export made of one."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
