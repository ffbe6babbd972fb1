"""A study in an object store, for the tests of storage."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from tests.tune_gate.test_search import Cluster
from tune_gate.lock import hold
from tune_gate.spec import study_spec
from tune_gate.storage import folder_for_new, publish_new
from tune_gate.study_dir import create_study

SPEC = study_spec(
    {
        "trials": 6,
        "epochs": 9,
        "sampler": {"startup": 3},
        "trainable": "tests.tune_gate.curve_trainable:CurveTrainable",
    }
)


NEVER = 3600.0


def make(url: str) -> Path:
    study = folder_for_new(url)
    create_study(SPEC, study)
    publish_new(study)
    return study


def run(study: Path, **settings: Any) -> None:
    with hold(study):
        Cluster(SPEC, study, **settings).run()


def another_machine(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "cache")


def wait_until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
