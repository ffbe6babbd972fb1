"""`study.yaml` → `StudySpec`: what a search is, validated and frozen before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import Field, ValidationError

from analysis.events import PROBE_VALUE
from search_spaces import SearchSpace, named_space, space_from_mapping, space_to_mapping
from search_spaces.errors import SpaceError, unknown_name
from trainables.config import TrialConfig, trial_config
from trainables.errors import ConfigError
from tune_gate.confirm_spec import ConfirmSettings
from tune_gate.dotted import with_changes
from tune_gate.errors import SpecError
from tune_gate.resources import ResourceSettings
from tune_gate.sections import CheckpointSettings, FailureSettings, SamplerSettings, SchedulerSettings, Section
from tune_gate.spec_checks import check_config, check_confirm, check_first, check_rungs, check_space

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


class StudySpec(Section):
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

    @property
    def rung_metric(self) -> str:
        """What a rung compares: the metric of the epoch, or that of its probe."""
        return self.metric if self.scheduler.probe is None else PROBE_VALUE

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
        check_config(spec)
        check_space(spec)
    except (SpaceError, ConfigError) as error:
        raise SpecError(str(error)) from None
    check_first(spec)
    check_confirm(spec)
    return spec


def plain_spec(kind: type[Spec], mapping: Mapping[str, Any]) -> Spec:
    """The specification of type `kind` that `mapping` describes, its space and settings not yet tried on a trial.

    Raises:
        SpecError: a key is unknown, a value is ill-typed or out of range, or a rung lies beyond the end.
    """
    try:
        spec = kind.model_validate(dict(mapping))
    except ValidationError as error:
        raise SpecError(_one_line(error, kind)) from None
    check_rungs(spec)
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


def _words(error: Exception) -> str:
    return " ".join(str(error).split())


def _section_of(section: Any, part: str) -> Any:
    """The section below `section` at `part`: its name, or an index into a list of sections."""
    kind = section if part.isdecimal() else section.model_fields[part].annotation
    while not hasattr(kind, "model_fields"):  # an optional section, or a tuple of them
        kind = get_args(kind)[0]
    return kind


def _one_line(error: ValidationError, kind: type[StudySpec]) -> str:
    """The first problem of a pydantic error of a `kind`, with the key's dotted name and, for an unknown key, the
    nearest one. An unknown key comes before a missing one: it is most likely that one, misspelt.
    """
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    where = [str(part) for part in problem["loc"] if "[" not in str(part)]  # `dict[str,any]` is pydantic's own word
    dotted = ".".join(where)
    if problem["type"] == "extra_forbidden":
        section: Any = kind
        for part in where[:-1]:
            section = _section_of(section, part)
        return unknown_name("key", where[-1], section.model_fields) + (
            f" (in {'.'.join(where[:-1])!r})" if where[:-1] else ""
        )
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in {"model_type", "dict_type"}:  # pydantic's own words name our classes
        message = "input should be a group of settings"
    return f"{dotted!r}: {message[0].lower()}{message[1:]} (given: {problem['input']!r})"
