"""One `tune-gate replay`: what was asked for, and the comparison that answers it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np

from search_spaces.errors import unknown_name
from tune_gate.errors import SpecError
from tune_gate.replay.advice import Advice, advise, form_of
from tune_gate.replay.comparison import Comparison, ReplaySettings, compare
from tune_gate.replay.lookup import LookupKind
from tune_gate.replay.recorded import RecordedCurves, load_curves
from tune_gate.replay.variants import USUAL, Variant, load_variant

#: Budget over a table of another search, in full-length trials; a study's own is its number of trials.
TABLE_BUDGET = 20.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    tried: tuple[Path, ...] = ()
    usual: bool = False
    workers: int = 4
    seeds: int = 20
    budget: float | None = None  # full-length trials; None: the study's own number of trials
    lookup: str = "nearest"
    epoch_seconds: float | None = None
    tolerance: float | None = None  # None: one standard error of the best known, where it can be computed


def replay_study(path: Path, request: Request) -> Comparison:
    """Compare the searches asked for over the curves at `path`. A study's own settings are among them.

    Raises:
        Misuse: there are no curves at `path`, or no such lookup.
        SpecError: the settings of a search are wrong.
        StudyNotFound, SchemaUnknown, AnalysisError, LogCorrupt, SpaceError: the study cannot be read.
    """
    curves = _curves(path, request)
    own = [Variant("as it was", {})] if curves.settings else []
    variants = [*own, *map(load_variant, request.tried), *(USUAL if request.usual else ())]
    return compare(curves, variants, _settings(curves, request))


def advise_study(path: Path, request: Request) -> tuple[Comparison, Advice]:
    """Which first rung and reduction factor the curves at `path` speak for. Raises as `replay_study`."""
    curves = _curves(path, request)
    return advise_curves(curves, request, curves.settings.get("scheduler", {}).get("kind", ""))


def advise_curves(curves: RecordedCurves, request: Request, kind: str) -> tuple[Comparison, Advice]:
    """Which first rung and reduction factor `curves` speak for in a study with this kind of scheduler."""
    return advise(curves, _settings(curves, request), form_of(kind))


def _curves(path: Path, request: Request) -> RecordedCurves:
    if request.lookup not in get_args(LookupKind):
        raise SpecError(unknown_name("lookup", request.lookup, get_args(LookupKind)))
    curves = load_curves(path)
    if request.epoch_seconds is not None:
        curves = dataclasses.replace(curves, seconds=np.full_like(curves.values, request.epoch_seconds))
    return curves


def _settings(curves: RecordedCurves, request: Request) -> ReplaySettings:
    budget, trials = request.budget, None
    if budget is None:
        budget, trials = (math.inf, curves.trials) if curves.settings else (TABLE_BUDGET, None)
    tolerance = curves.standard_error if request.tolerance is None else request.tolerance
    return ReplaySettings(
        workers=request.workers,
        seeds=request.seeds,
        budget=budget,
        trials=trials,
        lookup=cast("LookupKind", request.lookup),
        first_seed=int(curves.settings.get("seed", 0)),
        tolerance=tolerance,
    )
