"""What a study's rungs can see, from its learning-rate schedules alone: before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator

from trainables.config import TrialConfig, trial_config
from trainables.schedules import first_drop
from tune_gate.spec import StudySpec


def rung_warnings(spec: StudySpec) -> list[str]:
    """A line for each thing that the first rung comes too early for, in some corner of the space.

    Before the first drop of a step schedule the values rank configurations by how they start, which says little of how
    they end; inside the warm-up they say nothing at all.
    """
    if not spec.milestones:
        return []
    first = spec.milestones[0]
    configs = list(_corners(spec))
    warm = max((config.warmup_epochs for config in configs), default=0)
    found = []
    if first <= warm:
        found.append(f"rung {first} lies inside the warm-up of {warm} epochs, where values say nothing of the end")
    drops = sorted({drop for config in configs if (drop := first_drop(config)) is not None and first < drop})
    if drops and spec.scheduler.probe is None:  # a probe brings the rate down by itself
        found.append(
            f"rung {first} lies before the first drop of the learning rate (epoch {drops[-1]}): it ranks trials by "
            "how they start; scheduler.probe.share=0.25 ranks them by a short cool-down, and `tune-gate safety` or "
            "`replay --advise` on a study like this one tells if it is safe without"
        )
    return found


def _corners(spec: StudySpec) -> Iterator[TrialConfig]:
    yield spec.base_config
    for _, point in spec.search_space.corners():
        yield trial_config({**spec.config, **point, "epochs": spec.epochs})
