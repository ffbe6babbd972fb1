"""From a study's checkpoint to the survey of its gate, without a Ray: the checkpoint is that of an untrained model."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import UnknownName
from analysis.gate import read_survey
from tests.tune_gate.test_search import Cluster
from trainables.checkpoints import save_run
from trainables.config import trial_config
from trainables.device import cpu
from trainables.training import start_run
from tune_gate.errors import Misuse
from tune_gate.spec import study_spec
from tune_gate.study_dir import checkpoint_folder, create_study
from tune_gate.surveying import survey_trial, write_gate_figures

SPACE = {
    "gate": {"choice": ["entropy", "none"]},
    "gate_input": {"choice": ["early", "late"], "when": {"gate": "entropy"}},
}
CONFIG = {"gate_hidden": 16, "val_fraction": 0.5}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of three: an early gate, a late one, and none. The early one's checkpoint is there."""
    folder = tmp_path_factory.mktemp("survey") / "study"
    grid = {"space": SPACE, "config": CONFIG, "sampler": {"kind": "grid"}, "scheduler": {"kind": "full"}}
    spec = create_study(study_spec({"trials": 3, "epochs": 2, **grid}), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.tune_gate.test_search.metrics_of", lambda *_: {"val_acc": 0.5, "diverged": 0.0})
        Cluster(spec, folder).run()
    settings = spec.trial_settings({"gate": "entropy", "gate_input": "early"}, seed=1, epochs=2)
    save_run(start_run(trial_config(settings), cpu()), checkpoint_folder(folder, 1) / "best.pt")
    return folder


def test_the_best_trial_with_a_gate_is_surveyed(study: Path) -> None:
    path = survey_trial(study, None, "cpu")
    assert path == study / "exports" / "gate" / "trial-0001.npz"
    survey = read_survey(path)
    assert (survey.trial, survey.gate_input, len(survey.classes)) == (1, "early", 10)
    written = write_gate_figures(survey, path.with_suffix(""), "png")
    assert [file.name for file in written] == ["pictures.png", "openness.png", "exits.png", "skipping.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in written)


def test_what_cannot_be_surveyed(study: Path) -> None:
    with pytest.raises(Misuse, match="trial 2 cannot be surveyed: no checkpoint is kept"):
        survey_trial(study, 2, "cpu")
    with pytest.raises(Misuse, match="trial 3 is a plain ResNet"):
        survey_trial(study, 3, "cpu")
    with pytest.raises(UnknownName, match="unknown trial '9'"):
        survey_trial(study, 9, "cpu")
