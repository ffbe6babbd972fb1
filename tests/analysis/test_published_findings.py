"""What the published runs say comes out of the same functions and commands that any study goes through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import Measure, Study, effects, importances, noise, open_study
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


CELLS = ("run=runs_vc*", "gamma=0.1")
VALIDATION, TEST, LATE = Measure(), Measure("test_acc"), Measure("val_acc", "last", 10)


def effect(study: Study, setting: str, measure: Measure, *where: str) -> tuple[float, float, int]:
    """In percentage points: mean and standard error; and the number of pairs."""
    row = effects(study, measure, where, [setting]).main.iloc[0]
    return round(100 * row["effect"], 3), round(100 * row["se"], 3), row["pairs"]


@pytest.mark.parametrize(
    ("setting", "data", "validation", "test"),
    [
        ("gate_iters", "cifar10", (-1.46, 0.15), (-1.92, 0.15)),
        ("lr_gate", "cifar10", (-0.07, 0.14), (-0.08, 0.11)),
        ("lr_gate", "cifar100", (0.78, 0.11), (0.55, 0.26)),
        ("schedule_gate", "cifar10", (-0.05, 0.15), (0.06, 0.16)),
        ("schedule_gate", "cifar100", (1.48, 0.51), (1.90, 0.38)),
        ("init", "cifar10", (-0.27, 0.13), (-0.16, 0.11)),  # from baseline to scratch
        ("init", "cifar100", (0.50, 0.51), (-0.23, 0.35)),
    ],
)
def test_main_effects(published, setting, data, validation, test):
    for measure, (mean, se) in ((VALIDATION, validation), (TEST, test)):
        found = effect(published, setting, measure, *CELLS, f"data={data}")
        assert found[:2] == pytest.approx((mean, se), abs=0.0151)
        assert found[2] == (8 if data == "cifar10" else 4)


def test_four_pairs_claim_nothing(published):
    table = effects(published, VALIDATION, (*CELLS, "data=cifar100")).main
    assert (table["p"] >= 0.125).all()
    assert table["warning"].str.startswith("too few: 4 pairs").all()
    strong = effects(published, VALIDATION, (*CELLS, "data=cifar10"), ["gate_iters"]).main.iloc[0]
    assert (strong["p"], strong["warning"]) == (2 / 2**8, "")


def test_best_and_final_rank_differently(published):
    where = ("run=runs_vc10_*", "milestones=[133,200]", "gate_iters=1")
    assert effect(published, "gamma", VALIDATION, *where)[:2] == pytest.approx((0.03, 0.20), abs=0.01)
    assert effect(published, "gamma", LATE, *where)[:2] == pytest.approx((-1.37, 0.14), abs=0.01)


def test_noise(published):
    for where, validation, test in (
        (("data=cifar10", "gate_iters=1"), 0.30, 0.20),
        (("data=cifar10", "gate_iters=3"), 0.30, 0.26),
        (("data=cifar100",), 0.71, 0.45),
    ):
        for measure, deviation in ((VALIDATION, validation), (TEST, test)):
            found = noise(published, measure, (*CELLS, *where), ["init"])
            assert 100 * found.replicate_sd == pytest.approx(deviation, abs=0.006)
            assert found.degrees == 4
    assert 100 * noise(published, VALIDATION, ("run=runs_vc100_*",)).binomial_se == pytest.approx(0.65, abs=0.02)


def test_winners_are_not_unique(published):
    found = noise(published, VALIDATION, ("run=runs_vc10_*",))
    assert (found.best, found.trials, found.within_1_se, found.within_2_se) == (0.9418, 24, 4, 8)
    assert 100 * found.binomial_se == pytest.approx(0.35, abs=0.02)
    same = noise(published, VALIDATION, ("data=cifar10", "val_fraction=0.1"), ["init"]).groups
    assert same.loc[same["trials"] == 3, "values"].item() == [0.9426, 0.9418, 0.9344]


def test_choosing_on_test_flatters(published):
    found = noise(published, VALIDATION, ("run=runs_vc*",))
    assert 100 * found.test_flattery == pytest.approx(0.30, abs=0.02)
    assert 100 * found.test_flattery_most == pytest.approx(1.0, abs=0.005)


def test_importances_agree_with_the_strongest_effect(published):
    table = importances(published, where=(*CELLS, "data=cifar10"), bootstraps=3)
    first = table.drop_duplicates("evaluator").set_index("evaluator")["setting"]
    assert first["fanova"] == "gate_iters"
    again = importances(published, where=(*CELLS, "data=cifar10"), bootstraps=3)
    pd.testing.assert_frame_equal(table, again)
