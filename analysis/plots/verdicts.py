"""Figures of what a search cost, and of whether stopping early was safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.confirmation import confirmation_of_study, confirmation_runs, confirmation_table
from analysis.confirmed import confirmations
from analysis.copies import quoted
from analysis.costs import ledger
from analysis.early_stopping import early_stopping_safety
from analysis.plots.chart import BLUE, GREY, ORANGE, VERMILLION, Axis, Bars, Chart, Lines, NothingToShow, Panel, Points
from analysis.wording import counted

if TYPE_CHECKING:
    from analysis.study import Study


def safety(study: Study) -> Chart:
    """The rank correlation of each rung with the end, and the winners that it would have stopped, with intervals."""
    found = early_stopping_safety(study)
    rungs = [rung for rung in found.rungs if not np.isnan(rung.spearman)]
    if not rungs:
        raise NothingToShow(f"{counted(found.finished, 'trial')} finished: too few for a rank correlation")
    x = np.array([rung.epoch for rung in rungs], dtype=np.float64)
    rho, low, high = (
        np.array([getattr(rung, name) for rung in rungs]) for name in ("spearman", "spearman_low", "spearman_high")
    )
    lost, lost_low, lost_high = (
        100.0 * np.array([getattr(rung, name) for rung in rungs]) for name in ("lost_share", "lost_low", "lost_high")
    )
    labels = tuple(f"{rung.n} trials" for rung in rungs)
    losers = tuple(f"{rung.lost} of {rung.winners} winners" for rung in rungs)
    ends = np.array([0.0, float(found.full_epochs)])
    epoch = Axis("Epoch of the rung" if found.own_rungs else "Epoch")
    panels = (
        Panel(
            epoch,
            Axis("Rank correlation"),
            (
                Lines("chance", GREY, ends, np.zeros(2), width=1.0),
                Points("Spearman's rho with the end", BLUE, x, rho, labels, low, high, size=7.0),
            ),
        ),
        Panel(
            epoch,
            Axis("Winners stopped (%)"),
            (
                Lines("none", GREY, ends, np.zeros(2), width=1.0),
                Points("later winners that it would stop", VERMILLION, x, lost, losers, lost_low, lost_high, size=7.0),
            ),
        ),
    )
    caption = (
        f"What each {'rung' if found.own_rungs else 'epoch'} knew of the end, among {found.finished} finished trials "
        "(95 % intervals)."
    )
    return Chart("safety", "Was early stopping safe?", caption, panels, columns=2, height=2.2, legend=False)


def spent(study: Study) -> Chart:
    """The ledger: hours by purpose."""
    folded = ledger(study)
    if not folded.allocated:
        raise NothingToShow("nothing was spent yet")
    texts = tuple(f"{hours:.3g} ({hours / folded.allocated:.0%})" for hours in folded.totals.values())
    bars = Bars("hours", BLUE, tuple(folded.totals), np.array(list(folded.totals.values())), texts)
    caption = f"Where {folded.allocated:.3g} {folded.unit} went; the bars add up to what was allocated."
    panel = Panel(Axis(folded.unit), Axis(""), (bars,))
    return Chart("ledger", "Where the time went", caption, (panel,), legend=False, height=1.9)


def confirmation_of(study: Study) -> Study:
    """The newest confirmation of a search that has measured something; a confirmation itself.

    Raises:
        NothingToShow: there is none.
    """
    found = confirmations(study)
    measured = next((each for each in found if confirmation_runs(each)["test_acc"].notna().any()), None)
    if measured is None and found:
        raise NothingToShow("the confirmation has not measured anything yet: the test split is opened at its end")
    if measured is None and study.spec.runs:
        raise NothingToShow("no configuration was confirmed, and of an imported study none can be")
    if measured is None:
        raise NothingToShow(f"no configuration was confirmed: `tune-gate confirm {quoted(study.path)}` does it")
    return measured


def confirmed(study: Study) -> Chart:
    """Test accuracy of every confirmed configuration: each seed, their mean with its interval, and the promise."""
    found = confirmation_of(study)
    table, runs = confirmation_table(found), confirmation_runs(found)
    arms = confirmation_of_study(found).arms
    places = {arm.name: float(place) for place, arm in enumerate(arms)}
    runs = runs[runs["test_acc"].notna()]
    x = np.array([places[name] for name in table["configuration"]])
    mean, low, high, promised = (
        100.0 * table[name].to_numpy(dtype=np.float64)
        for name in ("test_acc", "test_acc_low", "test_acc_high", "promised_val_acc")
    )
    seeds = Points(
        "one seed",
        GREY,
        np.array([places[name] + 0.12 for name in runs["configuration"]]),
        100.0 * runs["test_acc"].to_numpy(),
        tuple(f"seed {seed}" for seed in runs["seed"]),
        size=4.0,
    )
    marks = (
        seeds,
        Points("mean on test", BLUE, x, mean, (), low, high, size=7.0),
        Points("promised on validation", ORANGE, x - 0.12, promised, (), size=6.0, symbol="diamond"),
    )
    ticks = tuple((places[arm.name], arm.name) for arm in arms)
    caption = (
        f"{len(runs)} trials of {len(arms)} configurations of {confirmation_of_study(found).source_name}, trained anew "
        "with fresh seeds; 95 % t intervals over seeds, cut at 0 and 100 %."
    )
    return Chart(
        "confirmation",
        "Confirmation on test",
        caption,
        (Panel(Axis("", ticks=ticks), Axis("Test accuracy (%)"), marks),),
    )
