"""The conformance suite of schedulers, over the registry, and what successive halving decides."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.events import Action, BudgetExtended, EpochReported, Event, TrialPromoted
from tune_gate.replay import kinds
from tune_gate.replay.kinds import replay_folds
from tune_gate.replay.spec import ReplaySpec
from tune_gate.schedulers import FLOOR, SCHEDULERS, Decision, Scheduler, build_scheduler
from tune_gate.spec import StudySpec, plain_spec, study_spec

EPOCHS = 9


def spec_of(kind: str, **scheduler: Any) -> StudySpec:
    given = {"trials": 50, "epochs": EPOCHS, "scheduler": {"kind": kind, **scheduler}}
    return study_spec(given) if kind in SCHEDULERS else plain_spec(ReplaySpec, given)


def built(spec: StudySpec) -> Scheduler:
    return replay_folds(spec)[0] if isinstance(spec, ReplaySpec) else build_scheduler(spec)


def metrics(value: float, *, diverged: bool = False) -> dict[str, float]:
    return {"val_acc": FLOOR if diverged else value, "diverged": float(diverged), "seconds": 1.0}


def report(scheduler: Scheduler, trial: int, epoch: int, value: float, *, diverged: bool = False) -> EpochReported:
    """Ask for a decision and tell the scheduler that it was taken, as the driver does."""
    said = metrics(value, diverged=diverged)
    decision = scheduler.decide(trial, epoch, said)
    event = EpochReported(0.0, trial, 1, epoch, said, decision.action, decision.rung)
    scheduler.apply(event)
    return event


def search(scheduler: Scheduler, values: Sequence[Sequence[float]], order: random.Random) -> list[Event]:
    """Trials with these curves (a value below 0 diverges), their epochs interleaved; the log that results."""
    running = dict.fromkeys(range(len(values)), 0)
    log: list[Event] = []
    while running:
        trial = order.choice(sorted(running))
        value = values[trial][running[trial]]
        running[trial] += 1
        event = report(scheduler, trial + 1, running[trial], max(0.0, value), diverged=value < 0)
        log.append(event)
        if event.action != "continue":
            del running[trial]
        promoted = scheduler.promotion()
        if promoted is not None:
            at = max(e.epoch for e in log if isinstance(e, EpochReported) and e.trial == promoted)
            log.append(TrialPromoted(0.0, promoted, at))
            scheduler.apply(log[-1])
            running[promoted - 1] = at
    return log


def questions(scheduler: Scheduler) -> list[Decision]:
    """What the scheduler would decide on reports of known trials and of one that is not known."""
    return [
        scheduler.decide(trial, epoch, metrics(value, diverged=diverged))
        for trial in (1, 2, 3, 999)
        for epoch in (1, 2, 3, EPOCHS)
        for value, diverged in ((0.0, False), (0.4, False), (1.0, False), (0.0, True))
    ]


#: Few distinct values, so that ties are common; below 0: the trial diverges.
curves = st.lists(
    st.lists(st.sampled_from([-1.0, 0.0, 0.2, 0.4, 0.4, 0.6, 0.8, 1.0]), min_size=EPOCHS, max_size=EPOCHS),
    min_size=1,
    max_size=12,
)
seeds = st.integers(0, 2**16).map(random.Random)
every_kind = pytest.mark.parametrize("kind", sorted({*SCHEDULERS, *kinds.SCHEDULERS}))


# --- conformance


def test_every_kind_that_a_spec_may_name_is_in_the_registry() -> None:
    assert set(SCHEDULERS) == {"asha", "promotion", "full"}
    assert set(kinds.SCHEDULERS) == {"hyperband", "median"}  # those that only a replay has
    for kind in {*SCHEDULERS, *kinds.SCHEDULERS}:
        assert spec_of(kind).scheduler.kind == kind
        assert built(spec_of(kind)).decide(1, 1, metrics(0.5)).action in ("continue", "pause")


@every_kind
@settings(max_examples=30, deadline=None)
@given(values=curves, order=seeds)
def test_deciding_changes_nothing(kind: str, values: list[list[float]], order: random.Random) -> None:
    scheduler = built(spec_of(kind))
    search(scheduler, values, order)
    before = copy.deepcopy(scheduler.counts())
    first = questions(scheduler)
    assert questions(scheduler) == first
    assert scheduler.counts() == before


@every_kind
@settings(max_examples=30, deadline=None)
@given(values=curves, seed=st.integers(0, 2**16))
def test_the_same_reports_give_the_same_decisions(kind: str, values: list[list[float]], seed: int) -> None:
    logs = [search(built(spec_of(kind)), values, random.Random(seed)) for _ in range(2)]
    assert logs[0] == logs[1]


@every_kind
@settings(max_examples=30, deadline=None)
@given(values=curves, order=seeds)
def test_an_event_that_arrives_twice_counts_once(kind: str, values: list[list[float]], order: random.Random) -> None:
    once, twice = (built(spec_of(kind)) for _ in range(2))
    for event in search(once, values, order):
        twice.apply(event)
        twice.apply(event)
    assert twice.counts() == once.counts()
    assert questions(twice) == questions(once)


@every_kind
@settings(max_examples=30, deadline=None)
@given(values=curves, order=seeds, cut=st.integers(0, 120))
def test_a_prefix_of_the_log_and_then_the_rest_give_the_whole(
    kind: str, values: list[list[float]], order: random.Random, cut: int
) -> None:
    """What a crash and a resume come to: the decisions after it are those that the rebuilt scheduler takes."""
    live = built(spec_of(kind))
    log = search(live, values, order)
    rebuilt = built(spec_of(kind))
    for event in log[:cut]:
        rebuilt.apply(event)
    for event in log[cut:]:
        if isinstance(event, TrialPromoted):
            assert rebuilt.promotion() == event.trial
            rebuilt.apply(event)
            continue
        assert isinstance(event, EpochReported)
        decision = rebuilt.decide(event.trial, event.epoch, event.metrics)
        assert (decision.action, decision.rung) == (event.action, event.rung)
        rebuilt.apply(event)
    assert rebuilt.counts() == live.counts()
    assert questions(rebuilt) == questions(live)


@every_kind
def test_a_trial_completes_at_the_last_epoch_and_not_before(kind: str) -> None:
    scheduler = built(spec_of(kind))
    actions = [report(scheduler, 1, epoch, 0.1).action for epoch in range(1, EPOCHS + 1)]
    assert set(actions[:-1]) <= {"continue", "pause"}
    assert actions[-1] == "complete"


@every_kind
@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_a_report_that_diverged_ends_the_trial_at_any_epoch(kind: str, epoch: int) -> None:
    assert built(spec_of(kind)).decide(1, epoch, metrics(0.99, diverged=True)).action == "diverge"


@every_kind
@settings(max_examples=30, deadline=None)
@given(values=curves, order=seeds)
def test_counts_are_ascending_and_say_what_was_decided(
    kind: str, values: list[list[float]], order: random.Random
) -> None:
    spec = spec_of(kind, **({} if kind == "full" else {"rungs": [5, 1, 3]}))
    scheduler = built(spec)
    log = search(scheduler, values, order)
    counts = scheduler.counts()
    assert [count.milestone for count in counts] == sorted(spec.milestones)
    for count in counts:
        here = [e for e in log if isinstance(e, EpochReported) and e.rung and e.rung.milestone == count.milestone]
        promoted = sum(isinstance(e, TrialPromoted) and e.milestone == count.milestone for e in log)
        assert count.stopped + count.paused == sum(event.action in ("stop", "pause") for event in here) - promoted
        assert count.reached >= len(here)
        assert (count.best is None) == (count.reached == 0)
        if here:
            assert count.best == max(event.metrics["val_acc"] for event in here)


# --- successive halving


def asha(**changes: Any) -> Scheduler:
    return build_scheduler(spec_of("asha", **{"rungs": [1, 3], **changes}))


def filled(values: Sequence[float], **changes: Any) -> Scheduler:
    """One whose first rung has seen `values`, of trials 1, 2, …"""
    scheduler = asha(**changes)
    for trial, value in enumerate(values, start=1):
        report(scheduler, trial, 1, value)
    return scheduler


def test_full_never_stops_a_trial() -> None:
    scheduler = build_scheduler(spec_of("full"))
    for trial in range(1, 20):
        assert report(scheduler, trial, 1, 1.0 / trial).action == "continue"
    assert scheduler.counts() == []


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_the_first_at_a_rung_passes(value: float) -> None:
    decision = asha().decide(1, 1, metrics(value))
    assert decision.action == "continue"
    assert decision.rung is not None
    assert (decision.rung.rank, decision.rung.peers, decision.rung.survivors) == (1, 1, 1)


def test_a_rung_that_has_seen_fewer_than_eta_values_lets_all_pass() -> None:
    scheduler = filled([0.9])
    assert report(scheduler, 2, 1, 0.1).action == "continue"
    assert report(scheduler, 3, 1, 0.5).action == "stop"


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_the_best_1_of_eta_go_on(eta: int) -> None:
    values = [place / 100 for place in range(1, 4 * eta)]
    random.Random(0).shuffle(values)
    scheduler = filled(values, reduction_factor=eta)  # with the next one, 4 eta: 4 go on
    ranked = sorted(values, reverse=True)
    for better, expected in [(0, "continue"), (3, "continue"), (4, "stop"), (len(values), "stop")]:
        value = ranked[better - 1] - 0.001 if better else 1.0
        decision = scheduler.decide(999, 1, metrics(value))
        assert decision.rung is not None
        assert (decision.rung.rank, decision.rung.survivors) == (better + 1, 4)
        assert decision.action == expected


def test_trials_are_compared_at_equal_epochs_only() -> None:
    scheduler = filled([0.9] * 8)
    for epoch in (2, 4, 8):
        assert scheduler.decide(999, epoch, metrics(0.0)) == Decision("continue")
    at_three = scheduler.decide(999, 3, metrics(0.0))
    assert at_three.rung is not None
    assert at_three.rung.peers == 1


def test_equal_values_share_the_better_rank() -> None:
    scheduler = filled([0.5, 0.5, 0.5, 0.5, 0.5])
    decision = scheduler.decide(6, 1, metrics(0.5))
    assert decision.action == "continue"
    assert decision.rung is not None
    assert (decision.rung.rank, decision.rung.survivors, decision.rung.cutoff) == (1, 2, 0.5)
    second = filled([0.9, 0.5, 0.5, 0.1, 0.1]).decide(6, 1, metrics(0.5))
    assert second.rung is not None
    assert (second.action, second.rung.rank) == ("continue", 2)


grid_values = st.integers(0, 12).map(lambda twelfth: twelfth / 12)


@settings(deadline=None)
@given(
    before=st.lists(grid_values | st.floats(0, 1), max_size=25),
    value=grid_values | st.floats(0, 1),
    eta=st.integers(2, 5),
)
def test_the_cutoff_is_the_lowest_value_that_goes_on(before: list[float], value: float, eta: int) -> None:
    scheduler = filled(before, reduction_factor=eta)
    decision = scheduler.decide(999, 1, metrics(value))
    entry = decision.rung
    assert entry is not None
    assert (entry.milestone, entry.value, entry.peers) == (1, value, len(before) + 1)
    assert entry.rank == 1 + sum(other > value for other in before)
    assert (decision.action == "continue") == (entry.rank <= entry.survivors) == (value >= entry.cutoff)
    assert entry.cutoff in [*before, value]
    assert scheduler.decide(999, 1, metrics(entry.cutoff)).action == "continue"


def test_a_trial_that_was_judged_is_not_judged_anew() -> None:
    """It was restarted from a checkpoint before the rung; its peers have changed since."""
    scheduler = asha()
    first = report(scheduler, 1, 1, 0.5)
    for trial in range(2, 9):
        report(scheduler, trial, 1, 0.9)
    assert scheduler.decide(999, 1, metrics(0.5)).action == "stop"
    assert scheduler.decide(1, 1, metrics(0.4)) == Decision("continue", first.rung)
    report(scheduler, 1, 1, 0.4)
    assert scheduler.counts()[0].reached == 8


def test_a_stop_stands_however_good_the_second_report_is() -> None:
    scheduler = filled([0.9, 0.8])
    stopped = report(scheduler, 3, 1, 0.1)
    assert stopped.action == "stop"
    assert scheduler.decide(3, 1, metrics(1.0)) == Decision("stop", stopped.rung)


@pytest.mark.parametrize(("epoch", "rung"), [(1, 1), (2, 3), (3, 3)])
def test_a_trial_that_diverged_counts_with_the_floor_at_the_next_rung(epoch: int, rung: int) -> None:
    scheduler = asha()
    report(scheduler, 1, epoch, 0.0, diverged=True)
    assert {count.milestone: (count.reached, count.stopped) for count in scheduler.counts()} == {
        4 - rung: (0, 0),
        rung: (1, 0),
    }
    judged = scheduler.decide(2, rung, metrics(0.1)).rung
    assert judged is not None
    assert (judged.rank, judged.peers) == (1, 2)


def test_a_trial_that_diverged_above_the_last_rung_counts_nowhere() -> None:
    scheduler = asha()
    report(scheduler, 1, 4, 0.0, diverged=True)
    assert [count.reached for count in scheduler.counts()] == [0, 0]


def test_enough_divergence_lets_a_mediocre_trial_pass() -> None:
    scheduler = filled([0.9, 0.8])
    assert scheduler.decide(999, 1, metrics(0.5)).action == "stop"
    for trial in range(3, 9):
        report(scheduler, trial, 1, 0.0, diverged=True)
    assert scheduler.decide(999, 1, metrics(0.5)).action == "continue"


@pytest.mark.parametrize(("action", "again"), [("continue", "continue"), ("interrupt", "continue"), ("stop", "stop")])
def test_an_interrupted_trial_has_passed_its_rung(action: Action, again: Action) -> None:
    scheduler = asha()
    decision = scheduler.decide(1, 1, metrics(0.5))
    scheduler.apply(EpochReported(0.0, 1, 1, 1, metrics(0.5), action, decision.rung))
    for trial in range(2, 9):
        report(scheduler, trial, 1, 0.9)
    assert scheduler.decide(1, 1, metrics(0.5)) == Decision(again, decision.rung)
    assert scheduler.counts()[0].stopped == (action == "stop")  # the others are equal: they share the best rank


def test_a_larger_budget_adds_rungs_above_and_moves_the_end() -> None:
    scheduler = filled([0.5, 0.6])
    before = scheduler.counts()
    assert scheduler.decide(1, EPOCHS, metrics(0.5)).action == "complete"
    for _ in range(2):
        scheduler.apply(BudgetExtended(0.0, 50, 30, (1, 3, 27)))
    assert scheduler.counts()[:2] == before
    assert [count.milestone for count in scheduler.counts()] == [1, 3, 27]
    assert scheduler.decide(1, EPOCHS, metrics(0.5)).action == "continue"
    assert scheduler.decide(1, 27, metrics(0.5)).rung is not None
    assert scheduler.decide(1, 30, metrics(0.5)).action == "complete"
