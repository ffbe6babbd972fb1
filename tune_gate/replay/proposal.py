"""Rungs for a search that has not begun, from the curves of one like it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from tune_gate.replay.recorded import RecordedCurves, load_curves
from tune_gate.replay.session import Request, advise_curves
from tune_gate.spec import StudySpec, study_spec


def proposed_rungs(spec: StudySpec, source: Path, request: Request) -> list[str]:
    """What the curves at `source`, a study or a table, speak for in a search of `spec`: a line to copy, and evidence.

    A first rung is taken as a part of the budget of a trial, for the two may have other budgets.

    Raises as `session.replay_study`.
    """
    curves = load_curves(source)
    _, advice = advise_curves(curves, request, spec.scheduler.kind)
    if advice.settings is None:
        return [f"from {source}: {advice.lines[0]}", *advice.lines[1:]]
    first = max(1, math.ceil(advice.settings["grace_period"] * spec.epochs / curves.epochs))
    scheduler = {**advice.settings, "grace_period": min(first, spec.epochs)}
    given = spec.model_dump(mode="json", exclude_unset=True)
    rungs = study_spec({**given, "scheduler": scheduler}).milestones
    written = ", ".join(f"{key}: {value}" for key, value in scheduler.items())
    return [
        f"proposed from {source}: scheduler: {{{written}}}, which has rungs at {', '.join(map(str, rungs)) or 'none'}",
        *advice.lines,
        *_differences(spec, curves),
    ]


def _differences(spec: StudySpec, curves: RecordedCurves) -> Iterator[str]:
    if curves.epochs != spec.epochs:
        yield f"doubt: a trial has {curves.epochs} epochs there and {spec.epochs} here"
    here, there = set(spec.search_space.names), set(curves.space.names)
    if here != there:
        yield f"doubt: only here or only there is searched: {', '.join(sorted(here ^ there))}"
