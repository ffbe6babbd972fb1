"""What a trial asks for, and which nodes can hold it: without a Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from analysis.events import AttemptFailed, AttemptStarted, TrialSuggested
from analysis.trials import TrialsFold
from trainables.errors import DeviceError
from tune_gate.errors import Misuse
from tune_gate.failures import failure_kind
from tune_gate.placement import Node, bundle, check_room, request, unfit_for
from tune_gate.resources import ResourceSettings
from tune_gate.spec import study_spec

BIG = Node("1", "big (10.0.0.1)", {"CPU": 16.0, "GPU": 2.0, "memory": 64e9, "spot": 1.0}, {"accelerator": "a100"})
SMALL = Node("2", "small (10.0.0.2)", {"CPU": 4.0, "memory": 8e9}, {})


@pytest.mark.parametrize(
    ("needs", "big", "small"),
    [
        ({}, 16, 4),
        ({"gpus": 0.5}, 4, 0),
        ({"gpus": 1 / 3}, 6, 0),  # thirds of a GPU do not add up to one in Ray's ten-thousandths
        ({"cpus": 2, "memory": 4}, 8, 2),
        ({"custom": {"spot": 0.1}}, 10, 0),
        ({"labels": {"accelerator": "a100"}}, 16, 0),
        ({"labels": {"accelerator": "h100"}}, 0, 0),
    ],
)
def test_how_many_trials_fit_on_a_node(needs: dict[str, Any], big: int, small: int) -> None:
    settings = ResourceSettings(**needs)
    assert (BIG.room(settings), SMALL.room(settings)) == (big, small)


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"gpus": 4}, "of 1 CPUs and 4 GPUs; the most that a node has is 2 GPU"),
        ({"memory": 100}, "1 CPUs, 0 GPUs and 100 GB; the most that a node has is 64 GB"),
        ({"custom": {"tpu": 1}}, "1 CPUs, 0 GPUs and 1 tpu; the most that a node has is 0 tpu"),
        ({"labels": {"zone": "b"}}, "label zone=b; no node has the label zone=b"),
    ],
)
def test_what_no_node_can_hold_is_refused_with_what_is_missing(needs: dict[str, Any], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        check_room([BIG, SMALL], ResourceSettings(**needs))


def test_what_no_node_has_all_of_is_refused() -> None:
    with pytest.raises(Misuse, match="no node has all of it at once"):
        check_room([BIG, Node("3", "many", {"CPU": 64.0}, {})], ResourceSettings(cpus=32, gpus=1))


def test_a_request_names_only_what_is_wanted() -> None:
    needs = ResourceSettings(cpus=2, memory=1.5, custom={"spot": 1}, labels={"zone": "b"})
    assert bundle(needs) == {"CPU": 2.0, "memory": 1.5e9, "spot": 1.0}
    assert request(needs).bundles == [bundle(needs)]
    assert request(needs) != request(ResourceSettings(cpus=2, memory=1.5, custom={"spot": 1}))


def test_a_node_without_the_study_or_the_data_says_so(tmp_path: Path) -> None:
    spec = study_spec({"config": {"data": "npz:no/such.npz"}})
    settings = spec.trial_settings({}, 0, 9)
    assert "does not see the study's folder" in unfit_for(spec, settings, tmp_path)
    (tmp_path / "study.json").touch()
    assert "no/such.npz" in unfit_for(spec, settings, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def test_a_node_whose_gpu_torch_cannot_see_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "study.json").touch()
    spec = study_spec({"config": {"data": "digits"}, "resources": {"gpus": 0.5}})
    assert "a GPU was asked for but torch" in unfit_for(spec, spec.trial_settings({}, 0, 9), tmp_path)


def test_the_death_of_a_node_is_told_from_that_of_a_process() -> None:
    by_words = {
        "The actor died because its node has died. Node Id: 0123": "preempted",
        "The actor is dead because its worker process has died.": "lost",
    }
    for words, kind in by_words.items():
        assert failure_kind(ray.exceptions.RayActorError(error_msg=words)) == kind
    assert failure_kind(ray.exceptions.RayActorError(preempted=True)) == "preempted"
    assert failure_kind(ray.exceptions.NodeDiedError("gone")) == "preempted"
    assert failure_kind(ValueError("once")) == "error"
    no_gpu = DeviceError("torch sees none")
    kinds = {failure_kind(ray.exceptions.RayTaskError("train", "Traceback", cause)) for cause in (no_gpu, ValueError())}
    assert kinds == {"unfit", "error"}


def test_preemption_is_no_failure_of_the_trial() -> None:
    fold = TrialsFold([TrialSuggested(0.0, 1, {}, 0, "default")])
    for attempt in range(1, 9):
        fold.apply(AttemptStarted(0.0, 1, attempt, 0))
        fold.apply(AttemptFailed(0.0, 1, attempt, "preempted", "the node left"))
    assert (fold.trials[1].failures, fold.trials[1].state) == (0, "waiting")
