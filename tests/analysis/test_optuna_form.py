"""A study goes to Optuna and comes back."""

from __future__ import annotations

import optuna
import pytest

from analysis import AnalysisError, import_study, open_study
from analysis.optuna_form import optuna_trials, write_optuna
from tests.analysis.foreign_sources import write_csv


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_what_is_written_can_be_loaded_plotted_and_imported(study, tmp_path, kind):
    target = f"sqlite:///{tmp_path / 'out.db'}" if kind == "sqlite" else str(tmp_path / "out.log")
    write_optuna(study, target)
    storage = target
    if kind == "journal":
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(target))
    loaded = optuna.load_study(study_name="small_study", storage=storage)
    names = [trial.state.name for trial in loaded.trials]
    assert names == ["COMPLETE", "PRUNED", "PRUNED", "FAIL", "WAITING", "COMPLETE", "WAITING"]
    assert loaded.best_value == pytest.approx(0.9)
    assert loaded.trials[1].intermediate_values == pytest.approx({1: 0.3, 2: 0.4, 3: 0.35})
    assert loaded.trials[5].params == {"lr": 0.6, "gate": "none"}
    assert optuna.visualization.plot_intermediate_values(loaded).data
    assert optuna.visualization.plot_parallel_coordinate(loaded, params=["lr", "gate"]).data
    import_study("optuna", target, tmp_path / "back")
    again = open_study(tmp_path / "back")
    assert again.trials["state"].tolist() == study.trials["state"].replace({"diverged": "stopped"}).tolist()
    assert again.trials["val_acc"].dropna().tolist() == pytest.approx(study.trials["val_acc"].dropna().tolist())
    with pytest.raises(AnalysisError, match="already holds"):
        write_optuna(study, target)


def test_spaces_are_those_of_the_study(tmp_path):
    import_study("csv", write_csv(tmp_path / "source"), tmp_path / "study")
    first = optuna_trials(open_study(tmp_path / "study"))[0]
    assert first.distributions["lr"] == optuna.distributions.FloatDistribution(0.001, 0.1, log=True)
    assert first.params["milestones"] == "[0.4, 0.6]"
    assert first.user_attrs["seed"] == 7
    assert optuna_trials(open_study(tmp_path / "study"))[2].system_attrs == {"fail_reason": "CUDA out of memory"}
