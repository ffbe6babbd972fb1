"""Every importer makes a study that every reader of studies can read, with nothing lost."""

from __future__ import annotations

import json
import math
import pickle
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import BEST_TABLE_COLUMNS, UnknownName, best_table, config_yaml, export_table, open_study
from analysis.events import Warned
from analysis.frames import METRICS
from analysis.importers import IMPORTERS, import_study
from analysis.importers.foreign import ForeignEpoch, ForeignStudy, ForeignTrial, ImportFailed, ImportOptions
from analysis.importers.inert_pickle import load_inert
from analysis.importers.published_names import decode, expected_rates, logged_drops
from analysis.importers.reserved import OF_EPOCHS, OF_TRIALS
from analysis.importers.spaces import made_space
from analysis.importers.writing import write_study
from tests.analysis.foreign_sources import CURVES, SOURCES, START, write_events


def imported(kind, tmp_path, **options):
    source = SOURCES[kind](tmp_path / "source")
    import_study(kind, source, tmp_path / "study", ImportOptions(**options))
    return open_study(tmp_path / "study")


def test_every_importer_has_a_source_here():
    assert set(SOURCES) == set(IMPORTERS)


@pytest.mark.parametrize("kind", IMPORTERS)
def test_conformance(kind, tmp_path):
    study = imported(kind, tmp_path)
    trials, epochs = study.trials, study.epochs
    for name, curve in CURVES.items():
        number = int(
            trials["trial"][trials["run"].str.endswith(name) | (trials["run"] == f"trial {ord(name) - 97}")].item()
        )
        own = epochs[epochs["trial"] == number]
        assert own["epoch"].tolist() == list(range(1, len(curve) + 1))
        assert own["val_acc"].tolist() == pytest.approx(curve, rel=1e-6)
        assert own["time"].is_monotonic_increasing
    assert study.spec.epochs == 3
    table = best_table(study)
    assert table["val_acc"].iloc[0] == pytest.approx(0.7)
    assert export_table(table, "csv")
    assert yaml.safe_load(config_yaml(study, "best"))["epochs"] == 3
    assert [event.time for event in study.events] == sorted(event.time for event in study.events)
    assert study.events == open_study(study.path).events
    pd.testing.assert_frame_equal(study.trials, open_study(study.path).trials)


@pytest.mark.parametrize("kind", ["csv", "curves", "ray", "optuna"])
def test_how_trials_ended_is_kept(kind, tmp_path):
    trials = imported(kind, tmp_path).trials
    ends = dict(zip(trials["run"].str[-1].replace({"0": "a", "1": "b", "2": "c"}), trials["state"], strict=True))
    assert ends == {"a": "completed", "b": "stopped", "c": "failed"}
    assert trials.loc[trials["state"] == "stopped", "ended_at"].tolist() == [2]
    if kind not in ("curves", "optuna"):
        assert trials.loc[trials["state"] == "failed", "end_reason"].item().endswith("CUDA out of memory")


def test_csv_keeps_settings_times_and_seeds(tmp_path):
    study = imported("csv", tmp_path)
    trials = study.trials.set_index("run")
    assert trials.loc["a", "seed"] == 7
    assert trials.loc["a", "milestones"] == [0.4, 0.6]
    assert trials.loc["a", "suggested"].timestamp() == START
    assert trials["lr"].tolist() == [0.1, 0.01, 0.001]
    assert trials.loc["a", "hours"] == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("table", "text", "told"),
    [
        ("trials.csv", "trail\na\n", "no column 'trial'"),
        ("trials.csv", "trial\na\na\n", "twice"),
        ("trials.csv", "trial,state\na,stoped\nb,\n", "did you mean 'stopped'"),
        ("trials.csv", "trial,started\na,yesterday\nb,\n", "no time"),
        ("epochs.csv", "trial,epoch,val_acc\nz,1,0.5\n", "'z' is not in trials.csv"),
        ("epochs.csv", "trial,epoch,val_acc\na,0,0.5\n", "counted from 1"),
        ("epochs.csv", "trial,epoch,val_acc\na,1,good\n", "line 2: val_acc is 'good'"),
        ("epochs.csv", "trial,epoch,thing\na,1,0.5\n", "Say --metric"),
    ],
)
def test_a_wrong_table_is_told_and_nothing_is_left(table, text, told, tmp_path):
    source = SOURCES["csv"](tmp_path / "source")
    (tmp_path / "source" / table).write_text(text)
    with pytest.raises(ValueError, match=told):
        import_study("csv", source, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_optuna_keeps_ranges_and_log_scales(tmp_path):
    study = imported("optuna", tmp_path)
    assert study.spec.dimensions == {"lr": {"log-float": [1e-4, 1.0]}, "gate": {"choice": ["none", "entropy"]}}
    assert study.epochs["objective"].dropna().tolist() == [0.7]


def test_ray_names_rungs_metric_and_nested_settings(tmp_path):
    study = imported("ray", tmp_path, val_images=100)
    assert (study.spec.rungs, study.spec.reduction_factor) == ((2,), 4)
    assert study.trials["net/depth"].dropna().tolist() == [3, 5]
    assert best_table(study)["val_acc_low"].iloc[0] < 0.7
    assert any("mean_accuracy" in event.message for event in study.events if isinstance(event, Warned))


def test_a_table_of_curves_keeps_settings_ranges_and_test_values(tmp_path):
    study = imported("curves", tmp_path, val_images=500)
    assert study.spec.dimensions == {"lr": {"log-float": [0.001, 0.1]}, "gate": {"choice": ["none", "entropy"]}}
    assert study.trials["lr"].tolist() == pytest.approx([0.1, 0.01, 0.001])
    assert study.epochs["test_acc"].tolist() == pytest.approx([0.49, 0.59, 0.69, 0.39, 0.44])
    assert study.epochs["val_images"].eq(500).all()
    assert any("read as percent" in event.message for event in study.events if isinstance(event, Warned))


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"X": np.zeros((3, 2)), "V": np.zeros((4, 2))}, r"must be \(n, d\) and \(n, T\)"),
        ({"X": np.zeros((3, 2))}, "no table of learning curves"),
        ({"X": np.zeros((1, 1)), "V": np.zeros((1, 2)), "space": "[{}]"}, "its space and X do not fit"),
        ({"X": np.array([["a"]]), "V": np.zeros((1, 2))}, "no table of learning curves"),
    ],
)
def test_what_is_no_table_of_curves_is_told(arrays, told, tmp_path):
    np.savez(tmp_path / "table.npz", **arrays)
    with pytest.raises(ImportFailed, match=told):
        import_study("curves", str(tmp_path / "table.npz"), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_settings_that_a_table_does_not_name_are_axes_of_the_unit_cube(tmp_path):
    np.savez(tmp_path / "table.npz", X=np.array([[0.25, 0.5], [0.75, 1.0]]), V=np.array([[-2.0, -1.0], [-3.0, -1.5]]))
    notes = import_study("curves", str(tmp_path / "table.npz"), tmp_path / "study").notes
    assert any("unit cube" in note for note in notes)
    assert any("read as score" in note for note in notes)
    study = open_study(tmp_path / "study")
    assert study.trials["x1"].tolist() == [0.25, 0.75]
    assert study.epochs["val_acc"].tolist() == [-2.0, -1.0, -3.0, -1.5]
    with pytest.raises(ImportFailed, match="no 'val_loss'"):
        import_study("curves", str(tmp_path / "table.npz"), tmp_path / "new", ImportOptions(metric="val_loss"))


def test_foreign_pickles_run_nothing():
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    inert = load_inert(pickle.dumps({"config": Evil(), "n": [1, 2.5, "x"]}))
    assert inert["n"] == [1, 2.5, "x"]
    assert type(inert["config"]).__name__ == "print"
    with pytest.raises(ValueError, match="pickle"):
        load_inert(b"no pickle")


def test_tensorboard_passes_over_empty_files_and_says_so(tmp_path):
    notes = [event.message for event in imported("tensorboard", tmp_path).events if isinstance(event, Warned)]
    assert any("passed over lr0.1_c/" in note for note in notes)
    assert any("settings are not known" in note for note in notes)


def test_tensorboard_with_a_mapping(tmp_path):
    source = tmp_path / "source"
    write_events(source / "lr1e-2_bs", {"Acc/val": (50.0, 60.0), "extra": (1.0, 2.0)})
    mapping = {
        "pattern": r"lr(?P<lr>[\d.e-]+)_(?P<init>bs|sc)",
        "values": {"init": {"bs": "baseline", "sc": "scratch"}},
        "settings": {"data": "mine"},
        "tags": {"Acc/val": "val_acc"},
        "scale": {"val_acc": 0.01},
        "val_images": 1000,
    }
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping))
    import_study("tensorboard", str(source), tmp_path / "study", ImportOptions(mapping=tmp_path / "mapping.yaml"))
    study = open_study(tmp_path / "study")
    assert study.config_of(1) == {"data": "mine", "lr": 0.01, "init": "baseline", "epochs": 2, "seed": 0}
    assert study.epochs["val_acc"].tolist() == pytest.approx([0.5, 0.6])
    assert study.epochs["extra"].tolist() == [1.0, 2.0]
    assert study.epochs["val_images"].tolist() == [1000.0, 1000.0]
    (tmp_path / "mapping.yaml").write_text("pattern: a\ntag: {}\n")
    with pytest.raises(UnknownName, match="did you mean 'tags'"):
        import_study("tensorboard", str(source), tmp_path / "new", ImportOptions(mapping=tmp_path / "mapping.yaml"))


def test_published_names():
    name = decode("runs_vc100_resnet_gate_classifier164_4770_bi_it3g-2cm-1_lr1by347last")
    assert name is not None
    told = {
        "data": "cifar100", "depth": 164, "gate_iters": 3, "lr_gate": 0.01, "gamma": 0.333, "init": "baseline",
        "schedule_gate": "constant", "milestones": [133],
    }  # fmt: skip
    assert {key: name.settings[key] for key in told} == told
    assert name.value_of("val_loss", 0.008) == pytest.approx(1.0)
    assert name.value_of("val_acc", 94.18000030517578) == 0.9418
    assert decode("runs_mine") is None
    assert decode("runs_vc10_resnet_gate_classifier29_4770_bi_it3g-2m-1").settings["block"] == "bottleneck"
    assert logged_drops([0.01, 0.1, 0.1, 0.01]) == [3]
    step = {**name.settings, "schedule_gate": "step"}
    assert [expected_rates(step, epoch)["lr_gate"] for epoch in (49, 50)] == pytest.approx([0.01, 0.001])
    assert [expected_rates(step, epoch)["lr"] for epoch in (1, 2, 133, 134)] == pytest.approx([0.01, 0.1, 0.1, 0.0333])


def test_runs_without_a_validation_split_are_kept_without_a_rank(tmp_path):
    run = "runs_c10_resnet_gate_classifier110_4770_scratch_it1g-2cm-1"
    write_events(
        tmp_path / "s" / run, {"test_acc": (50.0, 51.0), "tot_loss": (3.0, 2.0), "train_loss_cls": (0.01, 0.01)}
    )
    notes = import_study("tensorboard", str(tmp_path / "s"), tmp_path / "study").notes
    assert any("no validation accuracy" in note for note in notes)
    study = open_study(tmp_path / "study")
    assert study.epochs["test_acc"].tolist() == [0.5, 0.51]
    assert study.epochs["tot_loss"].tolist() == [3.0, 2.0]
    assert study.epochs["train_loss"].tolist() == pytest.approx([0.01 * 50_000 / 391] * 2)
    assert best_table(study).empty


@pytest.mark.parametrize(
    ("run", "kept", "told"),
    [
        ("runs_vc100_resnet_gate_classifier164_4770_bi_it1g-2cm-1_dlr", {"variant": "dlr", "depth": 164}, "'dlr'"),
        ("runs_c10_resnet_gate_classifier56_scit1g-2cm-1_3248_1e-1_v2", {"variant": "v2", "val_fraction": 0.1}, "'v2'"),
        ("runs_vc100_resnet_modl3_164_4770_bi_it1g-2cm-1", {"gate": "modl3", "depth": 164}, "'modl3'"),
        ("runs_vsvhn_resnet_gate_classifier110_4770_scratch_it3g-2m-1", {"data": "svhn", "gate_iters": 3}, "'svhn'"),
    ],
)
def test_names_near_the_published_scheme_keep_what_they_say(run, kept, told):
    name = decode(run)
    assert name is not None
    assert {key: name.settings[key] for key in kept} == kept
    assert len(name.notes) == 1
    assert told in name.notes[0]


def test_percent_of_an_unknown_number_of_images_becomes_a_fraction(tmp_path):
    for run in ("runs_vsvhn_resnet_gate_classifier110_4770_scratch_it3g-2m-1",
                "runs_c10_resnet_gate_classifier110_4770_scratch_it1g-2cm-1"):  # fmt: skip
        write_events(tmp_path / "s" / run, {"val_accuracy": (50.0, 51.0), "val_loss_cls": (0.01, 0.01)})
    import_study("tensorboard", str(tmp_path / "s"), tmp_path / "study")
    study = open_study(tmp_path / "study")
    assert study.epochs["val_acc"].tolist() == [0.5, 0.51] * 2
    assert study.epochs["val_loss"].tolist() == pytest.approx([0.01] * 4)
    assert study.trials["val_acc_low"].isna().all()


def test_runs_of_one_name_in_two_folders_are_told_apart_by_their_paths(tmp_path):
    run = "runs_vc10_resnet_gate_classifier110_4770_bi_it1g-2cm-1"
    for folder in ("first", "second"):
        write_events(tmp_path / "s" / folder / run, {"val_accuracy": (50.0, 51.0)})
    import_study("tensorboard", str(tmp_path / "s"), tmp_path / "study")
    trials = open_study(tmp_path / "study").trials
    assert set(trials["run"]) == {f"first/{run}", f"second/{run}"}
    assert set(trials["state"]) == {"completed"}


def test_a_run_without_an_accuracy_does_not_stand_in_the_way_of_others(tmp_path):
    write_events(tmp_path / "s" / "mine", {"test_accuracy": (50.0, 51.0)})
    with pytest.raises(ImportFailed, match="Say --metric, one of: seconds, test_accuracy"):
        import_study("tensorboard", str(tmp_path / "s"), tmp_path / "study")
    write_events(
        tmp_path / "s" / "runs_vc10_resnet_gate_classifier110_4770_bi_it1g-2cm-1", {"val_accuracy": (50.0, 51.0)}
    )
    notes = import_study("tensorboard", str(tmp_path / "s"), tmp_path / "study").notes
    assert "run mine: it has no validation accuracy, so it has no rank" in notes
    assert set(open_study(tmp_path / "study").trials["state"]) == {"completed"}


def test_a_rate_that_was_not_logged_as_named_is_told(tmp_path):
    run = "runs_vc10_resnet_gate_classifier110_4770_bi_it1g-2cm-1"
    write_events(tmp_path / "s" / run, {"val_accuracy": (50.0, 51.0), "lr": (0.01, 0.3), "gate_lr": (0.01, 0.01)})
    notes = import_study("tensorboard", str(tmp_path / "s"), tmp_path / "study").notes
    assert sum("says lr 0.1 at epoch 2, and 0.3 was logged" in note for note in notes) == 1


def test_made_spaces():
    rates = [{"lr": 0.001 * 1.3**n, "width": 8, "mixed": n if n % 2 else "no"} for n in range(12)]
    assert made_space(rates) == {
        "lr": {"log-float": [0.001, 0.001 * 1.3**11]},
        "width": {"choice": [8]},
        "mixed": {"choice": ["no", 1, 3, 5, 7, 9, 11]},
    }


def test_refusals(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'optuna'"):
        import_study("optnua", "x", tmp_path / "study")
    for kind in IMPORTERS:
        with pytest.raises(ImportFailed):
            import_study(kind, str(tmp_path / "absent"), tmp_path / "study")
    with pytest.raises(ImportFailed, match="unknown unit"):
        ImportOptions(unit="pounds")
    imported("csv", tmp_path)
    with pytest.raises(ImportFailed, match="not an empty folder"):
        import_study("csv", str(tmp_path / "source"), tmp_path / "study")


def test_epochs_done_over_after_a_crash_are_told_as_such(tmp_path):
    source = SOURCES["ray"](tmp_path / "source")
    result = tmp_path / "source" / "a" / "result.json"
    rows = [json.loads(line) for line in result.read_text().splitlines()]
    again = {**rows[1], "mean_accuracy": 65.0, "iterations_since_restore": 1, "timestamp": rows[1]["timestamp"] + 5}
    result.write_text("".join(json.dumps(row) + "\n" for row in (rows[0], rows[1], again, rows[2])))
    import_study("ray", source, tmp_path / "study")
    trials = open_study(tmp_path / "study").trials.set_index("run")
    assert trials.loc["a", ["attempts", "redone_epochs", "epochs"]].tolist() == [2, 1, 3]
    curve = open_study(tmp_path / "study").epochs
    assert curve.loc[curve["trial"] == trials.loc["a", "trial"], "val_acc"].tolist() == pytest.approx([0.5, 0.65, 0.7])


def test_files_of_one_run_are_its_attempts(tmp_path):
    for wait, values in ((0.0, (0.5, 0.6)), (1.1, (0.5, 0.61, 0.7))):  # the writer names files by the second
        time.sleep(wait)
        write_events(tmp_path / "s" / "run", {"val_acc": values})
    import_study("tensorboard", str(tmp_path / "s"), tmp_path / "study")
    study = open_study(tmp_path / "study")
    assert study.trials.loc[0, ["attempts", "redone_epochs", "epochs"]].tolist() == [2, 2, 3]
    assert study.epochs["val_acc"].tolist() == pytest.approx([0.5, 0.61, 0.7])


numbers = st.floats(0.0, 1.0) | st.just(math.nan)
settings_of = st.fixed_dictionaries(
    {"lr": st.floats(1e-9, 1e3), "name": st.sampled_from(["none", "a,b", 'quo"te', "Güte", "1e", "-"])},
    optional={"depth": st.integers(-5, 2**40), "flag": st.booleans(), "list": st.lists(st.integers(0, 9), min_size=1)},
)
foreign = st.lists(st.tuples(settings_of, st.lists(numbers, max_size=5)), min_size=1, max_size=5)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(trials=foreign)
def test_nothing_is_lost_on_the_way(tmp_path_factory, trials):
    """Any settings and any curve come back from the study as they were."""
    folder = tmp_path_factory.mktemp("any")
    told = tuple(
        ForeignTrial(
            f"run {number}",
            point,
            tuple(ForeignEpoch(epoch, 10.0 * epoch, {"val_acc": value}) for epoch, value in enumerate(curve, start=1)),
            "completed",
            float(number),
        )
        for number, (point, curve) in enumerate(trials)
    )
    write_study(ForeignStudy("any", told), "test:any", folder / "study")
    study = open_study(folder / "study")
    assert study.trials["run"].tolist() == [trial.name for trial in told]
    for number, (point, curve) in enumerate(trials, start=1):
        config = study.config_of(number)
        assert {name: config[name] for name in point} == point
        found = study.epochs.loc[study.epochs["trial"] == number, "val_acc"].tolist()
        assert [str(value) for value in found] == [str(value) for value in curve]


def test_names_that_our_tables_use_are_kept_under_others(tmp_path):
    source = SOURCES["csv"](tmp_path / "source")
    (tmp_path / "source" / "trials.csv").write_text("trial,epochs,hours\na,100,2\nb,200,2\n")
    (tmp_path / "source" / "epochs.csv").write_text("trial,epoch,val_acc,action,rung\na,1,0.5,7,8\nb,1,0.4,7,8\n")
    notes = import_study("csv", source, tmp_path / "study").notes
    assert "'epochs' is kept as 'setting_epochs': our tables use the name" in notes
    study = open_study(tmp_path / "study")
    assert study.trials["epochs"].tolist() == [1, 1]
    assert study.trials["setting_epochs"].tolist() == [100, 200]
    assert study.config_of(1)["setting_hours"] == 2
    assert study.epochs["metric_rung"].tolist() == [8.0, 8.0]
    assert study.epochs["action"].tolist() == ["complete", "complete"]


def test_every_column_of_ours_is_reserved(tmp_path):
    study = imported("csv", tmp_path)
    assert {*study.trials.columns, *BEST_TABLE_COLUMNS} - {*study.spec.space} == OF_TRIALS
    assert set(study.epochs.columns) - {*METRICS} == OF_EPOCHS
