"""`study.yaml` → `StudySpec`: what a search is, validated and frozen before anything starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from search_spaces import Int, LogInt, Parameter, SearchSpace, named_space, space_from_mapping, space_to_mapping
from search_spaces.errors import SpaceError, unknown_name
from trainables.config import TrialConfig, trial_config
from trainables.errors import ConfigError
from trainables.schedules import gate_rate, trunk_rate
from tune_gate.confirm_spec import ConfirmSettings
from tune_gate.errors import SpecError

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


#: What a study may be called.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

#: The authors' own rates and schedules, their epochs as fractions. They are the plain default, too, unless a study's
#: `config` says otherwise.
AUTHORS: Mapping[str, Any] = {
    "lr": 0.1,
    "schedule": "multistep",
    "milestones": (0.4, 0.6),
    "gamma": 0.1,
    "lr_gate": 0.01,
    "schedule_gate": "constant",
}

#: What is worth a trial in every study: a cosine trunk, which spends a short budget better than two drops do, with a
#: gate that follows it; and what the authors themselves used.
KNOWN_GOOD: tuple[Mapping[str, Any], ...] = ({"schedule": "cosine", "schedule_gate": "follow"}, AUTHORS)


#: Of a range of whole numbers, so many are tried on a trial before a search: not every depth exists.
_WHOLE_NUMBERS_TRIED = 200


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool(cls, value: object) -> object:
        if isinstance(value, bool):  # pydantic takes true for 1
            raise ValueError("true and false are no value for it")
        return value


class SchedulerSettings(_Section):
    """Who may go on: `asha` stops a trial at a rung unless it is among the best 1/reduction_factor; `promotion` pauses
    it there, and lets it go on when it is; `full` never stops one.
    """

    kind: Literal["asha", "promotion", "full"] = "asha"
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    grace_period: Annotated[int, Field(ge=1)] | None = None  # first rung, epochs; default: a ninth of the budget
    rungs: tuple[Annotated[int, Field(ge=1)], ...] | None = None  # milestones; default: grace period times powers

    def milestones(self, epochs: int) -> tuple[int, ...]:
        """The epochs at which trials are judged, below `epochs`, ascending."""
        if self.kind == "full":
            return ()
        if self.rungs is not None:
            return tuple(sorted(set(self.rungs)))
        milestone = self.grace_period or max(1, math.ceil(epochs / 9))
        found = []
        while milestone < epochs:
            found.append(milestone)
            milestone *= self.reduction_factor
        return tuple(found)


class SamplerSettings(_Section):
    """Who suggests settings: `tpe` (Optuna), `tpe-rung` (all parameters jointly, from the values of the highest rung
    that has enough of them), `random`, `grid` (every point of an enumerable space, once), or `given` (the
    configurations of the section `confirm`, each with each of its seeds).
    """

    kind: Literal["tpe", "tpe-rung", "random", "grid", "given"] = "tpe-rung"
    startup: Annotated[int, Field(ge=1)] | None = None  # trials that end before TPE begins; default: see below
    explore: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5  # share of later suggestions that stay random

    def startup_trials(self, trials: int) -> int:
        """How many trials end before TPE begins: a quarter of all, between 4 and 10, unless set."""
        return self.startup or min(10, max(4, trials // 4))


class ResourceSettings(_Section):
    """What one trial is given, and how many run at once."""

    cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    gpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # below 1: several trials share one
    memory: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # GB that Ray sets aside; default: none
    custom: Mapping[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)  # {spot: 1}
    labels: Mapping[str, str] = Field(default_factory=dict)  # that a node must have, {accelerator: a100}
    concurrency: Annotated[int, Field(ge=1)] | None = None  # default: as many as the cluster holds
    local_cpus: Annotated[int, Field(ge=1)] | None = None  # of the Ray that we start here; default: the machine's
    local_gpus: Annotated[int, Field(ge=0)] | None = None


class CheckpointSettings(_Section):
    """How often a trial saves its state, how many states a live one keeps, and how many ended ones keep theirs."""

    every: Annotated[int, Field(ge=1)] = 1  # epochs
    keep: Annotated[int, Field(ge=2)] = 2  # newest states, beside the best
    best: Annotated[int, Field(ge=1)] = 10  # ended trials whose checkpoints are kept, the best of the study


class FailureSettings(_Section):
    """How often a trial that fails is tried again from its last checkpoint without getting further, and how long a
    silence counts as a failure.
    """

    retries: Annotated[int, Field(ge=0)] = 2
    silence: Annotated[float, Field(gt=0)] | None = None  # seconds; default: from the study's own epochs


class StudySpec(_Section):
    """A search, complete: the same spec and seed on the same machine give the same study.

    Build it with `study_spec`, which turns every mistake into a `SpecError` of one line.
    """

    name: Annotated[str, Field(pattern=NAME)] = "study"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    trials: Annotated[int, Field(ge=1)] = 16
    epochs: Annotated[int, Field(ge=1)] = 27  # of a trial that is never stopped
    metric: Literal["val_acc"] = "val_acc"  # larger is better
    trainable: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] = "trainables.tune_trainable:GatedResNetTrainable"
    config: Mapping[str, Any] = Field(default_factory=dict)  # what every trial shares
    space: Mapping[str, Any] | str = "gate-core"
    first: tuple[Mapping[str, Any], ...] = KNOWN_GOOD  # points tried after the default, as changes to it
    scheduler: SchedulerSettings = SchedulerSettings()
    sampler: SamplerSettings = SamplerSettings()
    resources: ResourceSettings = ResourceSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    failures: FailureSettings = FailureSettings()
    observers: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)  # {tensorboard: {}}, and others of Ray's
    confirm: ConfirmSettings | None = None  # of a study that `tune-gate confirm` made

    @cached_property
    def search_space(self) -> SearchSpace:
        """What varies."""
        if isinstance(self.space, str):
            return named_space(self.space)
        return space_from_mapping(dict(self.space), name=self.name)

    @cached_property
    def base_config(self) -> TrialConfig:
        """The plain default: the shared settings, with every other at its default."""
        return trial_config({**self.config, "epochs": self.epochs, "seed": self.seed})

    @property
    def milestones(self) -> tuple[int, ...]:
        """The rungs' epochs, ascending."""
        return self.scheduler.milestones(self.epochs)

    @cached_property
    def default_point(self) -> dict[str, Any] | None:
        """The plain default as a point of the space; None where it lies outside."""
        return self.search_space.project(self._plain_default)

    @cached_property
    def _plain_default(self) -> dict[str, Any]:
        return self.base_config.model_dump(mode="json")

    @cached_property
    def first_points(self) -> tuple[dict[str, Any], ...]:
        """The points of the space that are tried first: the plain default, then `first`; without repeats.

        A point that lies outside the space is left out: only `study_spec` knows whether its author asked for it.
        """
        points: list[dict[str, Any]] = []
        for changes in ({}, *self.first):
            point = self.search_space.project({**self._plain_default, **changes})
            if point is not None and point not in points:
                points.append(point)
        return tuple(points)

    def trial_settings(self, settings: Mapping[str, Any], seed: int, epochs: int) -> dict[str, Any]:
        """The full settings of a trial of up to `epochs`, as plain JSON values."""
        chosen = {**self.config, **settings, "epochs": epochs, "seed": seed}
        return trial_config(chosen).model_dump(mode="json")

    def to_record(self) -> dict[str, Any]:
        """The spec as plain JSON values with nothing left to look up: the space written out, the rungs fixed."""
        record = self.model_dump(mode="json")
        record["space"] = space_to_mapping(self.search_space)
        record["first"] = [dict(point) for point in self.first_points]
        record["scheduler"] |= {"rungs": list(self.milestones), "grace_period": None}
        return record


Spec = TypeVar("Spec", bound=StudySpec)


def study_spec(mapping: Mapping[str, Any]) -> StudySpec:
    """The specification that `mapping` describes.

    Raises:
        SpecError: a key is unknown (the nearest known one is named), a value is ill-typed or out of range, or the
            space offers a value that no trial can take.
    """
    spec = plain_spec(StudySpec, mapping)
    try:
        _check_config(spec)
        _check_space(spec)
    except (SpaceError, ConfigError) as error:
        raise SpecError(str(error)) from None
    _check_first(spec)
    _check_confirm(spec)
    return spec


def plain_spec(kind: type[Spec], mapping: Mapping[str, Any]) -> Spec:
    """The specification of type `kind` that `mapping` describes, its space and settings not yet tried on a trial.

    Raises:
        SpecError: a key is unknown, a value is ill-typed or out of range, or a rung lies beyond the end.
    """
    try:
        spec = kind.model_validate(dict(mapping))
    except ValidationError as error:
        raise SpecError(_one_line(error)) from None
    _check_rungs(spec)
    return spec


def load_spec(path: Path, changes: Mapping[str, Any] | None = None) -> StudySpec:
    """The specification in the YAML file at `path`, with `changes` (dotted keys, as `--set` gives them) applied.

    Raises:
        SpecError: the file is missing, is no YAML mapping, or describes no valid study.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise SpecError(f"cannot read {path}: {reason}") from None
    return parse_spec(text, str(path), changes)


def parse_spec(text: str, source: str, changes: Mapping[str, Any] | None = None) -> StudySpec:
    """The specification in the YAML `text`, which came from `source`, with `changes` applied. Raises as `load_spec`."""
    try:
        mapping = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise SpecError(f"{source}{where} is not YAML: {getattr(error, 'problem', _words(error))}") from None
    if not isinstance(mapping or {}, dict):
        raise SpecError(f"{source} is not a mapping of settings (for example `trials: 16`)")
    try:
        return study_spec(with_changes(mapping or {}, changes or {}))
    except SpecError as error:
        raise SpecError(f"{source}: {error}") from None


def with_changes(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `mapping` in which each dotted key of `changes` is set.

    Raises:
        SpecError: a key leads through a value that is no mapping.
    """
    result = dict(mapping)
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        place = result
        for step in path:
            inner = place.get(step, {})
            if not isinstance(inner, dict):
                raise SpecError(f"cannot set {dotted!r}: {step!r} is {inner!r}, not a group of settings")
            place[step] = dict(inner)
            place = place[step]
        place[last] = value
    return result


def flat_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a spec's record by dotted key, its groups opened."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": setting for inner, setting in value.items()}
        else:
            flat[name] = value
    return flat


def parse_change(text: str) -> tuple[str, Any]:
    """`a.b=value` as (dotted key, YAML value).

    Raises:
        SpecError: there is no `=`, no key, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SpecError(f"--set {text!r} is not of the form KEY=VALUE (for example --set trials=20)")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise SpecError(f"--set {text!r}: the value is not YAML") from None


def _words(error: Exception) -> str:
    return " ".join(str(error).split())


def _check_config(spec: StudySpec) -> None:
    for key in ("epochs", "seed"):
        if key in spec.config:
            raise SpecError(f"'config.{key}' belongs one level up: set '{key}' of the study")
    _check_schedules(spec.base_config)


def _check_schedules(config: TrialConfig) -> None:
    trunk_rate(config, 0)
    gate_rate(config, 0)


def _check_space(spec: StudySpec) -> None:
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


def _check_first(spec: StudySpec) -> None:
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


def _check_confirm(spec: StudySpec) -> None:
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


def _check_rungs(spec: StudySpec) -> None:
    settings = spec.scheduler
    if settings.rungs is not None and settings.grace_period is not None:
        raise SpecError("scheduler: give 'rungs' or 'grace_period', not both")
    if settings.kind == "full" and (settings.rungs or settings.grace_period):
        raise SpecError("scheduler: kind 'full' has no rungs; use kind 'asha'")
    if settings.grace_period is not None and settings.grace_period >= spec.epochs:
        raise SpecError(
            f"scheduler: grace_period {settings.grace_period} is not below epochs {spec.epochs}, so no trial would "
            "be stopped; say kind: full if that is meant"
        )
    too_late = [rung for rung in settings.rungs or () if rung >= spec.epochs]
    if too_late:
        raise SpecError(f"scheduler: rung {too_late[0]} is not below epochs {spec.epochs}")


def _section_of(section: Any, part: str) -> Any:
    """The section below `section` at `part`: its name, or an index into a list of sections."""
    kind = section if part.isdecimal() else section.model_fields[part].annotation
    while not hasattr(kind, "model_fields"):  # an optional section, or a tuple of them
        kind = get_args(kind)[0]
    return kind


def _one_line(error: ValidationError) -> str:
    """The first problem of a pydantic error, with the key's dotted name and, for an unknown key, the nearest one."""
    problem = error.errors()[0]
    where = [str(part) for part in problem["loc"] if "[" not in str(part)]  # `dict[str,any]` is pydantic's own word
    dotted = ".".join(where)
    if problem["type"] == "extra_forbidden":
        section: Any = StudySpec
        for part in where[:-1]:
            section = _section_of(section, part)
        return unknown_name("key", where[-1], section.model_fields) + (
            f" (in {'.'.join(where[:-1])!r})" if where[:-1] else ""
        )
    message = problem["msg"].removeprefix("Value error, ")
    return f"{dotted!r}: {message[0].lower()}{message[1:]} (given: {problem['input']!r})"
