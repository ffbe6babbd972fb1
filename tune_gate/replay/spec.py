"""The specification of a replayed search: a study's, with the kinds of search that only a replay tries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tune_gate.sections import SamplerSettings, SchedulerSettings
from tune_gate.spec import StudySpec

#: How TPE is told of a stopped trial; the ways are in `kinds.STOPPED`.
StoppedName = Literal["pruned", "complete", "nothing"]


class ReplayScheduler(SchedulerSettings):
    """A study's, or `hyperband` (synchronous brackets over the rungs) or `median` (the median stopping rule, at every
    epoch from the grace period on unless rungs are given).
    """

    kind: Literal["promotion", "asha", "full", "hyperband", "median"] = "promotion"  # type: ignore[assignment]  # wider

    def milestones(self, epochs: int) -> tuple[int, ...]:
        """The epochs at which trials are judged, below `epochs`, ascending."""
        rungs = super().milestones(epochs)
        return tuple(range(rungs[0], epochs)) if self.kind == "median" and self.rungs is None and rungs else rungs


class ReplaySampler(SamplerSettings):
    """A study's, or `recorded`, the recorded configurations in their order; `grid` takes numbers at so many levels,
    and `tpe` may be told of stopped trials in other ways.
    """

    kind: Literal["tpe", "tpe-rung", "random", "grid", "given", "recorded"] = "tpe-rung"  # type: ignore[assignment]
    levels: Annotated[int, Field(ge=1)] = 3  # of each number with more values than these
    stopped: StoppedName = "pruned"


class ReplaySpec(StudySpec):
    """The specification of a replayed search: its settings need be none of ours, for nothing is trained."""

    scheduler: ReplayScheduler = ReplayScheduler()
    sampler: ReplaySampler = ReplaySampler()
    recorded: tuple[Mapping[str, Any], ...] = ()  # points of sampler kind `recorded`

    @property
    def reported(self) -> tuple[int, ...]:
        """The epochs whose reports the search must see, ascending: what a decision rests on, and the last."""
        if self.scheduler.kind == "median":
            return tuple(range(1, self.epochs + 1))
        return tuple(sorted({*self.milestones, self.epochs}))

    def trial_settings(self, settings: Mapping[str, Any], seed: int, epochs: int) -> dict[str, Any]:  # noqa: ARG002
        """The point itself."""
        return dict(settings)
