"""The groups of settings in a specification, each with its defaults."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Section(BaseModel):
    """A group of settings: frozen, an unknown key is an error, and true is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool(cls, value: object) -> object:
        if isinstance(value, bool):  # pydantic takes true for 1
            raise ValueError("true and false are no value for it")
        return value


class ProbeSettings(Section):
    """Decayed probes: before a rung judges a trial, a copy of it trains a short cool-down, and its accuracy is what the
    rung compares. The trial goes on from where it was.
    """

    share: Annotated[float, Field(gt=0.0, le=1.0)]  # length of the cool-down, of the epochs so far
    at: tuple[Annotated[int, Field(ge=1)], ...] = ()  # epochs to probe besides the rungs, for the record alone


class SchedulerSettings(Section):
    """Who may go on: `promotion` pauses a trial at a rung, and lets it go on when it is among the best
    1/reduction_factor; `asha` stops it there unless it is; `full` never stops one.
    """

    kind: Literal["promotion", "asha", "full"] = "promotion"
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    grace_period: Annotated[int, Field(ge=1)] | None = None  # first rung, epochs; default: a ninth of the budget
    rungs: tuple[Annotated[int, Field(ge=1)], ...] | None = None  # milestones; default: grace period times powers

    probe: ProbeSettings | None = None  # {share: 0.25}; default: rungs compare the epochs themselves

    def probed(self, rungs: Iterable[int]) -> tuple[int, ...]:
        """The epochs after which a trial is probed, ascending, in a study with these rungs."""
        return () if self.probe is None else tuple(sorted({*rungs, *self.probe.at}))

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


class SamplerSettings(Section):
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


class CheckpointSettings(Section):
    """How often a trial saves its state, how many states a live one keeps, and how many ended ones keep theirs."""

    every: Annotated[int, Field(ge=1)] = 1  # epochs
    keep: Annotated[int, Field(ge=2)] = 2  # newest states, beside the best
    best: Annotated[int, Field(ge=1)] = 10  # ended trials whose checkpoints are kept, the best of the study


class FailureSettings(Section):
    """How often a trial that fails is tried again from its last checkpoint without getting further, and how long a
    silence counts as a failure.
    """

    retries: Annotated[int, Field(ge=0)] = 2
    silence: Annotated[float, Field(gt=0)] | None = None  # seconds; default: from the study's own epochs
