"""What the published runs say comes out of the same functions and commands that any study goes through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import Study, open_study
from analysis.events import Warned
from analysis.importers import import_study

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "greyc-runs"
pytestmark = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published runs are not beside the repository")

NAMES = {
    "dataset": "data", "depth": "depth", "init": "init", "gate_iters": "gate_iters", "lr_gate": "lr_gate", "lr": "lr",
    "gamma": "gamma", "val_fraction": "val_fraction",
}  # fmt: skip
IMAGES = {"val": 125.0, "test": 10_000 / 79, "train": 45_000 / 352}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("published") / "study"
    import_study("tensorboard", str(PUBLISHED / "tensorboard"), folder)
    return open_study(folder)


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / "runs.csv").set_index("run")


@pytest.fixture(scope="module")
def curves() -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / "curves.csv.gz").sort_values(["run", "epoch"], ignore_index=True)


def test_the_empty_files_are_told_and_every_rate_is_as_named(published):
    notes = [event.message for event in published.events if isinstance(event, Warned)]
    assert sum("holds no values (40 bytes)" in note for note in notes) == 2
    assert not [note for note in notes if "was logged" in note]
    assert len(published.trials) == 39


def test_settings_and_results_are_those_of_the_table(published, runs):
    trials = published.trials.set_index("run")
    assert sorted(trials.index) == sorted(runs.index)
    epochs = published.epochs.set_index(["trial", "epoch"])
    for run, row in runs.iterrows():
        trial = trials.loc[run]
        config = published.config_of(int(trial["trial"]))
        assert {old: config[new] for old, new in NAMES.items()} == {old: row[old] for old in NAMES}
        assert ";".join(map(str, config["milestones"])) == str(row["milestones"])
        assert config["schedule_gate"] == {"constant": "constant", "step0.1/50ep": "step"}[row["gate_schedule"]]
        assert trial["epochs"] == row["epochs_logged"]
        assert trial["best_epoch"] == row["best_val_epoch"]
        assert trial["hours"] == pytest.approx(row["gpu_hours"], abs=1e-3)
        best, last = (epochs.loc[(trial["trial"], epoch)] for epoch in (trial["best_epoch"], trial["epochs"]))
        for name, value in (
            ("best_val_acc", trial["val_acc"]),
            ("test_acc_at_best_val", best["test_acc"]),
            ("final_val_acc", trial["last_val_acc"]),
            ("final_test_acc", last["test_acc"]),
        ):
            assert 100.0 * value == pytest.approx(row[name], abs=1e-9), (run, name)


def test_curves_are_those_of_the_table(published, runs, curves):
    names = published.trials.set_index("trial")["run"]
    epochs = published.epochs.assign(run=lambda frame: frame["trial"].map(names))
    epochs = epochs.sort_values(["run", "epoch"], ignore_index=True)
    assert epochs[["run", "epoch"]].equals(curves[["run", "epoch"]])
    fraction = curves["run"].map(runs["val_fraction"])
    images = {"val": (fraction * 50_000).round(), "test": 10_000.0}
    images["train"] = 50_000 - images["val"]
    for split, count in images.items():
        factor = count / np.ceil(count / 128)
        for ours, theirs, scale in (
            ("acc", "acc", 100.0), ("loss", "loss_cls", 1.0 / factor), ("gate_loss", "loss_gate", 1.0 / factor),
        ):  # fmt: skip
            found, wanted = epochs[f"{split}_{ours}"] * scale, curves[f"{split}_{theirs}"]
            rounded = 6e-5 if ours == "acc" else 0.0  # the table has four decimals of a percentage
            np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=rounded, err_msg=f"{split}_{ours}")
    np.testing.assert_allclose(epochs["lr"], curves["lr"], rtol=1e-6)
    np.testing.assert_allclose(epochs["lr_gate"], curves["lr_gate"], rtol=1e-6)
    np.testing.assert_allclose(epochs.groupby("run")["seconds"].cumsum(), curves["seconds"], atol=0.02)
