"""The recorded studies behind docs/probes.md: whole, audited, replayed, and as the document has them."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from analysis import early_stopping_safety, open_study
from analysis.events import EpochReported
from analysis.log import LOG_FILE, read_log
from tests.benchmarks.probe_searches import judged_by, replayed
from tests.benchmarks.probe_tables import metric, recorded, rungs, spearman
from tests.benchmarks.probes import write
from tune_gate.replay.lookup import Lookup
from tune_gate.replay.recorded import load_curves
from tune_gate.replay.simulation import simulate
from tune_gate.replay.variants import Variant, replay_spec
from tune_gate.study_dir import read_spec
from tune_gate.verify import verify_log

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "tests" / "benchmarks" / "recorded").iterdir())
STUDIES_BY_NAME = {study.name: study for study in STUDIES}
DOCUMENT = ROOT / "docs" / "probes.md"

each_study = pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)


@each_study
def test_a_recorded_study_is_whole_and_audited(study: Path) -> None:
    spec = read_spec(study)
    trials = recorded(study)
    assert len(trials) == spec.trials >= 24
    assert {trial.epoch for trial in trials if trial.state == "completed"} == {spec.epochs}
    assert rungs(trials) == spec.scheduler.probed(spec.milestones)
    assert {trial.settings["schedule"] for trial in trials} == {"multistep", "cosine", "constant", "stable-decay"}
    assert verify_log(spec, read_log(study / LOG_FILE)) == []


@each_study
def test_a_replay_judges_it_by_its_probes(study: Path) -> None:
    curves = load_curves(study)
    scheduler = {"kind": "asha", "probe": {"share": 0.25}}
    variant = Variant("probed", {"scheduler": scheduler, "sampler": {"kind": "recorded"}})
    run = simulate(replay_spec(curves, variant, 0, curves.trials), curves, Lookup(curves), 4)
    judged = [event for event in run.events if isinstance(event, EpochReported) and event.rung is not None]
    assert {event.epoch for event in judged} == set(read_spec(study).scheduler.probed(()))
    assert all(event.rung is not None and event.rung.value == event.metrics["probe_val_acc"] for event in judged)
    assert any(event.action == "stop" for event in judged)
    assert run.censored == 0


@each_study
def test_a_long_probe_ranks_at_least_as_well_as_the_epoch(study: Path) -> None:
    trials = [trial for trial in recorded(study) if trial.state == "completed"]
    end = max(trial.epoch for trial in trials)
    final = [metric(trial, end) for trial in trials]
    for rung in rungs(trials):
        plain, probe = ([metric(trial, rung, name) for trial in trials] for name in ("val_acc", "probe_val_acc"))
        assert spearman(probe, final) >= spearman(plain, final)


def test_safety_knows_the_probes_of_a_study_without_rungs() -> None:
    found = early_stopping_safety(open_study(STUDIES[0]), epochs=(3, 4))
    assert [rung.probed for rung in found.rungs] == [True, False]


def test_the_document_is_what_its_command_writes(tmp_path: Path) -> None:
    copy = tmp_path / "probes.md"
    shutil.copy(DOCUMENT, copy)
    write(STUDIES, copy)
    assert copy.read_text() == DOCUMENT.read_text()


def test_a_search_with_long_probes_finds_what_plain_rungs_lose() -> None:
    """The longest of digits-27 against its plain rungs, as docs/probes.md has it with more seeds."""
    ways = dict(judged_by(STUDIES_BY_NAME["digits-27"]))
    near = ways["plain"].best - ways["plain"].standard_error
    never = {
        words: [math.inf in search.epochs_to(near) for search in replayed(ways[words], seeds=6)]
        for words in ("plain", "probe of 25%")
    }
    assert never == {"plain": [False, True, True], "probe of 25%": [False, False, False]}
