"""What must hold of a specification beyond the types of its settings. Each check raises `SpecError` of one line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from search_spaces import Int, LogInt, Parameter, SearchSpace
from search_spaces.errors import unknown_name
from trainables.config import TrialConfig, trial_config
from trainables.errors import ConfigError
from trainables.schedules import gate_rate, trunk_rate
from tune_gate.errors import SpecError

if TYPE_CHECKING:
    from tune_gate.spec import StudySpec

#: Settings that a search must not vary: they would compare trials on different data or at different lengths.
NOT_SEARCHABLE: Mapping[str, str] = {
    **dict.fromkeys(
        ("data", "data_dir", "split", "split_seed", "val_fraction", "label_noise"),
        "trials on different data cannot be compared",
    ),
    "epochs": "it is the search's budget; set 'epochs' of the study",
    "seed": "it is derived from the study's seed",
    "preset": "it is a base for the others; set it in 'config'",
}

#: Of a range of whole numbers, so many are tried on a trial before a search: not every depth exists.
_WHOLE_NUMBERS_TRIED = 200


def check_config(spec: StudySpec) -> None:
    """What all trials share makes a trial, and says nothing that the study says."""
    for key in ("epochs", "seed"):
        if key in spec.config:
            raise SpecError(f"'config.{key}' belongs one level up: set '{key}' of the study")
    _check_schedules(spec.base_config)


def _check_schedules(config: TrialConfig) -> None:
    trunk_rate(config, 0)
    gate_rate(config, 0)


def check_space(spec: StudySpec) -> None:
    """Try every end and every choice of every dimension on a trial, and every whole number of a short range."""
    for parameter in spec.search_space.parameters:
        name = parameter.name
        if name in NOT_SEARCHABLE:
            raise SpecError(f"{name!r} cannot be searched: {NOT_SEARCHABLE[name]}")
        if name not in TrialConfig.model_fields:
            raise SpecError(unknown_name("setting in the space:", name, TrialConfig.model_fields))
    for parameter, point in _trial_points(spec.search_space):
        try:
            _check_schedules(trial_config({**spec.config, "epochs": spec.epochs, **point}))
        except ConfigError as error:
            raise SpecError(f"space, {parameter.name!r}: {error}") from None


def _trial_points(space: SearchSpace) -> Iterator[tuple[Parameter, Mapping[str, Any]]]:
    parents = {parameter.condition.parent for parameter in space.parameters if parameter.condition is not None}
    for parameter, point in space.corners():
        yield parameter, point
        if isinstance(parameter.dimension, Int | LogInt) and parameter.name not in parents:
            for value in itertools.islice(parameter.dimension.finite(), _WHOLE_NUMBERS_TRIED):
                yield parameter, {**point, parameter.name: value}


def check_first(spec: StudySpec) -> None:
    """Points that were asked for must lie in the space; the built-in ones may lie outside of one."""
    if "first" not in spec.model_fields_set:
        return
    default = spec.base_config.model_dump(mode="json")
    for changes in spec.first:
        for name in changes:
            if name not in spec.search_space.names:
                raise SpecError(unknown_name("setting in 'first':", name, spec.search_space.names))
        if spec.search_space.project({**default, **changes}) is None:
            raise SpecError(f"'first': {dict(changes)} lies outside the space")


def check_confirm(spec: StudySpec) -> None:
    """A confirmation trains what it was given, to the end, and nothing else."""
    if (spec.confirm is None) != (spec.sampler.kind != "given"):
        raise SpecError("sampler kind 'given' and section 'confirm' go together; `tune-gate confirm` writes both")
    if spec.confirm is None:
        return
    if spec.milestones:
        raise SpecError("a confirmation trains every configuration to the end; use scheduler kind 'full'")
    if spec.trials % len(spec.confirm.arms):
        raise SpecError(f"trials: {spec.trials} is no multiple of the {len(spec.confirm.arms)} configurations")
    for arm in spec.confirm.arms:
        for name in arm.settings:
            if name not in spec.search_space.names:
                raise SpecError(unknown_name(f"setting of {arm.name!r} in 'confirm':", name, spec.search_space.names))
        try:
            _check_schedules(trial_config({**spec.config, "epochs": spec.epochs, **arm.settings}))
        except ConfigError as error:
            raise SpecError(f"confirm, {arm.name!r}: {error}") from None


def check_rungs(spec: StudySpec) -> None:
    """Rungs and probes lie below the end, and rungs are given in one way."""
    settings = spec.scheduler
    if settings.rungs is not None and settings.grace_period is not None:
        raise SpecError("scheduler: give 'rungs' or 'grace_period', not both")
    if settings.kind == "full" and (settings.rungs or settings.grace_period):
        raise SpecError("scheduler: kind 'full' has no rungs; use kind 'promotion' or 'asha'")
    if settings.grace_period is not None and settings.grace_period >= spec.epochs:
        raise SpecError(
            f"scheduler: grace_period {settings.grace_period} is not below epochs {spec.epochs}, so no trial would "
            "be stopped; say kind: full if that is meant"
        )
    too_late = [rung for rung in settings.rungs or () if rung >= spec.epochs]
    if too_late:
        raise SpecError(f"scheduler: rung {too_late[0]} is not below epochs {spec.epochs}")
    if settings.probe is None:
        return
    if not settings.probed(spec.milestones):
        raise SpecError("scheduler: there is no rung to probe at; name epochs in 'probe.at', or leave 'probe' out")
    if max(settings.probe.at, default=0) >= spec.epochs:
        raise SpecError(f"scheduler: probe.at {max(settings.probe.at)} is not below epochs {spec.epochs}")
