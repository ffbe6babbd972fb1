"""Probes in a replay: recorded ones decide and cost; others are not guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.events import EpochReported
from analysis.log import LOG_FILE, read_log
from tests.tune_gate.replay.test_replay import decisions, record_study, table
from tests.tune_gate.virtual_cluster import metrics_of, probe_of
from tune_gate.errors import SpecError
from tune_gate.replay.lookup import Lookup
from tune_gate.replay.recorded import load_curves
from tune_gate.replay.simulation import Run, simulate
from tune_gate.replay.variants import Variant, replay_spec
from tune_gate.spec import study_spec

PROBE = {"share": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that stopped nobody, probed at epochs 1 and 3."""
    folder = tmp_path_factory.mktemp("studies") / "whole"
    scheduler = {"kind": "full", "probe": {**PROBE, "at": [1, 3]}}
    record_study(
        study_spec({"trials": 20, "epochs": 9, "scheduler": scheduler, "sampler": {"kind": "random"}}), folder, 2
    )
    return folder


def tried(folder: Path, scheduler: dict[str, Any], workers: int = 1) -> Run:
    curves = load_curves(folder)
    spec = replay_spec(curves, Variant("tried", {"scheduler": scheduler}), 0, 20)
    return simulate(spec, curves, Lookup(curves), workers)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", ["asha", "promotion"])
def test_a_probed_study_replayed_with_its_own_settings_gives_the_same_decisions(
    kind: str, workers: int, tmp_path: Path
) -> None:
    spec = study_spec({"trials": 20, "epochs": 9, "seed": 5, "scheduler": {"kind": kind, "probe": PROBE}})
    record_study(spec, tmp_path / "study", workers)
    curves = load_curves(tmp_path / "study")
    run = simulate(replay_spec(curves, Variant("own", {}), 5, 20), curves, Lookup(curves), workers)
    recorded = read_log(tmp_path / "study" / LOG_FILE)
    assert decisions(run.events) == decisions(recorded)
    assert {event.action for event in recorded if isinstance(event, EpochReported)} >= {"complete"}


def test_recorded_probes_decide(folder: Path) -> None:
    plain, probed = tried(folder, {"rungs": [1, 3]}), tried(folder, {"rungs": [1, 3], "probe": PROBE})
    for run, name in ((plain, "val_acc"), (probed, "probe_val_acc")):
        judged = [event for event in run.decisions if event.rung is not None]
        assert judged
        assert all(event.rung is not None and event.rung.value == event.metrics[name] for event in judged)


def test_probes_cost_epochs_and_hours(folder: Path) -> None:
    curves = load_curves(folder)
    assert curves.probes is not None
    assert np.nanmin(curves.probes.seconds) == np.nanmax(curves.probes.seconds) == 0.25
    plain = tried(folder, {"kind": "full"})
    probed = tried(folder, {"kind": "full", "probe": {**PROBE, "at": [1, 3]}})
    reports = sum(int(length >= epoch) for length in curves.lengths for epoch in (1, 3))
    assert probed.hours[-1] - plain.hours[-1] == pytest.approx(0.25 * reports / 3600)
    extra = sum(0.5 * epoch * int(length >= epoch) for length in curves.lengths for epoch in (1, 3))
    assert len(probed.best) - len(plain.best) == int(extra)
    assert probed.best[-1] == plain.best[-1]
    assert np.isfinite(probed.best).all()


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"rungs": [1, 3], "probe": {"share": 0.4}}, r"the recorded probes have share 0\.5, not 0\.4"),
        ({"rungs": [2], "probe": PROBE}, "curves have no probe at epoch 2; choose other 'rungs'"),
        ({"kind": "median", "probe": PROBE}, "kind 'median' compares no probes"),
    ],
)
def test_what_was_not_recorded_is_not_guessed(folder: Path, scheduler: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        tried(folder, scheduler)


def test_a_table_has_no_probes(tmp_path: Path) -> None:
    curves = load_curves(table(tmp_path))
    with pytest.raises(SpecError, match="recorded without probes"):
        replay_spec(curves, Variant("tried", {"scheduler": {"probe": PROBE}}), 0, 10)


def test_the_helpers_agree() -> None:
    """The probes of these studies rank otherwise than their epochs, or nothing here would show."""
    settings = [{"seed": seed, "lr": 0.1} for seed in range(20)]
    plain = np.argsort([metrics_of(each, 1)["val_acc"] for each in settings])
    assert plain.tolist() != np.argsort([probe_of(each, 1)["probe_val_acc"] for each in settings]).tolist()
