"""The kinds of search that a replay can try: those of a study, and some that only a replay has.

The latter are folds of the log like the former, pass the same conformance suites, and are here to be compared with;
`launch` does not offer them, for `why`, `plan` and `safety` know the rules of successive halving only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tune_gate.replay.grid import shuffled_grid
from tune_gate.replay.hyperband import Hyperband
from tune_gate.replay.median import MedianStopping
from tune_gate.replay.spec import ReplaySpec
from tune_gate.samplers import GivenFirst, ListSampler, Sampler, build_sampler
from tune_gate.schedulers import Scheduler, build_scheduler
from tune_gate.spec import StudySpec
from tune_gate.tpe import StoppedAs, TpeSampler, as_complete, as_nothing, as_pruned


def _hyperband(spec: ReplaySpec) -> Scheduler:
    return Hyperband(spec.metric, spec.epochs, spec.milestones, spec.scheduler.reduction_factor)


def _median(spec: ReplaySpec) -> Scheduler:
    return MedianStopping(spec.metric, spec.epochs, spec.milestones)


def _tpe(spec: ReplaySpec) -> Sampler:
    return GivenFirst(spec, TpeSampler(spec, STOPPED[spec.sampler.stopped]))


def _grid(spec: ReplaySpec) -> Sampler:
    return ListSampler(shuffled_grid(spec.search_space, spec.sampler.levels, spec.seed), "grid")


def _recorded(spec: ReplaySpec) -> Sampler:
    return ListSampler(spec.recorded, "recorded")


#: Builders of the schedulers and samplers that a replay has beside a study's, or in place of them, by kind.
SCHEDULERS: Mapping[str, Callable[[ReplaySpec], Scheduler]] = {"hyperband": _hyperband, "median": _median}
SAMPLERS: Mapping[str, Callable[[ReplaySpec], Sampler]] = {"tpe": _tpe, "grid": _grid, "recorded": _recorded}

#: How TPE is told of a stopped trial, by the spec's `sampler.stopped`.
STOPPED: Mapping[str, StoppedAs] = {"pruned": as_pruned, "complete": as_complete, "nothing": as_nothing}


def replay_folds(spec: StudySpec) -> tuple[Scheduler, Sampler]:
    """The scheduler and the sampler that `spec`, a `ReplaySpec`, names, which have seen no event yet.

    Raises:
        SpecError: its grid has too many points.
    """
    assert isinstance(spec, ReplaySpec)  # noqa: S101  for the type checker
    scheduler: Callable[[ReplaySpec], Scheduler] = SCHEDULERS.get(spec.scheduler.kind, build_scheduler)
    sampler: Callable[[ReplaySpec], Sampler] = SAMPLERS.get(spec.sampler.kind, build_sampler)
    return scheduler(spec), sampler(spec)
