"""What a confirmation found: accuracies on the test split by configuration, paired comparisons, and optimism.

Nothing here chooses: configurations stand in the order in which the search ranked them, whatever the test split says.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.copies import quoted
from analysis.errors import AnalysisError
from analysis.statistics import mean_interval, sign_flip_p

if TYPE_CHECKING:
    from analysis.arms import Confirmation
    from analysis.study import Study

#: The columns of `confirmation_table`; the searched settings stand after `search_trial`, under their own names.
CONFIRMATION_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "configuration": "its name: trial N of the search, default or control",
        "roles": "winner, runner-up, top, default, control; several where configurations are the same",
        "search_trial": "the trial of the search; missing where it was not part of it",
        "seeds": "fresh seeds measured on the test split",
        "lost": "seeds that diverged or failed, and so have no accuracy",
        "test_acc": "mean test accuracy over the seeds, a fraction, of the model after the last epoch",
        "test_acc_low": "lower end of the mean's 95 % t interval over seeds, cut at 0; missing below 2 seeds",
        "test_acc_high": "upper end of it, cut at 1",
        "test_acc_sd": "standard deviation over seeds; missing below 2",
        "fresh_val_acc": "mean validation accuracy of the same models, at the last epoch",
        "promised_val_acc": "validation accuracy with which the search ranked it: its trial's best epoch",
        "optimism": "promised_val_acc less test_acc, a fraction",
        "hours": "hours of training and validation of all its seeds",
    }
)

#: The columns of `confirmed_differences`.
DIFFERENCE_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "configuration": "the winner",
        "against": "the configuration that it is compared with",
        "roles": "of that configuration",
        "pairs": "seeds with which both were measured",
        "difference": "mean of the winner's test accuracy less the other's, seed by seed, a fraction",
        "difference_low": "lower end of its 95 % t interval; missing below 2 pairs",
        "difference_high": "upper end of it",
        "difference_sd": "standard deviation of the pairs' differences",
        "p_value": "two-sided p-value of all flips of the differences' signs, for this comparison alone",
        "p_least": "the smallest p-value that so many pairs can give",
    }
)


#: A deviation of differences below this is none, but for rounding: an interval made of it would have no width.
_NO_SPREAD = 1e-9


def confirmation_of_study(study: Study) -> Confirmation:
    """What `study` confirms.

    Raises:
        AnalysisError: it is a search, and no confirmation.
    """
    if study.spec.confirmation is None:
        raise AnalysisError(
            f"study {study.name!r} is no confirmation; `tune-gate confirm {quoted(study.path)}` makes one"
        )
    return study.spec.confirmation


def confirmation_runs(study: Study) -> pd.DataFrame:
    """One row per trial of a confirmation, by number.

    Columns: configuration, replicate (1 is the first seed, the same for all configurations), trial, seed, state,
    best_val_acc and last_val_acc (fractions), test_acc (fraction), test_loss (nats), test_images, and the other
    measurements by name; hours. NaN where a trial was not measured.

    Raises:
        AnalysisError: `study` is no confirmation; and as `analysis.log.read_log`.
    """
    confirmation = confirmation_of_study(study)
    trials = study.trials
    measured = {number: trial.measured for number, trial in study.columns.trials.items()}
    tests = [dict(found.metrics) if (found := measured[number]) else {} for number in trials["trial"]]
    names = ["test_acc", "test_loss", "test_images"]
    names += sorted({name for test in tests for name in test} - set(names))
    columns: dict[str, Any] = {
        "configuration": trials["source"],
        "replicate": [confirmation.replicate_of(number) for number in trials["trial"]],
        "trial": trials["trial"],
        "seed": trials["seed"],
        "state": trials["state"],
        "best_val_acc": trials["val_acc"],
        "last_val_acc": trials["last_val_acc"],
    }
    columns |= {name: np.array([test.get(name, math.nan) for test in tests], dtype="float64") for name in names}
    return pd.DataFrame(columns | {"hours": trials["hours"]})


def confirmation_table(study: Study) -> pd.DataFrame:
    """One row per configuration, in the search's order: `CONFIRMATION_COLUMNS` and the searched settings.

    The interval is over seeds: it says what another training would give on these test images, and leaves out that
    there could be other images. Raises as `confirmation_runs`.
    """
    confirmation, runs = confirmation_of_study(study), confirmation_runs(study)
    rows = []
    for arm in confirmation.arms:
        own = runs[runs["configuration"] == arm.name]
        test = mean_interval(own["test_acc"])
        done = own[own["test_acc"].notna()]
        promised = math.nan if arm.promised is None else arm.promised
        rows.append(
            {
                "configuration": arm.name,
                "roles": ", ".join(arm.roles),
                "search_trial": arm.trial,
                **{name: arm.settings.get(name) for name in study.spec.space},
                "seeds": test.n,
                "lost": int(own["state"].isin(("diverged", "failed")).sum()),
                "test_acc": test.mean,
                "test_acc_low": float(np.clip(test.low, 0.0, 1.0)),
                "test_acc_high": float(np.clip(test.high, 0.0, 1.0)),
                "test_acc_sd": test.deviation,
                "fresh_val_acc": mean_interval(done["last_val_acc"]).mean,
                "promised_val_acc": promised,
                "optimism": promised - test.mean,
                "hours": float(own["hours"].sum()),
            }
        )
    return pd.DataFrame(rows).astype({"search_trial": "Int64"})


def confirmed_differences(study: Study) -> pd.DataFrame:
    """The winner against every other configuration, paired by seed: `DIFFERENCE_COLUMNS`. Raises as
    `confirmation_runs`.
    """
    winner, *others = confirmation_of_study(study).arms
    runs = confirmation_runs(study)
    by_seed = runs.pivot_table(index="replicate", columns="configuration", values="test_acc", dropna=False)
    rows = []
    for arm in others:
        pairs = (_column(by_seed, winner.name) - _column(by_seed, arm.name)).dropna()
        mean = mean_interval(pairs)
        rows.append(
            {
                "configuration": winner.name,
                "against": arm.name,
                "roles": ", ".join(arm.roles),
                "pairs": mean.n,
                "difference": mean.mean,
                "difference_low": mean.low,
                "difference_high": mean.high,
                "difference_sd": mean.deviation,
                "p_value": sign_flip_p(pairs),
                "p_least": 2.0 ** (1 - mean.n) if mean.n else math.nan,
            }
        )
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))


@dataclass(frozen=True, slots=True)
class Optimism:
    """Where a configuration's promise went, in fractions: `total` is the sum of the three parts.

    What it promised was the best epoch of one trial, and the best of many trials, on validation.
    """

    promised: float  # by the search
    held: float  # on test, the mean over fresh seeds
    luck: float  # promised, less what the best epochs of fresh seeds reach: the luck of the one that was picked
    best_epoch: float  # best epoch less last epoch, on validation: a peak that nobody keeps
    validation: float  # last epoch on validation less on test

    @property
    def total(self) -> float:
        """What selection promised less what it holds."""
        return self.promised - self.held


def optimism(study: Study, configuration: str | None = None) -> Optimism | None:
    """The optimism about a configuration, the winner's without one; None where there is no measurement or promise.

    Raises:
        AnalysisError: there is no such configuration; and as `confirmation_runs`.
    """
    confirmation, runs = confirmation_of_study(study), confirmation_runs(study)
    name = configuration or confirmation.arms[0].name
    arm = next((arm for arm in confirmation.arms if arm.name == name), None)
    if arm is None:
        raise AnalysisError(f"study {study.name!r} has no configuration {name!r}")
    done = runs[(runs["configuration"] == name) & runs["test_acc"].notna()]
    if arm.promised is None or done.empty:
        return None
    best, last, test = (float(done[column].mean()) for column in ("best_val_acc", "last_val_acc", "test_acc"))
    return Optimism(arm.promised, test, arm.promised - best, best - last, last - test)


def confirmation_lines(study: Study) -> list[str]:
    """The confirmation in sentences. Raises as `confirmation_runs`."""
    return list(_lines(study))


def _lines(study: Study) -> Iterator[str]:
    confirmation, runs = confirmation_of_study(study), confirmation_runs(study)
    done = runs[runs["test_acc"].notna()]
    if done.empty:
        yield "nothing is measured yet: the test split is opened when the last trial has ended"
        return
    images = int(done["test_images"].iloc[0])
    yield (
        f"{len(done)} trials of {len(confirmation.arms)} configurations, each measured once on the {images:,} test "
        "images, with the model of its last epoch"
    )
    lost = runs[runs["state"].isin(("diverged", "failed"))]
    if len(lost):
        yield f"not in any mean: {', '.join(_lost(lost))}"
    yield from _about_winner(study, confirmation)
    differences = confirmed_differences(study)
    yield from (_about_difference(row) for row in differences.to_dict("records"))
    if len(differences) > 1:
        yield f"each p-value is of one comparison alone: that there are {len(differences)} of them is not corrected for"


def _lost(lost: pd.DataFrame) -> Iterator[str]:
    for (name, state), count in Counter(zip(lost["configuration"], lost["state"], strict=True)).items():
        yield f"{count} of {name} {state}"


def _about_winner(study: Study, confirmation: Confirmation) -> Iterator[str]:
    row = confirmation_table(study).iloc[0]
    spread = f" [{_percent(row['test_acc_low'])}, {_percent(row['test_acc_high'])}]" if row["seeds"] > 1 else ""
    if row["seeds"]:
        yield (
            f"winner, {row['configuration']}: {_percent(row['test_acc'])} % on test{spread}, "
            f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
        )
    found = optimism(study, confirmation.arms[0].name)
    if found is not None:
        yield (
            f"the search promised {_percent(found.promised)} %: {_points(found.total)} points of optimism, of which "
            f"{_points(found.luck)} the luck of the trial that was picked, {_points(found.best_epoch)} its best epoch "
            f"instead of its last, {_points(found.validation)} validation images instead of test images"
        )


def _about_difference(row: Mapping[Any, Any]) -> str:
    other = row["against"] if row["against"] == row["roles"] else f"{row['roles']} ({row['against']})"
    if not row["pairs"]:
        return f"against {other}: no seed with which both were measured"
    text = f"against {other}: {_points(row['difference'])} points"
    if row["pairs"] == 1:
        return f"{text}, 1 pair: nothing can be said about its error"
    if row["difference_sd"] < _NO_SPREAD:
        return f"{text} in each of {row['pairs']} pairs, so that nothing can be said about its error"
    return (
        f"{text} [{_points(row['difference_low'])}, {_points(row['difference_high'])}], p = {row['p_value']:.3g} "
        f"({row['pairs']} pairs, which can give {row['p_least']:.3g} at least)"
    )


def _column(frame: pd.DataFrame, name: str) -> pd.Series[float]:
    return frame[name] if name in frame else pd.Series(np.nan, index=frame.index)


def _percent(fraction: float) -> str:
    return f"{100.0 * fraction:.2f}"


def _points(fraction: float) -> str:
    return f"{round(100.0 * fraction, 2) + 0.0:+.2f}"  # never -0.00
