"""The group `resources` of a specification: what one trial is given, and how many run at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from tune_gate.sections import Section

#: What can be left to a measured trial.
Measurable = Literal["cpus", "gpus"]

#: How a study says so, of one of them or of the whole group.
AUTO = "auto"


class ResourceSettings(Section):
    """What one trial is given, and how many run at once.

    `resources: auto`, `cpus: auto` and `gpus: auto` leave the amount to a measured trial (`tune_gate.packing`); they
    are kept in `auto`, and until the search has measured, the amounts are the defaults.
    """

    cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    gpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # below 1: several trials share one
    memory: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # GB that Ray sets aside; default: none
    custom: Mapping[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)  # {spot: 1}
    labels: Mapping[str, str] = Field(default_factory=dict)  # that a node must have, {accelerator: a100}
    concurrency: Annotated[int, Field(ge=1)] | None = None  # default: as many as the cluster holds
    local_cpus: Annotated[int, Field(ge=1)] | None = None  # of the Ray that we start here; default: the machine's
    local_gpus: Annotated[int, Field(ge=0)] | None = None
    auto: tuple[Measurable, ...] = ()  # what is still to be measured

    @model_validator(mode="before")
    @classmethod
    def _read_auto(cls, given: Any) -> Any:
        if isinstance(given, str):
            if given != AUTO:
                raise ValueError("input should be auto, or a group of settings")
            return {"auto": get_args(Measurable)}
        if not isinstance(given, Mapping):
            return given
        left = [name for name in get_args(Measurable) if given.get(name) == AUTO]
        if not left:
            return given
        return {**{name: value for name, value in given.items() if name not in left}, "auto": left}

    @model_validator(mode="after")
    def _not_both(self) -> ResourceSettings:
        for name in self.auto:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is a number or auto, not both")
        return self
