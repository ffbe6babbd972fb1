"""The named spaces, against the settings of a trial and the published sweep."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from spaces import generator

from search_spaces import SPACES, SearchSpace, SpaceError, named_space, space_from_mapping, space_to_mapping
from trainables.config import TrialConfig, trial_config

PRESETS = {"greyc-grid": "greyc-2019"}
EACH = pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)


def _trial(space: SearchSpace, point: dict[str, object]) -> TrialConfig:
    base = {"preset": PRESETS[space.name]} if space.name in PRESETS else {}
    return trial_config({**base, **point})


@EACH
def test_names_are_settings_of_a_trial(space: SearchSpace) -> None:
    assert set(space.names) <= set(TrialConfig.model_fields)
    assert named_space(space.name) is space


@EACH
def test_a_trial_accepts_every_corner_and_keeps_its_values(space: SearchSpace) -> None:
    for parameter, point in space.corners():
        assert getattr(_trial(space, dict(point)), parameter.name) == point[parameter.name]


@EACH
def test_a_trial_accepts_samples_and_they_are_found_again_in_it(space: SearchSpace) -> None:
    rng = generator(0)
    for _ in range(50):
        point = space.sample(rng)
        assert space.project(_trial(space, dict(point)).model_dump()) == point


@EACH
def test_a_named_space_survives_yaml(space: SearchSpace) -> None:
    text = yaml.safe_dump(space_to_mapping(space), sort_keys=False)
    assert space_from_mapping(yaml.safe_load(text), space.name) == space


@pytest.mark.parametrize("name", ["gate-core", "gate-wide"])
def test_the_defaults_of_a_trial_are_a_point(name: str) -> None:
    space = named_space(name)
    point = space.project(trial_config({}).model_dump())
    assert point is not None
    assert space.contains(point)
    assert "gate_period" not in point  # the default gate schedule has no period


def test_the_published_settings_as_fractions_are_a_point_of_gate_wide() -> None:
    published = trial_config({"preset": "greyc-2020", "milestones": (0.4, 0.6), "schedule_gate": "step"})
    settings = {**published.model_dump(), "gate_period": 0.15}
    assert named_space("gate-wide").project(settings) is not None
    assert published.in_epochs(0.4) == 133
    assert published.in_epochs(0.6) == 200
    assert published.in_epochs(0.15) == 50


def test_an_unknown_space_names_the_nearest() -> None:
    with pytest.raises(SpaceError) as caught:
        named_space("gate_core")
    assert str(caught.value) == "unknown search space 'gate_core'; did you mean 'gate-core'?"


def _cell(config: TrialConfig) -> str:
    keys = ("gate_iters", "lr_gate", "schedule_gate", "lr", "milestones", "gamma")
    return json.dumps([getattr(config, key) for key in keys])


def _cell_of_run(row: dict[str, str]) -> str:
    milestones = [int(epoch) for epoch in row["milestones"].split(";")]
    schedule = "step" if row["gate_schedule"].startswith("step") else "constant"
    rates = float(row["lr_gate"]), schedule, float(row["lr"])
    return json.dumps([int(row["gate_iters"]), *rates, milestones, float(row["gamma"])])


def _published(shared: Path, dataset: str) -> set[str]:
    """The cells of the main sweep at depth 110; the runs with other validation fractions stand apart."""
    text = (shared / "reference" / "greyc-runs" / "runs.csv").read_text()
    rows = [row for row in csv.DictReader(text.splitlines()) if row["run"].startswith("runs_vc")]
    return {_cell_of_run(row) for row in rows if row["dataset"] == dataset}


def test_the_grid_of_the_authors_holds_every_published_cell(shared: Path) -> None:
    space = named_space("greyc-grid")
    points = list(space.grid())
    cells = {_cell(_trial(space, dict(point))) for point in points}
    assert len(cells) == len(points) == space.size() == 16
    assert len(_published(shared, "cifar10")) == 12
    assert _published(shared, "cifar10") < cells
    assert len(_published(shared, "cifar100")) == 4
    assert _published(shared, "cifar100") < cells


def test_importing_the_room_imports_nothing_heavy() -> None:
    heavy = ("ray", "torch", "numpy", "pandas", "optuna", "pydantic", "trainables", "analysis", "tune_gate")
    code = f"import sys, search_spaces; print(sorted({set(heavy)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
