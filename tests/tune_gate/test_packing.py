"""How many trials share a node or a GPU: the choice, from measurements that are made up and from real ones."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from analysis.event_records import event_from_record, event_to_record
from analysis.events import ResourcesChosen, SessionEnded, SessionStarted, TrialSuggested
from analysis.log import LOG_FILE, read_log
from analysis.study import open_study
from tests.tune_gate.test_on_ray import ROOT, wait_until
from tests.tune_gate.test_on_ray import spec as small_study
from tests.tune_gate.virtual_cluster import Cluster
from tune_gate import packing_here, plan
from tune_gate.api import launch, resume
from tune_gate.changes import current_spec, take_over_edits
from tune_gate.dotted import with_changes
from tune_gate.errors import Misuse, SearchFailed, SpecError
from tune_gate.packing import GAIN, MEMORY_MARGIN, Load, Overloaded, Packing, Room, Split, choose, splits
from tune_gate.packing_here import Died, Question, choose_here, question, room_here, side_by_side
from tune_gate.packing_on_ray import no_measurement, typical_node
from tune_gate.packing_process import clear, measure, own_memory
from tune_gate.placement import Node
from tune_gate.resources import ResourceSettings
from tune_gate.search import Search
from tune_gate.spec import StudySpec, parse_spec, study_spec
from tune_gate.study_dir import SPEC_FILE, checkpoint_folder, create_study, read_spec
from tune_gate.verify import verify_log

CURVES = "tests.tune_gate.curve_trainable:CurveTrainable"

CPU_NODE = Room("cpu-node", 16, 0, 64e9)
GPU_NODE = Room("gpu-node", 16, 2, 64e9)


def wanted(**given: Any) -> ResourceSettings:
    return ResourceSettings.model_validate(given or "auto")


class Machine:
    """Trials of `alone` seconds that get in each other's way beyond `cores` threads, or a share of a GPU's units."""

    def __init__(self, best_at: int, memory: int = 10**9, **gpu: int) -> None:
        self._best_at, self._memory, self._gpu = best_at, memory, gpu
        self.asked: list[Split] = []

    def __call__(self, split: Split) -> Load:
        self.asked.append(split)
        seconds = 6.0 * max(1.0, split.trials / self._best_at)
        return Load((seconds,) * split.trials, self._memory, **self._gpu)


@pytest.mark.parametrize(
    ("text", "auto"),
    [
        ("resources: auto", ("cpus", "gpus")),
        ("resources: {gpus: auto, cpus: 4}", ("gpus",)),
        ("resources: {cpus: auto}", ("cpus",)),
        ("resources: {auto: [gpus]}", ("gpus",)),
        ("resources: {cpus: 2}", ()),
    ],
)
def test_what_is_left_to_a_measurement_is_read_and_written(text: str, auto: tuple[str, ...]) -> None:
    spec = parse_spec(text, "study.yaml")
    assert spec.resources.auto == auto
    assert study_spec(spec.to_record()).resources == spec.resources


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"auto": ["cpus"], "cpus": 2}, "cpus is a number or auto, not both"),
        ({"cpus": "atuo"}, "'resources.cpus': input should be a valid number"),
        ("atuo", "'resources'"),
        ({"memory": "auto"}, "'resources.memory'"),
    ],
)
def test_other_words_are_refused(resources: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        study_spec({"resources": resources})


@pytest.mark.parametrize(
    ("room", "asked", "trials", "found"),
    [
        (CPU_NODE, wanted(), 60, [(1, 16, 0), (2, 8, 0), (4, 4, 0), (8, 2, 0), (16, 1, 0)]),
        (CPU_NODE, wanted(), 3, [(1, 16, 0), (2, 8, 0), (3, 5, 0)]),
        (CPU_NODE, wanted(cpus="auto", concurrency=1), 60, [(1, 16, 0)]),
        (CPU_NODE, wanted(gpus="auto", cpus=2), 60, [(1, 2, 0)]),  # no GPU to share, and the CPUs are given
        (GPU_NODE, wanted(), 60, [(1, 8, 1), (2, 4, 0.5), (4, 2, 0.25), (8, 1, 0.125)]),
        (GPU_NODE, wanted(gpus="auto", cpus=4), 60, [(1, 4, 1), (2, 4, 0.5)]),
        (GPU_NODE, wanted(), 3, [(1, 8, 1), (2, 4, 0.5)]),
        (GPU_NODE, wanted(cpus="auto", gpus=0.5), 60, [(2, 4, 0.5)]),
        (GPU_NODE, wanted(cpus="auto", gpus=2), 60, [(1, 16, 2)]),
        (GPU_NODE, wanted(cpus="auto"), 60, [(1, 16, 0), (2, 8, 0), (4, 4, 0), (8, 2, 0), (16, 1, 0)]),
    ],
)
def test_which_splits_are_worth_a_measurement(
    room: Room, asked: ResourceSettings, trials: int, found: list[tuple[int, float, float]]
) -> None:
    assert splits(room, asked, trials) == [Split(*each) for each in found]


def test_trials_are_doubled_until_the_pace_no_longer_grows() -> None:
    machine = Machine(best_at=4)
    packing = choose(CPU_NODE, wanted(), 60, machine)
    assert [split.trials for split in machine.asked] == [1, 2, 4, 8]
    assert packing.split == Split(4, 4.0, 0.0)
    assert packing.settings() == {
        "resources.cpus": 4.0, "resources.gpus": 0.0, "resources.auto": [], "resources.memory": 1.3,
    }  # fmt: skip
    assert str(packing) == (
        "4 CPUs and 1.3 GB for each trial, as measured on cpu-node: 1 trial: 10 epochs a minute (1 GB each); "
        "2 at once: 20 epochs a minute (1 GB each); 4 at once: 40 epochs a minute (1 GB each); "
        "8 at once: 40 epochs a minute (1 GB each)"
    )


def test_no_more_trials_are_tried_than_the_memory_of_the_gpu_and_of_the_node_holds() -> None:
    machine = Machine(best_at=99, gpu_memory=20 * 10**9, gpu_total=80 * 10**9)
    packing = choose(GPU_NODE, wanted(), 60, machine)
    assert packing.split == Split(2, 4.0, 0.5)
    assert "4 at once: would take 102.4 GB of the GPU's 80.0" in str(packing)
    packing = choose(CPU_NODE, wanted(), 60, Machine(best_at=99, memory=20 * 10**9))
    assert packing.split == Split(2, 8.0, 0.0)
    assert packing.tried[-1].reason == "would take 100.0 GB of the node's 64.0"


def test_a_split_that_does_not_run_ends_the_doubling_and_the_first_must_run() -> None:
    def breaks_at(count: int) -> Any:
        def run(split: Split) -> Load:
            if split.trials >= count:
                raise Overloaded("CUDA out of memory")
            return Load((1.0,) * split.trials, 0)

        return run

    packing = choose(CPU_NODE, wanted(), 60, breaks_at(4))
    assert (packing.split.trials, packing.memory) == (2, None)
    assert [each["reason"] for each in packing.record()] == ["", "", "CUDA out of memory"]
    with pytest.raises(Misuse, match="a trial cannot be measured on cpu-node: CUDA out of memory"):
        choose(CPU_NODE, wanted(), 60, breaks_at(1))


def test_a_memory_that_is_given_stays() -> None:
    packing = choose(CPU_NODE, wanted(cpus="auto", memory=8), 60, Machine(best_at=1))
    assert "resources.memory" not in packing.settings()
    assert "16 CPUs and 8 GB" in str(packing)


@given(
    cpus=st.integers(1, 96), gpus=st.integers(0, 8), trials=st.integers(1, 200), best_at=st.integers(1, 40),
    memory=st.integers(0, 40), concurrency=st.none() | st.integers(1, 50),
)  # fmt: skip
def test_a_choice_fits_the_node_and_nothing_that_was_measured_beats_it(
    cpus: int, gpus: int, trials: int, best_at: int, memory: int, concurrency: int | None
) -> None:
    room = Room("node", cpus, gpus, 128e9)
    asked = ResourceSettings.model_validate({"cpus": "auto", "gpus": "auto", "concurrency": concurrency})
    packing = choose(room, asked, trials, Machine(best_at, memory * 10**9))
    split, node = packing.split, Node("1", "node", {"CPU": float(cpus), "GPU": float(gpus), "memory": math.inf}, {})
    chosen = study_spec(with_changes({}, packing.settings())).resources
    assert node.room(chosen) >= split.trials
    assert not chosen.auto
    assert split.trials <= max(1, math.ceil(min(trials, concurrency or trials) / max(1, gpus)))
    if split.trials > 1:
        assert split.trials * max(1, gpus) * packing.load.memory * MEMORY_MARGIN <= room.memory
    assert all(each.load.pace < GAIN * packing.load.pace for each in packing.tried if each.load is not None)
    assert json.loads(json.dumps(packing.record())) == packing.record()


def test_a_node_with_gpus_and_of_the_few_cores_stands_for_the_others() -> None:
    nodes = [
        Node("1", "head", {"memory": 1e9}, {}),
        Node("2", "plain", {"CPU": 4.0}, {}),
        Node("3", "large", {"CPU": 64.0, "GPU": 4.0}, {}),
        Node("4", "small", {"CPU": 8.0, "GPU": 1.0}, {}),
    ]
    assert typical_node(nodes, wanted()).name == "small"
    assert typical_node(nodes, wanted(cpus="auto")).name == "plain"
    with pytest.raises(Misuse, match="no node of the cluster can hold a trial"):
        typical_node(nodes, wanted(cpus="auto", gpus=8))


def test_a_trial_alone_whose_process_dies_is_measured_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been killed by chance, and without a measurement the search cannot begin. Several may want memory."""
    asked, room, folders = asked_of_curves(), Room("node", 2, 0, 8e9), list[Path]()

    def dies(deaths: int) -> Packing:
        left = iter([True] * deaths)
        folders.clear()

        def run(_: Question, split: Split, folder: Path, patience: float) -> Load:
            assert patience > 0
            folders.append(folder)
            if split.trials > 1 or next(left, False):
                raise Died("its process died")
            return Load((1.0,) * split.trials, 0)

        monkeypatch.setattr(packing_here, "side_by_side", run)
        return choose_here(asked, room)

    packing = dies(1)
    assert (packing.split.trials, packing.tried[1].reason) == (1, "its process died")
    assert len(set(folders)) == len(folders) == 3
    with pytest.raises(Misuse, match="a trial cannot be measured on node: its process died"):
        dies(2)


def test_a_measurement_that_is_lost_with_its_worker_or_node_is_no_mistake_of_the_user() -> None:
    node = Node("1", "node", {"CPU": 2.0}, {})
    for error in (ray.exceptions.WorkerCrashedError(), ray.exceptions.NodeDiedError("it is gone. See the logs.")):
        found = no_measurement(error, node)
        assert isinstance(found, SearchFailed)
        assert str(found).startswith(f"nothing could be measured on node node ({type(error).__name__}: ")
    cause = Misuse("a trial cannot be measured on node: CUDA out of memory")
    task = ray.exceptions.RayTaskError("measure", "Traceback", cause)
    assert str(no_measurement(task, node)) == f"{cause}; say what a trial is given in 'resources'"


@pytest.fixture
def chosen_study(tmp_path: Path) -> Path:
    """A study whose resources were left open, and chosen in its first session."""
    folder = tmp_path / "study"
    create_study(study_spec({"trials": 5, "epochs": 9, "resources": "auto"}), folder)
    packing = choose(CPU_NODE, wanted(), 5, Machine(best_at=4))
    with_choice(folder, packing)
    Cluster(read_spec(folder), folder).run(stop_after=5)
    return folder


def with_choice(folder: Path, packing: Packing) -> None:
    search = Search(read_spec(folder), folder)
    search.begin("host", 1, {})
    search.take_resources(packing.settings(), packing.room.name, str(packing), packing.record())
    assert search.spec.resources.cpus == packing.split.cpus
    search.end()


def test_the_choice_is_in_the_log_and_the_next_session_keeps_it(chosen_study: Path) -> None:
    events = read_log(chosen_study / LOG_FILE)
    (choice,) = (event for event in events if isinstance(event, ResourcesChosen))
    assert event_from_record(json.loads(json.dumps(event_to_record(choice)))) == choice
    assert next(i for i, event in enumerate(events) if isinstance(event, TrialSuggested)) > events.index(choice)
    spec = current_spec(read_spec(chosen_study), events)
    assert (spec.resources.cpus, spec.resources.memory, spec.resources.auto) == (4.0, 1.3, ())
    assert take_over_edits(chosen_study, events) == []
    assert verify_log(read_spec(chosen_study), events) == []
    frame = open_study(chosen_study).trials
    assert frame["cpu_hours"].sum() == pytest.approx(4 * frame["hours"].sum())


def test_an_edit_beside_it_leaves_the_choice_alone_and_an_amount_replaces_it(chosen_study: Path) -> None:
    edit(chosen_study, "resources: {auto: [cpus, gpus], concurrency: 2}")
    lines = take_over_edits(chosen_study, read_log(chosen_study / LOG_FILE))
    assert lines == ["changed in study.yaml: resources.concurrency default → 2"]
    assert current_resources(chosen_study).cpus == 4.0
    edit(chosen_study, "resources: {auto: [cpus, gpus], concurrency: 2, memory: 8}")
    take_over_edits(chosen_study, read_log(chosen_study / LOG_FILE))
    assert (current_resources(chosen_study).memory, current_resources(chosen_study).cpus) == (8.0, 4.0)
    edit(chosen_study, "resources: {cpus: 2}")
    take_over_edits(chosen_study, read_log(chosen_study / LOG_FILE))
    assert (current_resources(chosen_study).cpus, current_resources(chosen_study).auto) == (2.0, ())
    edit(chosen_study, "resources: {cpus: auto}")
    take_over_edits(chosen_study, read_log(chosen_study / LOG_FILE))
    assert current_resources(chosen_study).auto == ("cpus",)  # the next session measures


def edit(study: Path, resources: str) -> None:
    (study / SPEC_FILE).write_text(f"trials: 5\nepochs: 9\n{resources}\n")


def current_resources(study: Path) -> ResourceSettings:
    return current_spec(read_spec(study), read_log(study / LOG_FILE)).resources


def test_the_heaviest_corner_of_the_space_stands_for_all() -> None:
    space = {"batch_size": {"choice": [32, 256, 64]}, "lr": {"log-float": [0.01, 0.1]}}
    assert question(study_spec({"space": space, "epochs": 1})).settings["batch_size"] == 256
    asked = question(study_spec({"epochs": 1}))
    assert (asked.settings["batch_size"], asked.settings["epochs"]) == (128, 2)


def test_a_trial_is_measured_in_its_second_epoch(tmp_path: Path) -> None:
    begin, answers = threading.Event(), io.StringIO()
    begin.set()
    asked = asked_of_curves()
    order = {"trial": 1, "attempt": 1, "settings": asked.settings, "from_epoch": 0, "folder": str(tmp_path / "0001"),
             "every": 1, "keep": 2, "cpus": 1.0, "gpus": 0.0}  # fmt: skip
    found = measure(CURVES, order, begin, answers)
    assert answers.getvalue() == "ready\n"
    assert len(list((tmp_path / "0001").iterdir())) == 2
    assert found["seconds"] > 0
    assert 1e6 < found["memory"] < 1e11


def test_a_trial_whose_asker_is_gone_takes_its_files_with_it(tmp_path: Path) -> None:
    whole = tmp_path / "tune-gate-packing-x"
    folders = [checkpoint_folder(whole / "2", number) for number in (1, 2)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "epoch-0001.pt").touch()
    clear(folders[0])
    assert not folders[0].exists()
    assert folders[1].exists()
    clear(folders[1])
    assert not whole.exists()
    assert tmp_path.exists()


def test_memory_is_what_the_process_does_not_share(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(
        "Name:\tx\nVmHWM:\t 1000 kB\nRssAnon:\t 500 kB\nRssFile:\t 300 kB\nRssShmem:\t 100 kB\n"
    )
    assert own_memory(tmp_path / "status") == 600 * 1024
    assert own_memory(tmp_path / "absent") == 0


def asked_of_curves() -> Question:
    return question(study_spec({"trainable": CURVES, "resources": "auto"}))


@pytest.mark.slow
def test_trials_are_measured_side_by_side_and_a_broken_one_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    asked = asked_of_curves()
    load = side_by_side(asked, Split(2, 1.0, 0.0), tmp_path / "two", patience=120)
    assert len(load.seconds) == 2
    assert load.memory > 1e6
    broken = Question("tests.tune_gate.unchecked_trainable:Unchecked", asked.settings, asked.wanted, 4)
    with pytest.raises(Overloaded, match="a GPU was asked for but torch"):
        side_by_side(broken, Split(1, 1.0, 1.0), tmp_path / "gpu", patience=120)
    with pytest.raises(Overloaded, match="no epoch ended in time"):
        side_by_side(asked, Split(1, 1.0, 0.0), tmp_path / "late", patience=0.1)


@pytest.mark.slow
def test_a_search_measures_says_what_it_chose_and_resumes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "study"
    given = small_study("Slow", trials=4, resources={"cpus": "auto", "gpus": "auto", "local_cpus": 2})
    outcome = launch(given, folder)
    assert outcome.ended == "finished"
    events = read_log(folder / LOG_FILE)
    (choice,) = (event for event in events if isinstance(event, ResourcesChosen))
    assert "for each trial, as measured on" in choice.reason
    assert choice.settings["resources.cpus"] in (1.0, 2.0)
    assert next(i for i, event in enumerate(events) if isinstance(event, TrialSuggested)) > events.index(choice)
    (folder / SPEC_FILE).write_text((folder / SPEC_FILE).read_text().replace("trials: 4", "trials: 5"))
    assert resume(folder).ended == "finished"
    assert sum(isinstance(event, ResourcesChosen) for event in read_log(folder / LOG_FILE)) == 1
    assert verify_log(read_spec(folder), read_log(folder / LOG_FILE)) == []


@pytest.mark.slow
def test_a_search_that_is_stopped_while_it_measures_chooses_nothing_and_leaves_no_process(tmp_path: Path) -> None:
    folder, mark = tmp_path / "study", f"mark-{tmp_path}"
    given = {
        "trials": 2, "epochs": 2, "trainable": "tests.tune_gate.troublesome:AsItsNode", "resources.cpus": "auto",
        "resources.local_cpus": 2,
    }  # fmt: skip
    changes = [f"--set={key}={value}" for key, value in given.items()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TUNE_GATE_TEST_EPOCH_SECONDS": "90", "TUNE_GATE_MARK": mark}
    running = subprocess.Popen(
        [sys.executable, "-m", "tune_gate", "launch", "--dir", str(folder), *changes],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: measuring(mark) > 0, 90)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate()
    assert "a trial is measured first" in said
    events = read_log(folder / LOG_FILE)
    assert [type(event) for event in events] == [SessionStarted, SessionEnded]
    wait_until(lambda: measuring(mark) == 0, 20)


def measuring(mark: str) -> int:
    """How many trials are being measured for the search with this mark in its environment."""
    found = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get("TUNE_GATE_MARK") == mark
            found += ours and "tune_gate.packing_process" in process.cmdline()
    return found


def test_a_plan_says_what_was_chosen_and_reckons_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "choose_here", lambda *_: choose(GPU_NODE, wanted(), 60, Machine(best_at=2)))
    spec, (line,) = plan.with_resources(study_spec({"resources": "auto"}))
    assert (spec.resources.gpus, spec.resources.cpus, spec.resources.auto) == (0.5, 4.0, ())
    assert line.startswith("4 CPUs, 0.5 GPUs and 1.3 GB for each trial, as measured on gpu-node: 1 trial: ")
    assert plan.with_resources(spec) == (spec, [])


def test_this_machine_has_room() -> None:
    room = room_here(StudySpec().resources)
    assert room.cpus >= 1
    assert room.memory > 0
