"""A study replayed with its own settings, and what a comparison says of times, GPUs and losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.events import EpochReported, TrialSuggested
from analysis.log import LOG_FILE, read_log
from search_spaces import space_from_mapping
from tests.tune_gate.replay.test_replay import decisions, record_study
from tune_gate.cli import app
from tune_gate.replay.comparison import Replayed, best_by_hours
from tune_gate.replay.lookup import Lookup
from tune_gate.replay.recorded import RecordedCurves, load_curves
from tune_gate.replay.session import Request, replay_study
from tune_gate.replay.simulation import simulate
from tune_gate.replay.variants import Variant, replay_spec
from tune_gate.spec import study_spec


def table_with_ends(folder: Path) -> Path:
    """A table of 12 configurations of 9 epochs: the fourth ends after 3, the sixth diverges in its fifth."""
    generator = np.random.default_rng(1)
    values = np.sort(generator.random((12, 9)), axis=1)
    values[3, 3:] = np.nan
    values[5, 4:] = np.inf
    values[5, 5:] = np.nan
    path = folder / "table.npz"
    np.savez(path, X=generator.random((12, 2)), V=values, unit="acc")
    return path


def own_run(folder: Path, workers: int) -> Any:
    curves = load_curves(folder)
    spec = replay_spec(curves, Variant("as it was", {}), int(curves.settings["seed"]), curves.trials)
    return simulate(spec, curves, Lookup(curves), workers)


@pytest.mark.parametrize("workers", [1, 5])
def test_an_imported_study_replayed_with_its_own_settings_gives_the_same_decisions(
    workers: int, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    done = CliRunner().invoke(app, ["import", "curves", str(table_with_ends(tmp_path)), "--dir", str(study)])
    assert done.exit_code == 0, done.output
    run, recorded = own_run(study, workers), read_log(study / LOG_FILE)
    settings = {event.trial: dict(event.settings) for event in recorded if isinstance(event, TrialSuggested)}
    assert {e.trial: dict(e.settings) for e in run.events if isinstance(e, TrialSuggested)} == settings
    ends = {
        (event.trial, event.epoch, event.action)
        for event in recorded
        if isinstance(event, EpochReported) and event.action != "continue"
    }
    assert {(e.trial, e.epoch, e.action) for e in run.decisions if e.action != "continue"} == ends - {(4, 3, "stop")}
    assert {action for _, _, action in ends} == {"complete", "stop", "diverge"}
    assert run.censored == 1  # why trial 4 ended where it did is not known: nobody says that it stopped there


def test_every_row_of_an_imported_study_is_named_for_what_it_is(tmp_path: Path) -> None:
    study = tmp_path / "study"
    CliRunner().invoke(app, ["import", "curves", str(table_with_ends(tmp_path)), "--dir", str(study)])
    _, own = replay_study(study, Request(seeds=3)).summaries()
    assert (own.name, own.trials, own.censored) == ("as it was", 12, 1.0)
    assert own.best.low == own.best.high  # its points are those that were recorded, whatever the seed


def test_the_recorded_order_can_be_given_to_another_scheduler(tmp_path: Path) -> None:
    spec = study_spec({"trials": 24, "epochs": 9, "seed": 5, "scheduler": {"kind": "full"}})
    record_study(spec, tmp_path / "study", 3)
    (tmp_path / "asha.yaml").write_text("scheduler: {kind: asha}\nsampler: {kind: recorded}\n")
    request = Request(tried=(tmp_path / "asha.yaml",), workers=3, seeds=1)
    tried = replay_study(tmp_path / "study", request).searches[-1].runs[0]
    recorded = read_log(tmp_path / "study" / LOG_FILE)
    assert [dict(e.settings) for e in tried.events if isinstance(e, TrialSuggested)] == [
        dict(e.settings) for e in recorded if isinstance(e, TrialSuggested)
    ]
    assert decisions(tried.events) != decisions(recorded)
    assert tried.censored == 0


# --- times, GPUs, losses


def by_hand(gpus: float = 0.5) -> RecordedCurves:
    """Three configurations of three epochs of 1, 2 and 4 hours; the first is the best, and begins worst."""
    values = np.array([[0.1, 0.5, 0.9], [0.2, 0.3, 0.4], [0.3, 0.4, 0.5]])
    return RecordedCurves(
        name="hand",
        space=space_from_mapping({"x": {"choice": [1, 2, 3]}}, "hand"),
        points=({"x": 1}, {"x": 2}, {"x": 3}),
        values=values,
        tests=values - 0.05,
        seconds=np.repeat([[3600.0], [7200.0], [14400.0]], 3, axis=1),
        diverged=np.zeros(3, dtype=bool),
        settings={},
        images=100,
        gpus=gpus,
    )


def searched(scheduler: dict[str, Any], workers: int = 3) -> Replayed:
    curves = by_hand()
    variant = Variant("tried", {"scheduler": scheduler, "sampler": {"kind": "recorded"}})
    return Replayed(variant, (simulate(replay_spec(curves, variant, 0, 3), curves, Lookup(curves), workers),))


def test_hours_are_counted_side_by_side_and_together() -> None:
    """Epochs end at 1, 2, 2, 3, 4, 4, 6, 8, 12 hours; the value 0.9 is there after the fourth."""
    search = searched({"kind": "full"})
    (run,) = search.runs
    assert run.hours.tolist() == [1, 2, 2, 3, 4, 4, 6, 8, 12]
    assert sorted(np.diff(run.busy, prepend=0).tolist()) == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert (search.hours_to(0.9), search.busy_hours_to(0.9)) == ([3.0], [5.0])
    assert search.hours_to(0.95) == [np.inf]
    best = best_by_hours(search, [0.5, 1.0, 4.9, 5.0, 99.0])[0].tolist()
    assert np.isnan(best[0])
    assert best[1:] == [0.1, 0.5, 0.9, 0.9]


@pytest.mark.parametrize("kind", ["asha", "promotion", "hyperband"])
def test_a_winner_that_did_not_go_on_is_lost_at_its_rung(kind: str) -> None:
    (run,) = searched({"kind": kind, "rungs": [1]}, workers=1).runs
    assert run.lost_at == (None if kind == "asha" else 1)  # asha has judged nobody before the third
    (kept,) = searched({"kind": kind, "rungs": [2]}, workers=1).runs
    assert kept.lost_at is None


def test_a_paused_winner_is_lost_where_the_budget_ends() -> None:
    curves = by_hand()
    variant = Variant("tried", {"scheduler": {"kind": "promotion", "rungs": [1]}, "sampler": {"kind": "recorded"}})
    run = simulate(replay_spec(curves, variant, 0, 3), curves, Lookup(curves), 1, budget=2)
    assert run.lost_at == 1


def test_the_table_and_the_figure_tell_hours_and_gpu_hours(tmp_path: Path) -> None:
    from rich.console import Console

    from tune_gate.replay.comparison import ReplaySettings, compare
    from tune_gate.replay.drawing import draw_comparison
    from tune_gate.replay.view import comparison_view

    variants = [Variant("median", {"scheduler": {"kind": "median"}, "sampler": {"kind": "recorded"}})]
    comparison = compare(by_hand(), variants, ReplaySettings(workers=3, seeds=2, trials=3, tolerance=0.01))
    summary = comparison.summaries()[1]
    assert (summary.gpu_hours.median, summary.busy_hours.median, summary.hours.median) == (10.5, 21.0, 12.0)
    assert (summary.to_best.median, summary.to_best_hours.median, summary.to_best_busy_hours.median) == (4, 3.0, 5.0)
    assert summary.test.median == pytest.approx(0.85)
    console = Console(width=250, record=True, file=(tmp_path / "out").open("w"))
    console.print(comparison_view(comparison))
    shown = console.export_text()
    assert "GPU-h" in shown
    assert " 10.5 " in shown
    draw_comparison(comparison, tmp_path / "figure.svg")
    assert "GPU-hours" in (tmp_path / "figure.svg").read_text()
