"""The section `confirm` of a specification: which configurations a study trains anew, with how many seeds.

`tune-gate confirm` writes it; its reader for tables is `analysis.arms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["winner", "runner-up", "top", "default", "control"]


class ArmSettings(BaseModel):
    """One configuration; its fields are told in `analysis.arms.Arm`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    trial: Annotated[int, Field(ge=1)] | None = None
    promised: float | None = None
    settings: Mapping[str, Any]


class ConfirmSettings(BaseModel):
    """What is confirmed: a search, by its folder and name, and the configurations, the winner first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    source_name: str
    seeds: Annotated[int, Field(ge=1)]
    arms: Annotated[tuple[ArmSettings, ...], Field(min_length=1)]
