"""Probes in a replay: what recorded ones say at a rung, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tune_gate.errors import SpecError
from tune_gate.replay.recorded import Matrix, RecordedCurves
from tune_gate.replay.spec import ReplaySpec

#: Kinds of schedulers that judge by probes; the others have rungs that a study does not have.
_JUDGING = ("asha", "promotion", "full")


def check_probes(spec: ReplaySpec, curves: RecordedCurves) -> None:
    """See that the probes which the rungs of `spec` compare were recorded: a replay guesses none.

    Raises:
        SpecError: they were not, or of another length; or this kind of search compares no probes.
    """
    wanted, recorded = spec.scheduler.probe, curves.probes
    if wanted is None:
        return
    if spec.scheduler.kind not in _JUDGING:
        raise SpecError(f"scheduler: kind {spec.scheduler.kind!r} compares no probes; leave 'probe' out")
    if recorded is None:
        raise SpecError("scheduler: these curves were recorded without probes; leave 'probe' out")
    if wanted.share != recorded.share:
        raise SpecError(f"scheduler: the recorded probes have share {recorded.share:g}, not {wanted.share:g}")
    for rung in spec.milestones:
        reached = (curves.lengths > rung) | ((curves.lengths == rung) & ~curves.diverged)
        lacking = int(np.isnan(recorded.values[reached, rung - 1]).sum())
        if lacking:
            raise SpecError(f"scheduler: {lacking} of the curves have no probe at epoch {rung}; choose other 'rungs'")


def with_probe_hours(hours: Matrix, spec: ReplaySpec, curves: RecordedCurves) -> Matrix:
    """Hours of each epoch, with those of its probe where `spec` takes one."""
    if spec.scheduler.probe is None or curves.probes is None:
        return hours
    longer = hours.copy()
    for epoch in spec.scheduler.probed(spec.milestones):
        seconds = np.nan_to_num(curves.probes.seconds[:, epoch - 1])
        longer[:, epoch - 1] += seconds / 3600.0 if curves.timed else spec.scheduler.probe.share * epoch
    return longer


def probe_epochs(spec: ReplaySpec, epochs: Iterable[int]) -> float:
    """What the probes in a stretch of `epochs` cost, in epochs."""
    if spec.scheduler.probe is None:
        return 0.0
    probed = set(spec.scheduler.probed(spec.milestones))
    return spec.scheduler.probe.share * sum(epoch for epoch in epochs if epoch in probed)
