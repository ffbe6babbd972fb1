"""Damage in the middle of a log: what is kept, what is lost, and that the search goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.errors import LogCorrupt, SchemaUnknown
from analysis.event_records import event_to_record
from analysis.events import BudgetExtended, EpochReported, Event, TrialSuggested, Warned
from analysis.log import LOG_FILE, header_line, read_log
from analysis.trials import fold_trials
from tests.tune_gate.test_verify import tune_gate
from tests.tune_gate.virtual_cluster import Cluster
from tune_gate.budget import extend_study, plan_extension
from tune_gate.errors import LogWriteError, StudyLocked
from tune_gate.lock import hold
from tune_gate.repair import repair_study
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import create_study
from tune_gate.verify import verify_log


@pytest.fixture
def spec() -> StudySpec:
    return study_spec({"trials": 10, "epochs": 9, "sampler": {"startup": 3}})


@pytest.fixture
def study(spec: StudySpec, tmp_path: Path) -> Path:
    """An interrupted study of two workers: half of its trials are still to come."""
    folder = tmp_path / "study"
    create_study(spec, folder)
    Cluster(spec, folder, workers=2).run(stop_after=20)
    return folder


def lines_of(study: Path) -> list[bytes]:
    return (study / LOG_FILE).read_bytes().splitlines(keepends=True)


def line_of(study: Path, kind: str, number: int) -> int:
    """The index of the n-th line of that kind."""
    return [i for i, line in enumerate(lines_of(study)) if json.loads(line).get("event") == kind][number - 1]


def damage(study: Path, index: int, content: bytes = b"{oops\n") -> int:
    """Put `content` in the place of a line; the line's offset."""
    lines = lines_of(study)
    (study / LOG_FILE).write_bytes(b"".join([*lines[:index], content, *lines[index + 1 :]]))
    return sum(map(len, lines[:index]))


def comparable(events: list[Event]) -> list[object]:
    return [event_to_record(event) for event in events]


def finish(spec: StudySpec, study: Path) -> None:
    """Go on with the search, which ends as one that was never damaged."""
    Cluster(spec, study, workers=2).run()
    trials = fold_trials(read_log(study / LOG_FILE))
    assert list(trials) == list(range(1, 11))
    assert all(trial.ended for trial in trials.values())


@pytest.mark.parametrize("content", [b"{oops\n", b"\0" * 300 + b"\n", b"\xff\r\n", b"[]\n", b'{"event": "epoch"}\n'])
def test_a_lost_report_is_passed_over_and_the_rest_survives(spec: StudySpec, study: Path, content: bytes) -> None:
    before = read_log(study / LOG_FILE)
    index = line_of(study, "epoch", 4)
    offset = damage(study, index, content)
    damaged = (study / LOG_FILE).read_bytes()
    with pytest.raises(LogCorrupt, match=rf"at byte {offset}: .*tune-gate repair"):
        read_log(study / LOG_FILE)

    repaired = repair_study(study)
    assert repaired is not None
    assert repaired.mended.unreadable == (offset,)
    assert repaired.kept.parent == study / "log"
    assert repaired.kept.name.startswith("events.jsonl.damaged-")
    assert repaired.kept.read_bytes() == damaged
    after = read_log(study / LOG_FILE)
    assert comparable(after[:-1]) == comparable(before[: index - 1] + before[index:])
    assert isinstance(after[-1], Warned)
    assert f"1 unreadable line passed over, at byte {offset}" in after[-1].message
    assert repaired.kept.name in after[-1].message
    finish(spec, study)


def test_a_lost_suggestion_is_drawn_again_where_nothing_else_is_lost(spec: StudySpec, study: Path) -> None:
    before = read_log(study / LOG_FILE)
    offset = damage(study, line_of(study, "trial_suggested", 5))
    repaired = repair_study(study)
    assert repaired is not None
    assert (repaired.mended.redrawn, repaired.mended.unreadable) == ((5,), (offset,))
    assert comparable(read_log(study / LOG_FILE)[:-1]) == comparable(before)
    assert verify_log(spec, read_log(study / LOG_FILE)) == []
    finish(spec, study)
    assert verify_log(spec, read_log(study / LOG_FILE)) == []


def test_a_lost_suggestion_among_other_losses_keeps_its_place_as_a_failure(spec: StudySpec, study: Path) -> None:
    damage(study, line_of(study, "trial_suggested", 5))
    damage(study, lines_of(study).index(b"{oops\n") - 2, b"{}\n")
    repaired = repair_study(study)
    assert repaired is not None
    assert repaired.mended.given_up == (5,)
    assert repaired.mended.senseless
    trials = fold_trials(read_log(study / LOG_FILE))
    assert trials[5].state == "failed"
    assert not trials[5].reports
    finish(spec, study)


def test_a_hole_over_several_lines(spec: StudySpec, study: Path) -> None:
    lines = lines_of(study)
    (study / LOG_FILE).write_bytes(b"".join([*lines[:6], b"\0" * sum(map(len, lines[6:20])), *lines[20:]]))
    assert repair_study(study) is not None
    finish(spec, study)


def test_events_that_no_fold_can_take_in_are_left_out(spec: StudySpec, tmp_path: Path) -> None:
    """The rungs of a lost extension are unknown, and so are the standings at them."""
    study = tmp_path / "study"
    create_study(spec, study)
    Cluster(spec, study).run()
    extend_study(study, plan_extension(study, trials=None, epochs=30).budget)
    Cluster(spec, study).run(stop_after=40)
    events = read_log(study / LOG_FILE)
    assert any(isinstance(event, EpochReported) and event.rung and event.rung.milestone == 27 for event in events)
    damage(study, 1 + next(i for i, event in enumerate(events) if isinstance(event, BudgetExtended)))
    repaired = repair_study(study)
    assert repaired is not None
    assert repaired.mended.senseless
    Cluster(spec, study).run()


def test_damage_of_the_header_and_of_a_readable_line(spec: StudySpec, study: Path) -> None:
    damage(study, 0, b'{"event": "lag"}\n')
    index = line_of(study, "trial_suggested", 3)
    damage(study, index, lines_of(study)[index].replace(b'"trial":3', b'"trial":3000000'))
    repaired = repair_study(study)
    assert repaired is not None
    assert len(repaired.mended.senseless) >= 1
    assert lines_of(study)[0] == header_line()
    finish(spec, study)


def test_events_of_later_versions_are_kept(study: Path) -> None:
    with (study / LOG_FILE).open("ab") as log:
        log.write(b'{"event": "from_the_future"}\n')
    damage(study, line_of(study, "epoch", 2))
    assert repair_study(study) is not None
    assert b'{"event": "from_the_future"}\n' in lines_of(study)


def test_a_whole_log_is_left_as_it_is(study: Path) -> None:
    with (study / LOG_FILE).open("ab") as log:
        log.write(b'{"event": "epo')  # a torn tail is no damage: the next append cuts it off
    before = (study / LOG_FILE).read_bytes()
    assert repair_study(study) is None
    assert (study / LOG_FILE).read_bytes() == before
    assert [path.name for path in (study / "log").iterdir()] == ["events.jsonl"]


def test_a_held_study_and_a_log_of_another_version_are_refused(study: Path) -> None:
    damage(study, line_of(study, "epoch", 2))
    with hold(study), pytest.raises(StudyLocked):
        repair_study(study)
    damage(study, 0, b'{"event": "log", "schema": 99}\n')
    with pytest.raises(SchemaUnknown):
        repair_study(study)


def test_without_room_the_old_log_stays(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(study, line_of(study, "epoch", 2))
    before = (study / LOG_FILE).read_bytes()

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tune_gate.repair.write_atomic", no_room)
    with pytest.raises(LogWriteError, match="No space left on device; the old log is as it was"):
        repair_study(study)
    assert (study / LOG_FILE).read_bytes() == before
    assert [path.name for path in (study / "log").iterdir()] == ["events.jsonl"]


def test_the_command(study: Path) -> None:
    offset = damage(study, line_of(study, "epoch", 2))
    refused = tune_gate("status", study)
    assert refused.code == 2
    assert f"at byte {offset}" in refused.err
    assert "tune-gate repair" in refused.err
    repaired = tune_gate("repair", study)
    assert repaired.code == 0
    assert repaired.out.startswith(f"1 unreadable line passed over, at byte {offset}\n")
    assert tune_gate("repair", study).out == "nothing to repair: the log is whole\n"
    assert any(isinstance(event, TrialSuggested) for event in read_log(study / LOG_FILE))
