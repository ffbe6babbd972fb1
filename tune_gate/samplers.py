"""Samplers as folds of the log: which settings are tried next.

A suggestion is a pure function of the seed, the number of the trial, and the events so far: the random generator is
made anew for each one. So the suggestion after a crash is the one that an uninterrupted search would have drawn.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from analysis.events import Event
from search_spaces import SearchSpace
from tune_gate.errors import SpecError
from tune_gate.spec import StudySpec


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A point of the search space, and who drew it."""

    settings: Mapping[str, Any]
    source: str


class Sampler(Protocol):
    """The contract of a sampler; its conformance suite is tests/tune_gate/test_samplers.py."""

    def suggest(self, trial: int) -> Suggestion:
        """The point that trial number `trial` (from 1) tries; changes nothing."""

    def apply(self, event: Event) -> None:
        """Take one event of the log in."""


def derived_seed(seed: int, *names: object) -> int:
    """A seed in [0, 2**32) that depends on the study's seed and on what it is for, and on nothing else."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


class RandomSampler:
    """Independent draws from the space."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._seed = seed

    def suggest(self, trial: int) -> Suggestion:
        """The point that trial number `trial` tries."""
        generator = random.Random(derived_seed(self._seed, "random", trial))  # noqa: S311  not for secrets
        return Suggestion(self._space.sample(generator), "random")

    def apply(self, event: Event) -> None:
        """Nothing is learnt."""


class GridSampler:
    """Every point of an enumerable space once, in the space's order."""

    def __init__(self, space: SearchSpace) -> None:
        self._points = list(space.grid())

    def suggest(self, trial: int) -> Suggestion:
        """The `trial`-th point."""
        if trial > len(self._points):
            raise SpecError(
                f"the grid has {len(self._points)} points and none for trial {trial}; if the log has a gap in the "
                "numbers of its trials, `tune-gate repair DIR` closes it"
            )
        return Suggestion(self._points[trial - 1], "grid")

    def apply(self, event: Event) -> None:
        """Nothing is learnt."""


class GivenFirst:
    """The points that the spec names, the plain default before all, then another sampler: so a search can never hide
    that the default was as good.
    """

    def __init__(self, spec: StudySpec, then: Sampler) -> None:
        self._points = spec.first_points
        self._default = spec.default_point
        self._then = then

    def suggest(self, trial: int) -> Suggestion:
        """The `trial`-th point while there are any; then the other sampler's."""
        if trial > len(self._points):
            return self._then.suggest(trial)
        point = self._points[trial - 1]
        return Suggestion(point, "default" if point == self._default else "first")

    def apply(self, event: Event) -> None:
        """Pass the event on."""
        self._then.apply(event)


def _tpe(spec: StudySpec) -> Sampler:
    from tune_gate.tpe import TpeSampler  # noqa: PLC0415  Optuna is slow to import

    return TpeSampler(spec)


def _random(spec: StudySpec) -> Sampler:
    return RandomSampler(spec.search_space, spec.seed)


def _grid(spec: StudySpec) -> Sampler:
    size = sum(1 for _ in itertools.islice(spec.search_space.grid(), spec.trials))
    if size < spec.trials:
        name = spec.search_space.name
        raise SpecError(f"the grid of space {name!r} has {size} points, fewer than trials: {spec.trials}")
    return GridSampler(spec.search_space)


#: Builders of samplers, by the spec's `sampler.kind`.
SAMPLERS: Mapping[str, Callable[[StudySpec], Sampler]] = {"tpe": _tpe, "random": _random, "grid": _grid}


def build_sampler(spec: StudySpec) -> Sampler:
    """A sampler that has seen no event yet.

    Raises:
        SpecError: a grid is wanted that has too few points.
        SpaceError: a grid is wanted of a space that cannot be enumerated.
    """
    sampler = SAMPLERS[spec.sampler.kind](spec)
    return sampler if spec.sampler.kind == "grid" else GivenFirst(spec, sampler)
