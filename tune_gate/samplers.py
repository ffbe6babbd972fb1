"""Samplers as folds of the log: which settings are tried next.

A suggestion is a pure function of the seed, the number of the trial, and the events so far: the random generator is
made anew for each one. So the suggestion after a crash is the one that an uninterrupted search would have drawn.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from analysis.events import Event
from search_spaces import SearchSpace
from tune_gate.confirm_spec import ArmSettings
from tune_gate.errors import SpecError
from tune_gate.spec import StudySpec


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A point of the search space, and who drew it."""

    settings: Mapping[str, Any]
    source: str
    seed: int | None = None  # of the trial; None: as the study's seed and the trial's number give it

    def seed_of(self, trial: int, study_seed: int) -> int:
        """The seed of trial number `trial` with these settings."""
        return derived_seed(study_seed, "trial", trial) if self.seed is None else self.seed


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


class ListSampler:
    """Points that are known beforehand, such as those of a grid, each once, in their order."""

    def __init__(self, points: Iterable[Mapping[str, Any]], source: str) -> None:
        self._points = list(points)
        self._source = source

    def suggest(self, trial: int) -> Suggestion:
        """The `trial`-th point."""
        if trial > len(self._points):
            raise SpecError(
                f"the {self._source} has {len(self._points)} points and none for trial {trial}; if the log has a gap "
                "in the numbers of its trials, `tune-gate repair DIR` closes it"
            )
        return Suggestion(self._points[trial - 1], self._source)

    def apply(self, event: Event) -> None:
        """Nothing is learnt."""


class GivenSampler:
    """The configurations of a confirmation, each once with the first seed, then each with the second, and so on.

    All configurations share their seeds, so that they can be compared pair by pair; and since they go round, a
    confirmation that was cut short has tried all of them equally often.
    """

    def __init__(self, arms: Sequence[ArmSettings], seed: int) -> None:
        self._arms = arms
        self._seed = seed

    def suggest(self, trial: int) -> Suggestion:
        """The configuration and the seed of trial number `trial`."""
        replicate, place = divmod(trial - 1, len(self._arms))
        arm = self._arms[place]
        return Suggestion(arm.settings, arm.name, derived_seed(self._seed, "confirm", replicate + 1))

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


def _rung_tpe(spec: StudySpec) -> Sampler:
    from tune_gate.rung_tpe import RungTpeSampler  # noqa: PLC0415  it builds on this module

    return RungTpeSampler(spec)


def _random(spec: StudySpec) -> Sampler:
    return RandomSampler(spec.search_space, spec.seed)


def _grid(spec: StudySpec) -> Sampler:
    size = sum(1 for _ in itertools.islice(spec.search_space.grid(), spec.trials))
    if size < spec.trials:
        name = spec.search_space.name
        raise SpecError(f"the grid of space {name!r} has {size} points, fewer than trials: {spec.trials}")
    return ListSampler(spec.search_space.grid(), "grid")


def _given(spec: StudySpec) -> Sampler:
    if spec.confirm is None:
        raise SpecError("sampler kind 'given' needs the section 'confirm'")
    if spec.trials % len(spec.confirm.arms):
        raise SpecError(f"trials: {spec.trials} is no multiple of the {len(spec.confirm.arms)} configurations")
    return GivenSampler(spec.confirm.arms, spec.seed)


#: Builders of samplers, by the spec's `sampler.kind`.
SAMPLERS: Mapping[str, Callable[[StudySpec], Sampler]] = {
    "tpe": _tpe,
    "tpe-rung": _rung_tpe,
    "random": _random,
    "grid": _grid,
    "given": _given,
}

#: Those that leave no room for the points of `first`.
_COMPLETE = frozenset({"grid", "given"})


def build_sampler(spec: StudySpec) -> Sampler:
    """A sampler that has seen no event yet.

    Raises:
        SpecError: a grid is wanted that has too few points.
        SpaceError: a grid is wanted of a space that cannot be enumerated.
    """
    sampler = SAMPLERS[spec.sampler.kind](spec)
    return sampler if spec.sampler.kind in _COMPLETE else GivenFirst(spec, sampler)
