"""Which first rung and reduction factor recorded curves speak for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tune_gate.replay.comparison import Comparison, ReplaySettings, Summary, compare
from tune_gate.replay.recorded import RecordedCurves
from tune_gate.replay.variants import Variant
from tune_gate.sections import SchedulerSettings

#: First rungs that are tried, as parts of the budget of a trial, and reduction factors.
FIRST_RUNGS = (1 / 27, 1 / 9, 1 / 3)
REDUCTION_FACTORS = (2, 3, 4)

#: A search that finds what random search at full length finds may miss it in so many more of its runs.
TOLERATED = 0.05

#: How a table names the forms of ASHA.
_FORM_NAMES = {"asha": "ASHA", "promotion": "promotion"}


@dataclass(frozen=True, slots=True)
class Advice:
    """A scheduler, and what speaks for it."""

    settings: Mapping[str, Any] | None  # the section of a study; None: none tried is as safe as training to the end
    lines: tuple[str, ...]

    @property
    def scheduler(self) -> str | None:
        """The settings as a study writes them, in a line."""
        if self.settings is None:
            return None
        return "{" + ", ".join(f"{key}: {value}" for key, value in self.settings.items()) + "}"


def form_of(kind: str) -> str:
    """The form of ASHA to advise on in a study with this kind of scheduler: its own, or else the default one."""
    return kind if kind in _FORM_NAMES else SchedulerSettings().kind


def advise(curves: RecordedCurves, settings: ReplaySettings, form: str) -> tuple[Comparison, Advice]:
    """Replay ASHA with random suggestions, so that only the scheduler counts, over first rungs and reduction factors.

    The advice is the cheapest in epochs of those that reach the target about as often as random search at full length:
    the best known within the tolerance where there is one, else the reference's median best value.
    """
    variants = list(_candidates(curves.epochs, form))
    comparison = compare(curves, variants, settings)
    reference, *tried = comparison.summaries()
    safe = [
        (summary, variant)
        for summary, variant in zip(tried, variants, strict=True)
        if _share(comparison, summary) >= _share(comparison, reference) - TOLERATED
    ]
    if not safe:
        return comparison, Advice(
            None,
            (
                f"advice: none of the {len(tried)} schedulers tried finds what random search at full length finds as "
                "often; use scheduler.kind=full, or later rungs",
            ),
        )
    best, variant = min(safe, key=lambda pair: (_cost(comparison, pair[0]), pair[0].name))
    chosen = variant.settings["scheduler"]
    return comparison, Advice(
        chosen,
        (
            f"advice: scheduler.grace_period={chosen['grace_period']} and scheduler.reduction_factor="
            f"{chosen['reduction_factor']}: {_cost_words(comparison, best)} where random search at full length needs "
            f"{_cost_words(comparison, reference)} ({settings.seeds} seeds, {settings.workers} workers, "
            f"{len(curves.points)} configurations)",
            *_doubts(curves, best),
        ),
    )


def _candidates(epochs: int, form: str) -> Iterator[Variant]:
    for first in sorted({max(1, math.ceil(epochs * part)) for part in FIRST_RUNGS}):
        if first < epochs:
            for factor in REDUCTION_FACTORS:
                scheduler = {"kind": form, "grace_period": first, "reduction_factor": factor}
                name = f"{_FORM_NAMES[form]} from {first} by {factor}"
                yield Variant(name, {"scheduler": scheduler, "sampler": {"kind": "random"}})


def _target(comparison: Comparison) -> float:
    if comparison.settings.tolerance:
        return comparison.curves.best - comparison.settings.tolerance
    return comparison.summaries()[0].best.median


def _of(comparison: Comparison, summary: Summary) -> list[float]:
    search = next(search for search in comparison.searches if search.variant.name == summary.name)
    return search.epochs_to(_target(comparison))


def _share(comparison: Comparison, summary: Summary) -> float:
    lengths = _of(comparison, summary)
    return sum(map(math.isfinite, lengths)) / len(lengths)


def _cost(comparison: Comparison, summary: Summary) -> float:
    lengths = sorted(_of(comparison, summary))
    return lengths[len(lengths) // 2]


def _cost_words(comparison: Comparison, summary: Summary) -> str:
    cost = _cost(comparison, summary)
    words = f"{cost:,.0f} epochs in the median" if math.isfinite(cost) else "more than its budget in the median"
    return f"{words} to reach {_target(comparison):.6g} ({_share(comparison, summary):.0%} of the runs do)"


def _doubts(curves: RecordedCurves, best: Summary) -> Iterator[str]:
    if best.censored:
        yield (
            f"doubt: in {best.censored:.0%} of its runs a trial would have gone on beyond its recorded curve; a study "
            "without early stopping (scheduler.kind=full) would tell more"
        )
    if len(curves.points) < 20:
        yield f"doubt: {len(curves.points)} configurations are few; treat this as a lead"
