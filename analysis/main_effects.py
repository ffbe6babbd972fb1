"""What each setting does: main effects over matched pairs, and how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.scores import Measure, level_keys, percent_of, scores, selected_trials, varied
from analysis.statistics import mean_interval, sign_flip_p

if TYPE_CHECKING:
    from analysis.study import Study

#: Columns of `Effects.main`, documented.
EFFECT_COLUMNS = {
    "setting": "name of the setting",
    "low": "the level that the effect goes from",
    "high": "the level that it goes to",
    "pairs": "pairs of configurations that differ in this setting alone",
    "effect": "mean of the measure at `high` less that at `low`, over the pairs",
    "se": "its standard error, from the pairs' differences; NaN for less than 2 pairs",
    "p": "two-sided p-value of the exact sign-flip test of these differences",
    "smallest_p": "the least that p could be with so many pairs",
    "warning": "why the numbers beside it support no claim; empty where they may",
}

#: Columns of `Effects.interactions`.
INTERACTION_COLUMNS = {
    "first": "setting and levels",
    "second": "setting and levels",
    "squares": "sets of four configurations that differ in these two settings alone",
    "interaction": "the mean effect of the first at the high level of the second, less that at its low level",
    "se": "its standard error; NaN for less than 2 squares",
    "p": "two-sided p-value of the exact sign-flip test",
    "warning": "why the numbers support no claim",
}

_ALPHA = 0.05

#: A setting with more steps between levels than this is taken as drawn from a range, and its chance pairs are left out.
MOST_LEVELS = 12


@dataclass(frozen=True)
class Effects:
    """Main effects of the settings that vary, and the interaction of the two strongest."""

    measure: str  # in words
    trials: int  # that were looked at
    configurations: int  # distinct ones among them: replicates of one are averaged
    main: pd.DataFrame  # EFFECT_COLUMNS; strongest setting first
    interactions: pd.DataFrame  # INTERACTION_COLUMNS; no row or one

    def lines(self) -> list[str]:
        """The effects in words, one line each; those on accuracies in percentage points."""
        unit = percent_of(self.measure)
        lines = [f"{self.measure}{unit.words}: {self.trials} trials, {self.configurations} configurations"]
        for row in self.main[self.main["pairs"] > 0].to_dict("records"):
            name = f"{row['setting']}: {_level(row['low'])} → {_level(row['high'])}"
            lines.append(f"{name}: {unit.signed(row['effect'], row['se'])}, {row['pairs']} pairs, {_p(row)}")
        unmatched = self.main.loc[self.main["pairs"] == 0, "setting"].unique()
        lines += [f"{name}: no two configurations differ in it alone; see the importances" for name in unmatched]
        for row in self.interactions.to_dict("records"):
            number = unit.signed(row["interaction"], row["se"])
            lines.append(
                f"interaction of {row['first']} with {row['second']}: {number}, {row['squares']} squares, {_p(row)}"
            )
        return lines


def effects(
    study: Study,
    measure: Measure | None = None,
    where: Iterable[str] = (),
    settings: Sequence[str] | None = None,
) -> Effects:
    """What each setting does to `measure`, in the trials that completed and meet the conditions `where`.

    A pair is two configurations that differ in one setting alone; trials of one configuration count as one, with the
    mean of their measures. Where a setting has more than two values, each two that follow each other are compared
    (numbers in their order, others each with each); of one with more than `MOST_LEVELS` such steps, as a range gives,
    those of a single pair are left out. Effects are in the measure's unit: accuracies are fractions.

    Args:
        study: any study; a random search over continuous ranges has no pairs, and says so.
        measure: validation accuracy at the best epoch without one.
        where: conditions NAME=VALUE, see `analysis.scores.selected_trials`.
        settings: which ones; without it, all searched ones that vary.

    Raises:
        UnknownName: there is no such setting or metric.
        AnalysisError: no trial is left.
    """
    wanted = measure or Measure()
    trials = selected_trials(study, where)
    names = varied(trials, study.spec.space)
    values = scores(study, wanted).reindex(trials.index)
    cells = _cells(level_keys(trials, names), values)
    looked_at = [name for name in names if settings is None or name in settings]
    rows = [row for name in looked_at for row in _main_effects(cells, names, name)]
    main = pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))
    strength = main["effect"].abs().groupby(main["setting"]).transform("max").fillna(-1.0)
    main = main.assign(_strength=strength).sort_values("_strength", ascending=False, kind="stable")
    main = main.drop(columns="_strength").reset_index(drop=True)
    found = pd.DataFrame(_interactions(cells, names, main), columns=list(INTERACTION_COLUMNS))
    return Effects(str(wanted), int(values.notna().sum()), len(cells), main, found)


_Cells = dict[tuple[Hashable, ...], float]


def _cells(keys: pd.DataFrame, values: pd.Series[float]) -> _Cells:
    """The mean measure of each configuration."""
    grouped: dict[tuple[Hashable, ...], list[float]] = {}
    for key, value in zip(keys.itertuples(index=False, name=None), values.tolist(), strict=True):
        if not math.isnan(value):
            grouped.setdefault(key, []).append(value)
    return {key: float(np.mean(found)) for key, found in grouped.items()}


def _main_effects(cells: _Cells, names: Sequence[str], name: str) -> list[dict[str, Any]]:
    place = list(names).index(name)
    rest: dict[tuple[Hashable, ...], dict[Hashable, float]] = {}
    for key, value in cells.items():
        rest.setdefault(key[:place] + key[place + 1 :], {})[key[place]] = value
    rows = []
    for low, high in _contrasts([key[place] for key in cells]):
        differences = [found[high] - found[low] for found in rest.values() if low in found and high in found]
        rows.append({"setting": name, "low": low, "high": high, **_summary("pairs", "effect", differences)})
    if len(rows) > MOST_LEVELS:  # drawn from a range: two values that happen to be next to each other are no levels
        rows = [row for row in rows if row["pairs"] > 1] or [{**rows[0], **_summary("pairs", "effect", [])}]
    matched = [row for row in rows if row["pairs"]]
    return matched or rows[:1]


def _contrasts(levels: Sequence[Hashable]) -> list[tuple[Hashable, Hashable]]:
    """Which levels are compared with which."""
    distinct = list(dict.fromkeys(level for level in levels if level is not None))
    if all(isinstance(level, int | float) and not isinstance(level, bool) for level in distinct):
        return list(pairwise(sorted(distinct, key=float)))  # type: ignore[arg-type]  # all are numbers
    return list(combinations(sorted(distinct, key=str), 2))


def _summary(count: str, name: str, differences: Sequence[float]) -> dict[str, Any]:
    found, n = mean_interval(differences), len(differences)
    smallest = 2.0 ** (1 - n) if n else math.nan
    p = sign_flip_p(differences)
    summary = {count: n, name: found.mean, "se": found.standard_error, "p": p, "warning": _warning(n, smallest, count)}
    return summary | ({"smallest_p": smallest} if count == "pairs" else {})


def _warning(n: int, smallest: float, count: str) -> str:
    if n == 0:
        return f"no {count}"
    if smallest > _ALPHA:
        word = count.removesuffix("s") if n == 1 else count
        return f"too few: {n} {word} cannot give p below {smallest:.3g}"
    return ""


def _interactions(cells: _Cells, names: Sequence[str], main: pd.DataFrame) -> list[dict[str, Any]]:
    """The interaction of the two settings with the strongest effects that pairs support."""
    strongest = main[main["pairs"] > 0].drop_duplicates("setting").head(2).to_dict("records")
    if len(strongest) < 2:
        return []
    one, two = strongest
    first, second = (list(names).index(row["setting"]) for row in (one, two))
    squares: dict[tuple[Hashable, ...], dict[tuple[Hashable, Hashable], float]] = {}
    for key, value in cells.items():
        rest = tuple(level for place, level in enumerate(key) if place not in (first, second))
        squares.setdefault(rest, {})[key[first], key[second]] = value
    corners = [(one[a], two[b]) for a in ("low", "high") for b in ("low", "high")]
    differences = [
        (square[corners[3]] - square[corners[1]]) - (square[corners[2]] - square[corners[0]])
        for square in squares.values()
        if all(corner in square for corner in corners)
    ]
    if not differences:
        return []
    told = [f"{row['setting']} ({_level(row['low'])} → {_level(row['high'])})" for row in (one, two)]
    return [{"first": told[0], "second": told[1], **_summary("squares", "interaction", differences)}]


def _level(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _p(row: Mapping[Any, Any]) -> str:
    return f"p {row['p']:.3g}" + (f" ({row['warning']})" if row["warning"] else "")
