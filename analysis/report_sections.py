"""The sections of a report: each is one function of a study and one entry in `SECTIONS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from analysis.confirmation import (
    CONFIRMATION_COLUMNS,
    confirmation_lines,
    confirmation_table,
    confirmed_differences,
)
from analysis.costs import LEDGER_PURPOSES, ledger
from analysis.early_stopping import early_stopping_safety
from analysis.errors import AnalysisError
from analysis.events import SessionStarted, Warned
from analysis.gate import gate_lines
from analysis.main_effects import effects
from analysis.plots.chart import Chart, NothingToShow
from analysis.plots.registry import chart
from analysis.plots.survey import picture_png, survey_of
from analysis.plots.verdicts import confirmation_of
from analysis.rungs import full_epochs, milestones
from analysis.scores import mixed_data, mixing_note
from analysis.tables import best_table
from analysis.wording import counted

if TYPE_CHECKING:
    import pandas as pd

    from analysis.study import Study

#: Rows of the best-config table.
TOP = 20

_MOST_WARNINGS = 10


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table under a caption; shown as `analysis.display` words it."""

    frame: pd.DataFrame
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, as the bytes of a PNG file."""

    png: bytes = field(repr=False)
    caption: str


Block = Words | Table | Chart | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report: its heading, and what makes its content."""

    title: str
    build: Callable[[Study], Iterator[Block]]


def summary(study: Study) -> Iterator[Block]:
    """What was searched, what was found, and what it cost."""
    trials = study.trials
    states = ", ".join(f"{count} {state}" for state, count in trials["state"].value_counts().items())
    if study.whole is not None:
        of_all = f"{len(trials)} of its {counted(len(study.whole.columns.trials), 'trial')}"
        yield Words(f"Only the trials with {', '.join(study.conditions)}, which are {of_all}, are in this report.")
    rungs = milestones(study)
    judged = (
        f"judged at epoch{'s' * (len(rungs) > 1)} {', '.join(map(str, rungs))}"
        if rungs
        else "none of them stopped early"
    )
    space = f"{len(study.spec.space)} settings ({', '.join(study.spec.space)})"
    yield Words(
        f"{counted(len(trials), 'trial')} of up to {counted(full_epochs(study), 'epoch')} over {space}, {judged}: "
        f"{states or 'none yet'}."
    )
    yield Words(_winner(study))
    mixed = mixed_data(study)
    if mixed:
        yield Words(mixing_note(mixed))
    folded = ledger(study)
    yield Words(f"{folded.allocated:.3g} {folded.unit} were allocated. {_sentence(folded.lines()[-1])}")
    yield Words(f"Early stopping: {early_stopping_safety(study).advice.removeprefix('advice: ')}.")
    warnings = [event.message for _, event in study.columns.others if isinstance(event, Warned)]
    if warnings:
        more = f" (and {len(warnings) - _MOST_WARNINGS} more)" if len(warnings) > _MOST_WARNINGS else ""
        yield Words(f"Warnings: {'; '.join(warnings[:_MOST_WARNINGS])}{more}.")


def best(study: Study) -> Iterator[Block]:
    """The best configurations."""
    table = best_table(study, TOP)
    if table.empty:
        raise NothingToShow("no trial has reported yet")
    first = ("rank", "trial", "val_acc", "val_acc_low", "val_acc_high", "tied", "test_acc", "test_acc_low",
             "test_acc_high")  # fmt: skip
    table = table[[*first, *(name for name in table if name not in first)]]  # in sight without scrolling
    yield Table(
        table,
        "Accuracy at the best epoch with its 95 % Wilson interval, on the validation images alone; that the best of "
        "many epochs and trials was picked is not in it.",
    )


def influence(study: Study) -> Iterator[Block]:
    """What each setting does."""
    for name in ("effects", "importance"):
        try:
            yield chart(study, name)
        except NothingToShow as why:
            yield Words(_sentence(str(why)))
    found = effects(study)
    matched = found.main[found.main["pairs"] > 0]
    pairs = matched.head(TOP)  # ranges of numbers give one for each two values
    if len(pairs):
        yield Table(
            pairs.assign(effect=100.0 * pairs["effect"], se=100.0 * pairs["se"]),
            f"The {len(pairs)} strongest of {len(matched)} effects, in percentage points; p: exact sign-flip test, "
            "which cannot go below smallest p.",
        )
    for row in found.interactions.to_dict("records"):
        yield Words(
            f"Interaction of {row['first']} with {row['second']}: {100 * row['interaction']:+.2f} points over "
            f"{row['squares']} squares. {row['warning']}"
        )


def safety(study: Study) -> Iterator[Block]:
    """What each rung knew of the end."""
    found = early_stopping_safety(study)
    try:
        yield chart(study, "safety")
    except NothingToShow as why:
        yield Words(_sentence(str(why)))
    yield Words(_sentence(found.advice.removeprefix("advice: ")))
    if not found.finished:
        return
    names = [
        "epoch",
        "n",
        "spearman",
        "spearman_low",
        "spearman_high",
        "kendall",
        "judged",
        "stopped",
        "winners",
        "lost",
    ]
    yield Table(
        found.frame()[names],
        "n: finished trials with a value there; Spearman's rho and Kendall's tau with their best value in the end; "
        "lost: later winners (the best tenth) that the rung would stop, judging all at once.",
    )


def confirmed(study: Study) -> Iterator[Block]:
    """What the best configurations reach anew, on test."""
    yield chart(study, "confirmation")
    found = confirmation_of(study)
    for line in confirmation_lines(found):
        yield Words(_sentence(line))
    table = confirmation_table(found)
    yield Table(table[[name for name in CONFIRMATION_COLUMNS if name in table]], "Test accuracy: mean over the seeds.")
    yield Table(
        confirmed_differences(found).drop(columns="configuration"),
        "The winner against each other configuration, seed by seed, in percentage points; p: exact sign-flip test.",
    )


def hardest_and_easiest(study: Study) -> Iterator[Block]:
    """The images for which the gate opens most, and least."""
    survey = survey_of(study)
    yield Picture(
        picture_png(survey),
        f"Validation images of trial {survey.trial} after epoch {survey.epoch}, with their g, their class and, where "
        "it is another one, the class predicted.",
    )
    for line in gate_lines(survey):
        yield Words(_sentence(line))


def costs(study: Study) -> Iterator[Block]:
    """Where the time went."""
    yield from _figure("ledger")(study)
    folded = ledger(study)
    yield Words(_sentence(folded.lines()[-1]))
    shown = [f"{purpose}: {LEDGER_PURPOSES[purpose]}" for purpose, hours in folded.totals.items() if hours]
    yield Words(f"{_sentence('; '.join(shown))}")


def origin(study: Study) -> Iterator[Block]:
    """What would repeat the study."""
    sessions = [event for _, event in study.columns.others if isinstance(event, SessionStarted)]
    versions = ", ".join(f"{name} {version}" for name, version in study.spec.versions.items())
    hosts = sorted({event.host for event in sessions})
    yield Words(
        f"Study {study.name}, made {study.spec.created}, seed {study.spec.seed}; "
        f"{counted(len(sessions), 'session')} on {', '.join(hosts) or 'no host'}. "
        f"Versions: {versions or 'not recorded'}."
    )


def _figure(name: str) -> Callable[[Study], Iterator[Block]]:
    def build(study: Study) -> Iterator[Block]:
        yield chart(study, name)

    return build


#: The sections in their order, by name.
SECTIONS: Mapping[str, Section] = MappingProxyType(
    {
        "summary": Section("Summary", summary),
        "best": Section("Best configurations", best),
        "history": Section("Best so far", _figure("history")),
        "curves": Section("Learning curves", _figure("curves")),
        "parallel": Section("Parallel coordinates", _figure("parallel")),
        "slices": Section("Slices", _figure("slices")),
        "contour": Section("Contours", _figure("contour")),
        "effects": Section("What each setting does", influence),
        "safety": Section("Was early stopping safe?", safety),
        "ledger": Section("Where the time went", costs),
        "confirmation": Section("Confirmation on test", confirmed),
        "pareto": Section("Accuracy against compute", _figure("pareto")),
        "gate": Section("Gate", _figure("gate")),
        "exits": Section("Exits", _figure("exits")),
        "gate-openness": Section("For whom the gate opens", _figure("gate-openness")),
        "gate-exits": Section("What each exit is worth", _figure("gate-exits")),
        "gate-skipping": Section("Accuracy against compute saved", _figure("gate-skipping")),
        "gate-pictures": Section("Hardest and easiest images", hardest_and_easiest),
        "origin": Section("Origin", origin),
    }
)


def _winner(study: Study) -> str:
    table = best_table(study)
    good = table[~table["ended"].str.startswith(("diverged", "failed"))]
    if good.empty:
        return "No trial has a result yet."
    first = good.iloc[0]
    words = (
        f"Best: trial {first['trial']} with {100 * first['val_acc']:.2f} % validation accuracy at epoch "
        f"{first['best_epoch']}"
    )
    if first["val_acc_low"] != first["val_acc_low"]:  # NaN: the number of images is not recorded
        return words + "."
    near = int(good["tied"].fillna(False).sum()) - 1  # noqa: FBT003  the winner is tied with itself
    interval = f" (95 % interval {100 * first['val_acc_low']:.2f} to {100 * first['val_acc_high']:.2f})"
    if not near:
        return f"{words}{interval}; the images tell it from every other trial."
    return (
        f"{words}{interval}; the images cannot tell {counted(near, 'other trial')} from it, so it need not be the best."
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else text


def blocks(study: Study, section: Section) -> list[Block]:
    """The content of a section, or a line that says what is missing for it."""
    try:
        return list(section.build(study))
    except NothingToShow as why:
        return [Words(f"Nothing to show: {why}.")]
    except AnalysisError as why:
        return [Words(f"This section could not be made: {why}.")]
