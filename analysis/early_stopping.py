"""Was early stopping safe here? What each rung knew of the final result, and the winners that it would have lost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.events import PROBE_VALUE
from analysis.rankings import rank_correlation
from analysis.rungs import FLOOR, full_epochs, milestones, standing
from analysis.statistics import wilson_interval
from analysis.wording import counted

if TYPE_CHECKING:
    from analysis.study import Study

#: Without rungs of its own, a study is judged at these parts of its epochs.
FRACTIONS = (1 / 27, 1 / 9, 1 / 3, 2 / 3)

#: Below so many finished trials no advice is given.
FEWEST = 10

#: A rung ranks well enough from this rank correlation on, if its interval is above zero, too.
GOOD = 0.5

_GRID = 40  # epochs at most that are tried for where the ranking settles


@dataclass(frozen=True, slots=True)
class RungSafety:
    """What one rung (or one epoch, where the study has none) knew. Rates with Wilson intervals, all at 95 %."""

    epoch: int
    n: int  # finished trials with a value here
    spearman: float  # between the value here and the best value in the end
    spearman_low: float
    spearman_high: float
    kendall: float
    kendall_low: float
    kendall_high: float
    judged: int  # trials with a value here, or that diverged before
    stopped: int  # that ended here by decision of the scheduler
    winners: int  # finished trials that are among the best in the end
    lost: int  # winners that would be stopped if this rung judged all these trials at once
    lost_share: float
    lost_low: float
    lost_high: float
    probed: bool = False  # the values here are those of probes

    @property
    def sees(self) -> bool:
        """Whether it ranks trials well enough to stop by it."""
        return self.spearman >= GOOD and self.spearman_low > 0.0


@dataclass(frozen=True, slots=True)
class Safety:
    """The rungs of a study, and advice."""

    study: str
    finished: int
    full_epochs: int
    reduction_factor: int
    smooth: int  # epochs averaged for a value at a rung
    own_rungs: bool  # False: the study stopped nobody, and the rungs are supposed
    rungs: tuple[RungSafety, ...]
    settles: int | None  # the epoch from which on every epoch tried ranks well; None where there is none
    first_drop: int | None  # the median epoch at which the learning rate first halved at once
    advice: str

    def frame(self) -> pd.DataFrame:
        """One row per rung; the columns are the fields of `RungSafety`."""
        names = [part.name for part in fields(RungSafety)]
        return pd.DataFrame([asdict(rung) for rung in self.rungs], columns=names)

    def to_record(self) -> dict[str, Any]:
        """The answer as JSON has it; a number that is not defined is None."""
        record = {part.name: getattr(self, part.name) for part in fields(self)}
        rungs = [
            {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in rung.items()}
            for rung in (asdict(each) for each in self.rungs)
        ]
        return {**record, "rungs": rungs}

    def lines(self) -> list[str]:
        """The answer in words, a line for each rung."""
        kind = "rung" if self.own_rungs else "epoch"
        smoothed = f", values averaged over {self.smooth} epochs" if self.smooth > 1 else ""
        finished, full = counted(self.finished, "trial"), counted(self.full_epochs, "epoch")
        lines = [f"{self.study}: {finished} finished, of {full}{smoothed}"]
        lines += [f"  {kind} {_rung_words(rung)}" for rung in self.rungs]
        return [*lines, self.advice]


def early_stopping_safety(
    study: Study, epochs: Iterable[int] = (), smooth: int = 1, winners: float = 0.1, trials: Iterable[int] = ()
) -> Safety:
    """What the study's rungs knew of the final result; at `epochs` instead, where some are given.

    Only trials that completed have a final result, which is their best validation accuracy. Where rungs stopped
    others before, those that completed are a selection: among them a correlation is smaller than it was among all.

    Args:
        study: the study.
        epochs: epochs to judge at; without them the rungs of the study, or `FRACTIONS` of its epochs.
        smooth: the value at a rung is the mean of this many epochs up to it.
        winners: the share of the finished trials, rounded up, that are winners.
        trials: only these trials; all, where none are given.

    Raises:
        AnalysisError: `smooth` or `winners` is out of range; and as `analysis.log.read_log`.
    """
    if smooth < 1 or not 0.0 < winners <= 1.0:
        raise AnalysisError(
            f"smooth is at least 1 and winners a share above 0, at most 1; not smooth={smooth}, winners={winners}"
        )
    trials = tuple(trials)
    curves = _Curves(study, smooth, winners, trials)
    full, own = _full_epochs(study, trials), milestones(study)
    supposed = tuple(sorted({max(1, math.ceil(full * fraction)) for fraction in FRACTIONS}))
    wanted = tuple(sorted(set(epochs))) or own or tuple(epoch for epoch in supposed if epoch < full)
    knew = curves.own_rung if study.spec.probe_share else curves.rung
    rungs = tuple(knew(epoch) for epoch in wanted)
    settles, first_drop = _settles(curves, full), _first_drop(study, trials)
    finished = len(curves.final)
    advice = _advice(study, finished, rungs, settles, first_drop, full) + _mixed(study, trials)
    return Safety(
        study.name, finished, full, study.spec.reduction_factor, smooth,
        bool(own) and wanted == own, rungs, settles, first_drop, advice,
    )  # fmt: skip


def _full_epochs(study: Study, trials: tuple[int, ...]) -> int:
    """Of the study; of chosen trials, which in an imported study may all be shorter, the longest that completed."""
    table = study.trials
    chosen = table.loc[table["trial"].isin(trials) & (table["state"] == "completed"), "epochs"]
    return int(chosen.max()) if len(chosen) else full_epochs(study)


class _Curves:
    """The validation curves of a study, and the final results of those that finished."""

    def __init__(self, study: Study, smooth: int, winners: float, only: tuple[int, ...]) -> None:
        epochs, trials = study.epochs, study.trials
        if only:
            epochs, trials = epochs[epochs["trial"].isin(only)], trials[trials["trial"].isin(only)]
        self._smooth, self._reduction_factor = smooth, study.spec.reduction_factor
        self._curves = epochs.pivot(index="epoch", columns="trial", values="val_acc")
        probed = epochs[epochs[PROBE_VALUE].notna()] if PROBE_VALUE in epochs else epochs.iloc[:0]
        self._probes = probed.pivot(index="epoch", columns="trial", values=PROBE_VALUE) if len(probed) else probed
        by_number = trials.set_index("trial")
        self._diverged = by_number["epochs"][by_number["state"] == "diverged"]
        self._stopped = by_number["epochs"][by_number["state"] == "stopped"]
        finished = by_number[(by_number["state"] == "completed") & by_number["val_acc"].notna()]
        self.final = finished["val_acc"].sort_values(ascending=False, kind="stable")
        self._winners = self.final.index[: math.ceil(winners * len(self.final))]

    def values(self, epoch: int) -> pd.Series[float]:
        """The (smoothed) value at `epoch` of each trial that got there without diverging, by trial."""
        if epoch not in self._curves.index:
            return pd.Series(dtype="float64")
        reached = self._curves.loc[epoch].dropna().index.difference(self._diverged.index[self._diverged <= epoch])
        return self._curves.loc[epoch - self._smooth + 1 : epoch, reached].mean()

    def judged_values(self, epoch: int) -> pd.Series[float]:
        """What a rung of the study compares at `epoch`, by trial: the values of probes where it takes any."""
        reached = self.values(epoch)
        if epoch not in self._probes.index:
            return reached
        probes = self._probes[self._probes.index == epoch].iloc[0].dropna()
        return probes[probes.index.intersection(reached.index)]

    def rung(self, epoch: int) -> RungSafety:
        """What the plain values at `epoch` knew."""
        return self._knew(epoch, self.values(epoch))

    def own_rung(self, epoch: int) -> RungSafety:
        """What a rung of the study at `epoch` knew, by a probe where it takes one."""
        return replace(self._knew(epoch, self.judged_values(epoch)), probed=epoch in self._probes.index)

    def _knew(self, epoch: int, values: pd.Series[float]) -> RungSafety:
        both = self.final.index.intersection(values.index)
        found = rank_correlation(values[both], self.final[both])
        judged = [*values.tolist(), *([FLOOR] * int((self._diverged <= epoch).sum()))]
        winners = values.reindex(self._winners).dropna()
        cutoff = standing(judged, judged[0], self._reduction_factor).cutoff if judged else math.nan
        lost = int((winners < cutoff).sum())
        share = lost / len(winners) if len(winners) else math.nan
        low, high = (float(end) for end in wilson_interval(share, len(winners)))
        return RungSafety(
            epoch=epoch, **asdict(found), judged=len(judged), stopped=int((self._stopped == epoch).sum()),
            winners=len(winners), lost=lost, lost_share=share, lost_low=low, lost_high=high,
        )  # fmt: skip


def _settles(curves: _Curves, full: int) -> int | None:
    grid = sorted({int(epoch) for epoch in np.linspace(1, max(1, full - 1), min(_GRID, max(1, full - 1)))})
    settled = None
    for epoch in reversed(grid):
        rung = curves.rung(epoch)
        if rung.n < FEWEST:  # nothing can be said here: trials of an imported study may be of different length
            continue
        if not rung.sees:
            break
        settled = epoch
    return settled


def _mixed(study: Study, trials: tuple[int, ...]) -> str:
    """What to say where trials on different data are ranked together; "" where they are not."""
    table = study.trials
    if "data" not in study.spec.space:
        return ""
    names = table.loc[table["trial"].isin(trials), "data"] if trials else table["data"]
    if names.nunique() < 2:
        return ""
    return (
        ". But these trials mix data sets, which rank by their difficulty at every epoch: judge one at a time, "
        "`tune-gate safety DIR --where data=NAME`"
    )


def _first_drop(study: Study, trials: tuple[int, ...]) -> int | None:
    """The median over trials of the first epoch whose learning rate is half the one before, or less."""
    epochs = study.epochs
    if trials:
        epochs = epochs[epochs["trial"].isin(trials)]
    before = epochs.groupby("trial")["lr"].shift(1)
    drops = epochs[epochs["lr"] <= 0.5 * before].groupby("trial")["epoch"].first()
    return None if drops.empty else int(drops.median())


def _advice(
    study: Study, finished: int, rungs: tuple[RungSafety, ...], settles: int | None, first_drop: int | None, full: int
) -> str:
    if finished < FEWEST:
        return (
            f"advice: {counted(finished, 'finished trial')} {'is' if finished == 1 else 'are'} too few to judge by; "
            f"{FEWEST} or more are wanted, for example "
            "from `tune-gate launch --set scheduler.kind=full`"
        )
    drop = f", which comes after the learning rate drops (epoch {first_drop})" if first_drop else ""
    late = first_drop is not None and settles is not None and settles >= first_drop
    schedule = f"{drop}; a cosine schedule lets trials be told apart earlier" if late else ""
    if settles is None:
        return (
            f"advice: no epoch before the last of {full} ranks these trials reliably: stopping by any of them is close "
            "to chance. Let all finish (scheduler.kind=full), or shorten them with a schedule that anneals sooner"
        )
    blind = [rung.epoch for rung in rungs if not rung.sees and rung.epoch < settles]
    if blind:
        listed = ", ".join(map(str, blind))
        return (
            f"advice: {'stopping' if study.spec.rungs else 'a rung'} at epoch {listed} is not safe: the ranking "
            f"settles at about epoch {settles} of {full}{schedule}. Set scheduler.grace_period={settles} or later, and "
            "no rung below it"
        )
    losing = [rung for rung in rungs if rung.lost_low > 0.0 and rung.lost_share > 0.2]
    if losing:
        listed = ", ".join(f"epoch {rung.epoch} ({rung.lost} of {rung.winners})" for rung in losing)
        return (
            f"advice: the rungs rank well, but would lose winners at {listed}: a reduction_factor below "
            f"{study.spec.reduction_factor} lets more trials pass, at more cost"
        )
    return f"advice: early stopping was safe at these rungs (the ranking settles at about epoch {settles} of {full})"


def _rung_words(rung: RungSafety) -> str:
    if math.isnan(rung.spearman):
        rho = f"no rank correlation ({counted(rung.n, 'finished trial')})"
    else:
        rho = (
            f"rank correlation with the end {rung.spearman:+.2f} "
            f"[{rung.spearman_low:+.2f}, {rung.spearman_high:+.2f}], Kendall {rung.kendall:+.2f}, {rung.n} trials"
        )
    rho += ", by their probes" if rung.probed else ""
    stopped = f"; stopped {rung.stopped} of {rung.judged}" if rung.stopped else ""
    if not rung.winners:
        return f"{rung.epoch}: {rho}{stopped}"
    share = f"{100 * rung.lost_low:.0f} to {100 * rung.lost_high:.0f} %"
    return f"{rung.epoch}: {rho}; it would stop {rung.lost} of {rung.winners} later winners ({share}){stopped}"
