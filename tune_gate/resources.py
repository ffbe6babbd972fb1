"""The group `resources` of a specification: what one trial is given, and how many run at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from tune_gate.sections import Section


class ResourceSettings(Section):
    """What one trial is given, and how many run at once."""

    cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    gpus: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # below 1: several trials share one
    memory: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # GB that Ray sets aside; default: none
    custom: Mapping[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)  # {spot: 1}
    labels: Mapping[str, str] = Field(default_factory=dict)  # that a node must have, {accelerator: a100}
    concurrency: Annotated[int, Field(ge=1)] | None = None  # default: as many as the cluster holds
    local_cpus: Annotated[int, Field(ge=1)] | None = None  # of the Ray that we start here; default: the machine's
    local_gpus: Annotated[int, Field(ge=0)] | None = None
