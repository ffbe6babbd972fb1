"""ASHA in its promotion form: who pauses, who goes on, and that a search with it survives what may happen."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from analysis.events import EpochReported, Event, TrialPromoted, TrialRetired, TrialSuggested
from analysis.explanations import why
from analysis.holders import LOCK_FILE, this_process
from analysis.log import LOG_FILE, read_log
from analysis.optuna_form import optuna_trials
from analysis.plots.registry import chart
from analysis.study import open_study
from analysis.trials import fold_trials
from tests.tune_gate.test_schedulers import metrics, report, search
from tests.tune_gate.test_search import Cluster, Killed, essence
from tests.tune_gate.virtual_cluster import dies_at
from tune_gate.samplers import build_sampler
from tune_gate.schedulers import Scheduler, build_scheduler
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import create_study
from tune_gate.verify import verify_log


def spec_of(**changes: Any) -> StudySpec:
    given = {"trials": 14, "epochs": 9, "scheduler": {"kind": "promotion"}, "sampler": {"startup": 4}}
    return study_spec({**given, **changes})


def filled(values: Sequence[float]) -> Scheduler:
    """One whose first rung, at epoch 1, has seen `values`, of trials 1, 2, …"""
    scheduler = build_scheduler(spec_of())
    for trial, value in enumerate(values, start=1):
        report(scheduler, trial, 1, value)
    return scheduler


def promoted(scheduler: Scheduler) -> int | None:
    trial = scheduler.promotion()
    if trial is not None:
        scheduler.apply(TrialPromoted(0.0, trial, 1))
    return trial


# --- the fold


def test_all_pause_while_a_rung_has_seen_fewer_than_eta_values() -> None:
    scheduler = filled([0.9, 0.8])
    assert scheduler.promotion() is None
    assert (scheduler.counts()[0].paused, scheduler.counts()[0].stopped) == (2, 0)
    assert scheduler.last_promotion() == 1


def test_who_retires_is_stopped_and_pauses_no_longer() -> None:
    scheduler = filled([0.9, 0.8])
    scheduler.apply(TrialRetired(0.0, 2, 1))
    assert (scheduler.counts()[0].paused, scheduler.counts()[0].stopped) == (1, 1)


def test_the_best_that_paused_is_promoted_once_its_rung_has_seen_enough() -> None:
    scheduler = filled([0.9, 0.8, 0.1])
    assert promoted(scheduler) == 1
    assert promoted(scheduler) is None
    assert report(scheduler, 4, 1, 0.85).action == "pause"  # rank 2 of 4, of whom one goes on: trial 1 has
    report(scheduler, 5, 1, 0.2)
    assert promoted(scheduler) is None
    report(scheduler, 6, 1, 0.3)
    assert promoted(scheduler) == 4


def test_who_would_be_promoted_at_once_does_not_pause() -> None:
    scheduler = filled([0.5, 0.4])
    decision = scheduler.decide(3, 1, metrics(0.9))
    assert decision.action == "continue"
    assert decision.rung is not None
    assert (decision.rung.rank, decision.rung.peers, decision.rung.survivors) == (1, 3, 1)


def test_the_highest_rung_is_served_first() -> None:
    scheduler = filled([0.1] * 3)
    for trial, value in ((11, 0.5), (12, 0.6), (13, 0.4)):
        report(scheduler, trial, 3, value)
    assert scheduler.promotion() == 12


def test_a_trial_that_comes_again_is_where_it_was() -> None:
    scheduler = filled([0.9, 0.8, 0.1])
    assert scheduler.decide(1, 1, metrics(0.0)).action == "pause"
    assert promoted(scheduler) == 1
    assert scheduler.decide(1, 1, metrics(0.0)).action == "continue"
    assert scheduler.decide(2, 1, metrics(1.0)).action == "pause"


@settings(deadline=None)
@given(values=st.lists(st.lists(st.floats(0, 1), min_size=9, max_size=9), min_size=1, max_size=15), seed=st.integers())
def test_whoever_went_on_was_among_the_best_when_it_did(values: list[list[float]], seed: int) -> None:
    log = search(build_scheduler(spec_of()), values, random.Random(seed))
    seen: dict[int, list[tuple[float, int]]] = {1: [], 3: []}
    for event in log:
        if isinstance(event, EpochReported) and event.rung is not None:
            seen[event.rung.milestone].append((-event.rung.value, event.trial))
        if isinstance(event, TrialPromoted):
            went_on = [event.trial, event.milestone]
        elif isinstance(event, EpochReported) and event.rung is not None and event.action == "continue":
            went_on = [event.trial, event.rung.milestone]
        else:
            continue
        here = sorted(seen[went_on[1]])
        assert went_on[0] in [trial for _, trial in here[: len(here) // 3]]


@settings(deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1), min_size=1, max_size=30),
    promotions=st.sets(st.integers(1, 30)),
)
def test_standings_and_promotions_are_those_of_a_full_sort(values: list[float], promotions: set[int]) -> None:
    scheduler = build_scheduler(spec_of())
    ranked: list[tuple[float, int]] = []  # the first rung's, the best first
    paused: set[int] = set()
    for trial, value in enumerate(values, start=1):
        ranked = sorted([*ranked, (-value, trial)])
        best = [number for _, number in ranked[: len(ranked) // 3]]
        event = report(scheduler, trial, 1, value)
        action, entry = event.action, event.rung
        assert entry is not None
        assert (entry.peers, entry.survivors, entry.rank) == (len(ranked), len(best), 1 + ranked.index((-value, trial)))
        assert entry.cutoff == -ranked[max(len(best), 1) - 1][0]
        assert action == ("continue" if trial in best else "pause")
        paused |= {trial} - set(best)
        deserving = next((number for number in best if number in paused), None)
        assert scheduler.promotion() == deserving
        if trial in promotions:
            paused -= {promoted(scheduler)}
        assert scheduler.last_promotion() == next((number for _, number in ranked if number in paused), None)


# --- searches


def run(folder: Path, **changes: Any) -> list[Event]:
    spec = spec_of(**changes)
    create_study(spec, folder)
    Cluster(spec, folder, workers=3).run()
    return read_log(folder / LOG_FILE)


def test_a_search_ends_with_every_trial_and_is_as_its_folds_have_it(tmp_path: Path) -> None:
    events = run(tmp_path / "study", trials=30)
    trials = fold_trials(events)
    assert len(trials) == 30
    assert all(trial.ended for trial in trials.values())
    assert {trial.epoch for trial in trials.values() if trial.state == "stopped"} <= {1, 3}
    assert any(trial.state == "completed" for trial in trials.values())
    assert any(isinstance(event, TrialPromoted) for event in events)
    assert verify_log(spec_of(trials=30), events) == []


@pytest.mark.parametrize("trials", [1, 2, 4])
def test_a_search_of_a_few_trials_trains_one_to_the_end(trials: int, tmp_path: Path) -> None:
    states = [trial.state for trial in fold_trials(run(tmp_path / "study", trials=trials)).values()]
    assert states.count("completed") == 1
    assert states.count("stopped") == trials - 1


@settings(max_examples=15, deadline=None)
@given(kills=st.lists(st.integers(1, 40), max_size=6))
def test_a_search_killed_anywhere_equals_the_uninterrupted_one(
    kills: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = spec_of(trials=10)
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    Cluster(spec, whole).run()
    for moment in kills:
        countdown = iter(range(moment))

        def survive(countdown: Any = countdown) -> None:
            if next(countdown, None) is None:
                raise Killed

        try:
            Cluster(spec, broken, survive=survive).run()
        except Killed:
            continue
    Cluster(spec, broken).run()
    assert essence(read_log(broken / LOG_FILE)) == essence(read_log(whole / LOG_FILE))


def test_a_promotion_that_was_not_the_schedulers_is_found(tmp_path: Path) -> None:
    events = run(tmp_path / "study")
    place = next(index for index, event in enumerate(events) if isinstance(event, TrialPromoted))
    forged = [*events[:place], replace(events[place], trial=1 + events[place].trial), *events[place + 1 :]]  # type: ignore[type-var, union-attr, call-arg]
    assert any("paus" in str(difference) for difference in verify_log(spec_of(), forged))
    without = [event for event in events if not isinstance(event, TrialPromoted)]
    assert any("not promoted" in str(difference) for difference in verify_log(spec_of(), without))


def test_a_retirement_while_others_run_is_found(tmp_path: Path) -> None:
    events = run(tmp_path / "study")
    paused = next(i for i, e in enumerate(events) if isinstance(e, EpochReported) and e.action == "pause")
    trial = events[paused].trial  # type: ignore[union-attr]
    forged = [*events[: paused + 1], TrialRetired(0.0, trial, 1), *events[paused + 1 :]]
    assert any("retired while" in str(difference) for difference in verify_log(spec_of(), forged))


def test_why_tells_of_the_pause_and_of_what_came_of_it(tmp_path: Path) -> None:
    events = run(tmp_path / "study", trials=30)
    later = next(e.trial for e in events if isinstance(e, TrialPromoted))
    study = open_study(tmp_path / "study")
    promoted = next(each for each in why(study, later).judgements if each.turn)
    assert promoted.turn is not None
    assert promoted.turn.standing.passes  # it was among the best third when it was promoted
    assert any("paused, and promoted later: rank" in line for line in why(study, later).lines())
    retired = why(study, next(e.trial for e in events if isinstance(e, TrialRetired)))
    assert retired.lines()[0].endswith(": it paused at the rung there, and others were better when the search ended")
    assert any("paused, and never promoted: rank" in line for line in retired.lines())
    turn = retired.judgements[-1].turn
    assert turn is not None
    assert not turn.standing.passes


def test_a_last_promotion_is_told_as_one(tmp_path: Path) -> None:
    run(tmp_path / "study", trials=2)  # too few for any rung to promote
    lines = [line for trial in (1, 2) for line in why(open_study(tmp_path / "study"), trial).lines()]
    assert any("promoted later, when nothing else was left to do: rank 1 of 2" in line for line in lines)
    assert any("too few to promote anybody" in line for line in lines)


def test_a_paused_trial_of_a_search_that_was_killed_waits_for_a_resume(tmp_path: Path) -> None:
    spec = create_study(spec_of(), tmp_path / "study")
    with pytest.raises(Killed):
        Cluster(spec, tmp_path / "study", survive=dies_at(12)).run()
    study = open_study(tmp_path / "study")
    paused = next(trial for trial, record in study.columns.trials.items() if record.state == "paused")
    best = "it goes on once it is among the best of its rung"
    assert why(study, paused).lines()[0].endswith(f"; with `tune-gate resume` {best}")
    (tmp_path / "study" / LOCK_FILE).write_text(json.dumps(asdict(this_process())))
    assert why(open_study(tmp_path / "study"), paused).lines()[0].endswith(f"paused at epoch 1 of 9: {best}")


def test_a_search_with_paused_trials_is_written_for_optuna_and_drawn(tmp_path: Path) -> None:
    events = run(tmp_path / "study")
    cut = next(i for i, e in enumerate(events) if isinstance(e, EpochReported) and e.action == "pause") + 1
    log = tmp_path / "study" / LOG_FILE
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[: cut + 1]))  # the first line is the header
    study = open_study(tmp_path / "study")
    states = study.trials["state"].value_counts()
    assert states["paused"] == 1
    paused = study.trials.loc[study.trials["state"] == "paused", "trial"].item()
    assert optuna_trials(study)[paused - 1].state == TrialState.RUNNING
    assert {mark.name for mark in chart(study, "history").panels[0].marks} >= {"paused"}


def test_tpe_knows_a_paused_trial_by_its_last_rung_until_it_goes_on() -> None:
    spec = spec_of(sampler={"kind": "tpe", "startup": 4})
    sampler, scheduler = build_sampler(spec), build_scheduler(spec)
    log: list[Event] = []

    def tell(event: Event) -> None:
        log.append(event)
        sampler.apply(event)
        scheduler.apply(event)

    for trial in (1, 2, 3):
        suggestion = sampler.suggest(trial)
        tell(TrialSuggested(0.0, trial, suggestion.settings, 1, suggestion.source))
    for trial, value in ((1, 0.9), (2, 0.1), (3, 0.2)):
        said = metrics(value)
        decision = scheduler.decide(trial, 1, said)
        tell(EpochReported(0.0, trial, 1, 1, said, decision.action, decision.rung))
    told = sampler._then._study.get_trials()  # type: ignore[attr-defined]
    assert [trial.state for trial in told] == [TrialState.PRUNED] * 3
    assert scheduler.promotion() == 1
    tell(TrialPromoted(0.0, 1, 1))
    said = metrics(0.95)
    tell(EpochReported(0.0, 1, 2, 3, said, "pause", scheduler.decide(1, 3, said).rung))
    first = sampler._then._study.get_trials()[0]  # type: ignore[attr-defined]
    assert (first.state, first.intermediate_values) == (TrialState.PRUNED, {1: 0.9, 3: 0.95})
    tell(EpochReported(0.0, 1, 3, 9, metrics(0.97), "complete"))
    first = sampler._then._study.get_trials()[0]  # type: ignore[attr-defined]
    assert (first.state, first.value) == (TrialState.COMPLETE, 0.97)
