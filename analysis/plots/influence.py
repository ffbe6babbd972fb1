"""Figures of what each setting does: matched-pair effects, and importances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.display import heading
from analysis.errors import AnalysisError
from analysis.importance import EVALUATORS, importances
from analysis.main_effects import effects
from analysis.plots.chart import BLUE, GREY, VERMILLION, Axis, Chart, Lines, NothingToShow, Numbers, Panel, Points

if TYPE_CHECKING:
    from analysis.study import Study

#: Effects and settings that a figure shows, the strongest.
_MOST = 12

#: Bootstrap draws for the figure; `tune-gate effects` takes more.
BOOTSTRAPS = 8

_NAMES = {"fanova": "fANOVA", "ped-anova": "PED-ANOVA"}


def effects_chart(study: Study) -> Chart:
    """The mean difference over matched pairs of each setting's levels, with its standard error."""
    found = effects(study)
    main = found.main[found.main["pairs"] > 0].head(_MOST)
    if main.empty:
        raise NothingToShow("no two completed configurations differ in one setting alone; see the importances")
    x = np.arange(len(main), dtype=np.float64)
    y, se = 100.0 * main["effect"].to_numpy(dtype=np.float64), 100.0 * main["se"].to_numpy(dtype=np.float64)
    rows = main.to_dict("records")
    ticks = tuple((float(place), _contrast(row)) for place, row in enumerate(rows))
    labels = tuple(f"{_contrast(row)}: {row['pairs']} pairs" for row in rows)
    half = np.nan_to_num(se)  # one pair alone has no error
    marks = (
        Lines("no effect", GREY, np.array([-0.5, len(main) - 0.5]), np.zeros(2), width=1.0),
        Points("effect", BLUE, x, y, labels, y - half, y + half, size=7.0),
    )
    caption = (
        f"Mean difference in validation accuracy over pairs of configurations that differ in one setting alone, ± one "
        f"standard error; {found.trials} completed trials, {found.configurations} configurations. Of few pairs a "
        "standard error can be far too small: see the p-values."
    )
    panel = Panel(Axis("", ticks=ticks), Axis("Effect (points)"), marks)
    height = 2.6 if len(main) <= 8 else 3.6  # of more, the labels stand upright
    return Chart("effects", "Effects", caption, (panel,), legend=False, height=height)


def importance_chart(study: Study) -> Chart:
    """The share of the variance that each setting accounts for, by two methods, with bootstrap quartiles."""
    try:
        table = importances(study, bootstraps=BOOTSTRAPS)
    except AnalysisError as why:
        raise NothingToShow(str(why)) from None
    settings = list(dict.fromkeys(table["setting"]))[:_MOST]
    marks: list[Any] = []
    places = np.arange(len(settings), dtype=np.float64)
    for place, (evaluator, colour) in enumerate(zip(EVALUATORS, (BLUE, VERMILLION), strict=False)):
        own = table[table["evaluator"] == evaluator].set_index("setting").reindex(settings)
        x = places + 0.2 * (place - 0.5)
        y, low, high = (100.0 * own[name].to_numpy(dtype=np.float64) for name in ("importance", "low", "high"))
        # the quartiles of the draws need not hold the value of all trials
        ends: tuple[Numbers, Numbers] = np.fmin(low, y), np.fmax(high, y)
        name = _NAMES.get(evaluator, evaluator)
        marks.append(Points(name, colour, x, y, tuple(settings), *ends, symbol="circle" if place == 0 else "diamond"))
    ticks = tuple((float(place), heading(name)) for place, name in enumerate(settings))
    caption = (
        "Share of the variance of the validation accuracy among completed trials that each setting accounts for; bars: "
        f"quartiles of {BOOTSTRAPS} bootstrap draws."
    )
    panel = Panel(Axis("", ticks=ticks), Axis("Importance (%)"), tuple(marks))
    return Chart("importance", "Importances", caption, (panel,), height=2.4)


def _contrast(row: Any) -> str:
    return f"{heading(row['setting'])}: {_short(row['low'])} → {_short(row['high'])}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
