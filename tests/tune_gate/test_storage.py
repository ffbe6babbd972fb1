"""Studies in an object store: what a crash can lose, and that every command finds its way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.confirmed import LINKS_FILE, confirmations, confirmed_trials, link_confirmation
from analysis.copies import local_copy
from analysis.errors import StoreAway
from analysis.events import EpochReported, TrialInherited, TrialSuggested, Warned
from analysis.holders import LOCK_FILE
from analysis.log import LOG_FILE, read_log
from analysis.objects import ObjectStore, open_store
from analysis.segments import list_segments, read_segments
from analysis.study import open_study
from analysis.tables import best_table
from tests.tune_gate.s3_server import credentials, s3_server
from tests.tune_gate.stores import NEVER, another_machine, make, run, wait_until
from tests.tune_gate.test_confirm import measure
from tests.tune_gate.test_search import Cluster, Killed
from tune_gate.budget import extend_study, plan_extension
from tune_gate.cli import main
from tune_gate.confirm import confirmation_spec
from tune_gate.doctor import diagnose
from tune_gate.doctor_store import check_store
from tune_gate.errors import LogWriteError, Misuse, StudyExists
from tune_gate.inheritance import first_events, forked_settings, inherit
from tune_gate.lock import hold
from tune_gate.patience import patiently
from tune_gate.progress import ProgressReader
from tune_gate.recorder import Recorder
from tune_gate.repair import repair_study
from tune_gate.spec import study_spec
from tune_gate.storage import beside, check_out, folder_for_new, name_of, publish_new, push_results, refuse_url
from tune_gate.study_dir import create_study
from tune_gate.verify import verify_study

pytestmark = pytest.mark.usefixtures("store_cache")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as endpoint, credentials():
        yield endpoint


def reports(events: list[Any]) -> list[tuple[int, int]]:
    return [(event.trial, event.epoch) for event in events if isinstance(event, EpochReported)]


def test_a_study_on_s3_is_driven_read_extended_and_verified(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"s3://bucket/studies/night?endpoint_override={s3}&scheme=http"
    study = make(url)
    run(study, workers=2)
    here = read_log(study / LOG_FILE)
    another_machine(tmp_path)
    opened = open_study(url)
    assert opened.events == here
    assert len(opened.trials) == 6
    assert verify_study(Path(url)).differences == ()
    reader = ProgressReader(Path(url))
    reader.read()
    assert reader.progress(alive=False).ended == 6
    command_line(["export", url], 0)
    assert capsys.readouterr().out.count("\n") == 7
    command_line(["status", url], 0)
    assert "6" in capsys.readouterr().out

    study = check_out(url)
    assert read_log(study / LOG_FILE) == here
    extend_study(study, plan_extension(study, trials=8, epochs=None).budget)
    run(study)
    another_machine(tmp_path)
    assert len(open_study(url).trials) == 8
    assert verify_study(Path(url)).differences == ()
    with pytest.raises(StudyExists, match="already holds a study; `tune-gate resume 's3://"):
        folder_for_new(url)


def command_line(arguments: list[str], code: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["tune-gate", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
    assert (exit_.value.code or 0) == code


def test_a_bucket_that_does_not_exist_is_one_line(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "resume", "verify", "export", "stop"):
        command_line([command, f"s3://absent/x?endpoint_override={s3}&scheme=http"], 2)
        assert capsys.readouterr().err == f"tune-gate: there is no bucket 'absent' at {s3}; make it, or mend the URL\n"
    command_line(["launch", "--dir", f"s3://absent/x?endpoint_override={s3}&scheme=http"], 2)
    assert "there is no bucket 'absent'" in capsys.readouterr().err


@pytest.mark.parametrize("moment", [3, 9, 16, 24])
def test_a_crash_of_the_machine_loses_the_last_flush_and_its_epochs_are_done_again(
    moment: int, url: str, bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No flush but those that a decision asks for: the most that can be lost."""
    monkeypatch.setattr("tune_gate.log_mirror.FLUSH_SECONDS", NEVER)
    snapshot = tmp_path / "snapshot"
    countdown = iter(range(moment))
    study = make(url)

    def survive() -> None:
        if next(countdown, None) is None:
            shutil.copytree(bucket, snapshot)
            shutil.copytree(study, tmp_path / "lost")
            raise Killed

    with pytest.raises(Killed):
        run(study, workers=2, survive=survive)
    another_machine(tmp_path)
    shutil.rmtree(bucket)
    shutil.copytree(snapshot, bucket)
    (bucket / LOCK_FILE).unlink()  # its holder is this process, which lives

    written = read_log(tmp_path / "lost" / LOG_FILE)
    safe = open_study(url).events
    assert written[: len(safe)] == safe
    assert all(isinstance(event, EpochReported) and event.action == "continue" for event in written[len(safe) :])
    study = check_out(url)
    run(study, workers=2)
    events = open_study(url).events
    assert set(reports(written)) <= set(reports(events))
    assert sum(isinstance(event, TrialSuggested) for event in events) == 6
    assert verify_study(Path(url)).differences == ()


def test_on_the_same_machine_nothing_is_lost(
    url: str, bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune_gate.log_mirror.FLUSH_SECONDS", NEVER)
    study = make(url)
    run(study)
    written = (study / LOG_FILE).read_bytes()
    last = max(list_segments(open_store(url)), key=lambda segment: segment.end)
    (bucket / last.key).unlink()  # it was not flushed
    assert len(open_study(url).events) < len(read_log(study / LOG_FILE))
    with hold(study), Recorder(study) as recorder:
        recorder.append(Warned(0.0, "goes on"))
    assert read_segments(open_store(url))[1] == (study / LOG_FILE).read_bytes()
    assert (study / LOG_FILE).read_bytes().startswith(written)


def test_what_another_machine_went_on_with_counts(url: str, tmp_path: Path) -> None:
    study = make(url)
    with hold(study), Recorder(study) as recorder:
        recorder.append(Warned(0.0, "seen by both"))
    with (study / LOG_FILE).open("ab") as log:
        log.write(b'{"event":"warned","time":1.0,"message":"never flushed","trial":null}\n')
    (tmp_path / "cache").rename(tmp_path / "first machine")
    other = check_out(url)
    with hold(other), Recorder(other) as recorder:
        recorder.append(Warned(2.0, "went on elsewhere"))
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "first machine").rename(tmp_path / "cache")
    check_out(url)
    assert [event.message for event in read_log(study / LOG_FILE) if isinstance(event, Warned)] == [
        "seen by both",
        "went on elsewhere",
    ]
    kept = list((study / "log").glob("events.jsonl.unflushed-*"))
    assert len(kept) == 1
    assert b"never flushed" in kept[0].read_bytes()


def test_plain_reports_are_flushed_in_time_and_decisions_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_gate.log_mirror.FLUSH_SECONDS", 0.05)
    store = open_store(url)
    study = make(url)
    with hold(study), Recorder(study) as recorder:
        recorder.append(Warned(0.0, "at once"))
        assert b"at once" in read_segments(store)[1]
        recorder.append(EpochReported(1.0, 1, 1, 1, {"val_acc": 0.5}, "continue"))
        wait_until(lambda: b'"epoch":1' in read_segments(store)[1])


def test_many_segments_become_few(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_gate.log_mirror.FLUSH_SECONDS", 0.02)
    monkeypatch.setattr("tune_gate.log_mirror.COMPACT_SEGMENTS", 8)
    store = open_store(url)
    study = make(url)
    with hold(study), Recorder(study) as recorder:
        for number in range(30):
            recorder.append(Warned(float(number), "a line"))
        wait_until(lambda: len(list_segments(store)) < 8)
    assert read_segments(store)[1] == (study / LOG_FILE).read_bytes()
    assert len(open_study(url).events) == 30


def test_a_store_that_goes_away_ends_the_search_and_resume_goes_on(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tune_gate.patience.PATIENCE_SECONDS", 0.0)
    study = make(url)

    def away(_self: ObjectStore, _key: str, _data: bytes) -> None:
        raise StoreAway("no answer from the store")

    with hold(study):
        recorder = Recorder(study)
        recorder.append(Warned(0.0, "there"))
        with monkeypatch.context() as broken:
            broken.setattr(ObjectStore, "write", away)
            with pytest.raises(LogWriteError, match=r"^cannot write the log: no answer from the store; then resume"):
                recorder.append(Warned(1.0, "here only"))
            with pytest.raises(LogWriteError):
                recorder.close()
    with hold(study), Recorder(study) as recorder:
        assert [event.message for event in recorder.events if isinstance(event, Warned)] == ["there", "here only"]
    assert open_study(url).events == recorder.events


def test_a_store_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_gate.patience.time.sleep", lambda _seconds: None)
    answers = iter([StoreAway("away"), StoreAway("away"), "there"])

    def act() -> str:
        answer = next(answers)
        if isinstance(answer, StoreAway):
            raise answer
        return answer

    assert patiently(act) == "there"
    answers = iter([StoreAway("away"), "never asked for"])
    with pytest.raises(StoreAway):
        patiently(act, hurry=lambda: True)


def test_a_damaged_log_in_a_store_is_repaired_there(url: str, bucket: Path, tmp_path: Path) -> None:
    study = make(url)
    run(study)
    _, begun, *_ = sorted(list_segments(open_store(url)), key=lambda segment: segment.start)
    whole = (bucket / begun.key).read_bytes()
    (bucket / begun.key).write_bytes(whole.replace(b'"session_started"', b'"session_started!', 1))
    another_machine(tmp_path)
    repaired = repair_study(check_out(url))
    assert repaired is not None
    assert len(open_study(url).events) > 10
    assert repair_study(check_out(url)) is None
    assert (bucket / begun.key).exists()


def test_a_place_that_is_not_empty_is_refused(url: str, bucket: Path) -> None:
    open_store(url).write("thesis.tex", b"years of work")
    with pytest.raises(StudyExists, match="is not empty, and nothing is written over; choose another --dir"):
        folder_for_new(url)


def test_no_credentials_are_written_down(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = "words-that-are-easy-to-find"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", hidden)
    url = f"s3://bucket/studies/secret?endpoint_override={s3}&scheme=http"
    study = make(url)
    run(study)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files
    assert not any(hidden.encode() in path.read_bytes() for path in files)
    store = open_store(url)
    assert not any(hidden.encode() in (store.read(entry.key) or b"") for entry in store.objects())


def test_studies_in_a_store_are_listed(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    run(make(url))
    command_line(["ls", f"file://{tmp_path}/bucket"], 0)
    listed = capsys.readouterr().out
    assert "6/6" in listed
    assert f"{url} " in listed


def test_a_fork_of_a_study_in_a_store_inherits_from_it_there(url: str, tmp_path: Path) -> None:
    run(make(url))
    new = f"file://{tmp_path}/bucket/new"
    spec = study_spec(forked_settings(Path(url), name_of(new)))
    study = folder_for_new(new)
    create_study(spec, study, first_events(inherit(spec, [Path(url)])))
    publish_new(study)
    another_machine(tmp_path)
    opened = open_study(new)
    inherited = [event for event in opened.events if isinstance(event, TrialInherited)]
    assert opened.name == "new"
    assert [event.study for event in inherited] == [url] * len(inherited)
    assert len(inherited) == 6
    run(check_out(new))
    assert open_study(new).events[:6] == inherited
    assert verify_study(Path(new)).differences == ()


def test_what_only_a_folder_can_hold_is_refused(url: str) -> None:
    with pytest.raises(Misuse, match="lies in a folder of this machine, not in an object store"):
        refuse_url(url, "an imported study")


def test_a_search_in_a_store_is_analysed_there(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command that reads a study takes its URL, and names files by it."""
    run(make(url), workers=2)
    another_machine(tmp_path)
    for arguments in (
        ["why", url, "1"], ["ledger", url], ["safety", url], ["effects", url], ["noise", url],
        ["export", url, "--format", "latex"], ["compare", url, url],
    ):  # fmt: skip
        command_line(arguments, 0)
        assert str(tmp_path) not in capsys.readouterr().out.replace(url, "")
    command_line(["report", url], 0)
    assert capsys.readouterr().out == f"wrote {url}/exports/report.html\n"
    command_line(["figures", url, "--only", "history", "--only", "confirmation"], 0)
    said = capsys.readouterr().out
    assert f"wrote {url}/exports/figures/history.pdf\n" in said
    assert f"`tune-gate confirm {url}` does it" in said
    keys = {entry.key for entry in open_store(url).objects("exports")}
    assert {"exports/report.html", "exports/figures/history.pdf"} <= keys


def test_a_confirmation_of_a_search_in_a_store_lies_beside_it_and_is_found_from_it(url: str, tmp_path: Path) -> None:
    run(make(url))
    another_machine(tmp_path)
    spec = confirmation_spec(local_copy(url), top=1, seeds=1)
    assert spec.confirm is not None
    assert spec.confirm.source == url
    folder = folder_for_new(beside(url, "-confirm"))
    create_study(spec, folder)
    publish_new(folder)
    link_confirmation(local_copy(url), folder)
    link_confirmation(local_copy(url), folder)
    with hold(folder):
        Cluster(spec, folder).run()
        measure(spec, folder)
    push_results(folder)
    another_machine(tmp_path)
    search = open_study(url)
    promised = {arm.trial for arm in spec.confirm.arms if arm.trial is not None}
    assert set(confirmed_trials(search)) == promised
    assert [study.name for study in confirmations(search)] == [spec.name]
    assert best_table(search)["test_acc"].notna().sum() == len(promised)
    here = tmp_path / "here"
    create_study(spec, here)
    link_confirmation(local_copy(url), here)
    record = json.loads(open_store(url).read(LINKS_FILE) or b"")
    assert record == {"confirmations": [f"{url}-confirm", str(here)]}


def test_the_doctor_tries_a_store(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = check_store(url, tmp_path)
    assert (finding.verdict, finding.message) == ("ok", f"objects can be put, read, listed and deleted in {url}")
    assert open_store(url).objects() == []
    monkeypatch.setattr("tune_gate.doctor_store.DRIFT_SECONDS", -1.0)
    assert check_store(url, tmp_path).verdict == "warn"
    assert check_store("s3://me:secret@bucket/x", tmp_path).verdict == "FAIL"
    monkeypatch.setattr("tune_gate.doctor.CHECKS", {})
    assert list(diagnose(Path(url))) == ["object store"]
