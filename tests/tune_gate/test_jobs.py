"""Searches as Ray jobs on a real cluster of this machine, with its dashboard and a token."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from click.testing import Result
from packaging.requirements import Requirement
from requests.exceptions import ConnectionError as RequestsConnectionError
from typer.testing import CliRunner

from analysis.configs import config_yaml
from analysis.events import SessionEnded
from analysis.export import export_table
from analysis.log import LOG_FILE, read_log
from analysis.study import open_study
from analysis.tables import best_table
from analysis.trials import fold_trials
from tests.tune_gate.test_multi_node import check_whole, epochs_reported
from tests.tune_gate.test_on_ray import wait_until
from tests.tune_gate.test_slurm import free_ports
from tune_gate import job_entry
from tune_gate.cli import app
from tune_gate.errors import ClusterUnreachable, Misuse, TuneGateError
from tune_gate.job_entry import answer, answer_in
from tune_gate.jobs import Jobs, own_requirements
from tune_gate.search import Search
from tune_gate.spec import study_spec
from tune_gate.study_dir import create_study

TESTS = Path(__file__).resolve().parents[1]

STUDY = """
trials: 4
epochs: 9
scheduler: {kind: asha, rungs: [3]}  # under promotion a trial may pause just as it is asked to stop
trainable: tests.tune_gate.troublesome:Crawls
"""


def test_a_dashboard_that_is_not_there_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ClusterUnreachable, match=f"127.0.0.1:{port}: Connection refused"):
            Jobs(f"http://127.0.0.1:{port}")


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(Misuse, match="not of the form http://HOST:8265"):
        Jobs("ray://head:10001")


def test_a_job_can_bring_what_tune_gate_needs() -> None:
    names = {Requirement(text).name for text in own_requirements()}
    assert {"ray", "torch", "optuna"} <= names
    assert not names & {"pytest", "hypothesis"}


class KnownJobs:
    """A job client that knows three jobs of one study, and remembers what it is sent."""

    ray_version = ray.__version__

    def __init__(self, code: Path, folder: str = "/shared/night") -> None:
        self.sent: list[dict[str, Any]] = []
        self._metadata = {"tune-gate": "night", "folder": folder, "code": json.dumps([str(code)])}

    def list_jobs(self) -> list[Any]:
        states = {"ended": "FAILED", "running": "RUNNING", "waiting": "PENDING"}
        return [self._details(job, state) for job, state in states.items()]

    def _do_request(self, *_: str) -> Any:
        return SimpleNamespace(json=lambda: {"ray_version": self.ray_version})

    def submit_job(self, **given: Any) -> str:
        stage = Path(given["runtime_env"]["working_dir"])
        self.sent.append({**given, "brought": sorted(path.name for path in stage.iterdir())})
        return "raysubmit_2"

    def _details(self, job: str, state: str) -> Any:
        environment = {"working_dir": "gcs://gone.zip", "pip": ["optuna"], "env_vars": {"A": "1"}}
        return SimpleNamespace(
            submission_id=job, metadata=self._metadata, status=SimpleNamespace(value=state), message="", start_time=0,
            runtime_env=environment,
        )  # fmt: skip


def test_a_resumed_job_brings_what_the_first_one_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    client = KnownJobs(package)
    monkeypatch.setattr("tune_gate.jobs.check_port", lambda _: None)
    monkeypatch.setattr("tune_gate.jobs._client", lambda _: client)
    jobs = Jobs("http://head:8265")
    with pytest.raises(Misuse, match="search running is running; `tune-gate job stop running` ends it"):
        jobs.resume("running")
    assert jobs.resume("ended") == "raysubmit_2"
    (sent,) = client.sent
    assert sent["entrypoint"] == "python -m tune_gate.job_entry resume /shared/night"
    assert sent["metadata"] == client.list_jobs()[0].metadata
    assert sent["brought"] == ["analysis", "mine", "search_spaces", "trainables", "tune_gate"]
    assert {name: sent["runtime_env"][name] for name in ("pip", "env_vars")} == {
        "pip": ["optuna"],
        "env_vars": {"A": "1"},
    }
    package.rmdir()
    with pytest.raises(Misuse, match="mine is no folder, so it cannot go with the job"):
        jobs.resume("ended")


def test_a_cluster_with_another_ray_is_told_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = KnownJobs(tmp_path)
    client.ray_version = "2.59.0"
    monkeypatch.setattr("tune_gate.jobs.check_port", lambda _: None)
    monkeypatch.setattr("tune_gate.jobs._client", lambda _: client)
    for send in (lambda jobs: jobs.submit(study_spec({}), "/shared/night"), lambda jobs: jobs.resume("ended")):
        with pytest.raises(Misuse, match=r"^http://head:8265 runs Ray 2\.59\.0, and this tune-gate needs Ray 2\.60"):
            send(Jobs("http://head:8265"))
    assert not client.sent


def test_a_cluster_without_our_packages_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_gate.job_entry.NEEDED", ("json", "no_such_package"))
    with pytest.raises(SystemExit, match="lacks no_such_package; `tune-gate submit --install` brings"):
        job_entry.main()


class AnsweringJobs(KnownJobs):
    """A job client whose cluster is this machine: what it is sent is run at once."""

    def submit_job(self, **given: Any) -> str:
        _, *arguments = shlex.split(given["entrypoint"])
        done = subprocess.run(
            [sys.executable, *arguments], cwd=given["runtime_env"]["working_dir"], text=True, capture_output=True,
            check=True,
        )  # fmt: skip
        self._log = done.stdout
        return super().submit_job(**given)

    def get_job_status(self, _: str) -> Any:
        return SimpleNamespace(value="SUCCEEDED")

    def get_job_logs(self, _: str) -> str:
        return self._log

    def delete_job(self, _: str) -> None:
        """Nothing is kept."""


class LostJobs(KnownJobs):
    """A job client whose cluster goes away after it has listed its jobs."""

    def submit_job(self, **_: Any) -> str:
        raise RequestsConnectionError("Connection aborted. Remote end closed connection")


@pytest.fixture
def job_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`tune-gate job status JOB`, of a job whose study lies in the folder `night`."""
    monkeypatch.setattr("tune_gate.jobs.check_port", lambda _: None)

    def run(job: str, *options: str, client: type[KnownJobs] = AnsweringJobs) -> Result:
        known = client(tmp_path, str(tmp_path / "night"))
        monkeypatch.setattr("tune_gate.jobs._client", lambda _: known)
        return CliRunner().invoke(app, ["job", "status", job, "--cluster", "http://head:8265", *options])

    return run


def test_the_status_of_a_job_is_that_of_its_study(job_status: Callable[..., Result], tmp_path: Path) -> None:
    folder = tmp_path / "night"
    with closing(Search(create_study(study_spec({"name": "night", "trials": 4}), folder), folder)) as search:
        search.begin("host", 1, {})
        search.next_assignment()
    beside = CliRunner().invoke(app, ["status", str(folder)]).stdout
    assert job_status("running").stdout == f"night: running, in {folder}\n{beside}"
    record = json.loads(job_status("ended", "--json").stdout)
    assert record["job"] == {"id": "ended", "state": "failed", "folder": str(folder), "message": ""}
    assert record["study"] == json.loads(CliRunner().invoke(app, ["status", str(folder), "--json"]).stdout)


def test_a_job_without_a_study_says_why_in_a_line(job_status: Callable[..., Result], tmp_path: Path) -> None:
    where = f"in {tmp_path / 'night'}"
    pending = job_status("waiting", client=KnownJobs).stdout.splitlines()
    assert pending[0] == f"night: pending, {where}"
    assert pending[1:] == ["it has not begun: the cluster sets up what it brought, or has no room for it yet"]
    assert job_status("running").stdout.splitlines() == [f"night: running, {where}", "it has not made its study yet"]
    record = json.loads(job_status("ended", "--json").stdout)
    assert record["study"] is None
    assert record["note"] == "it ended before it made its study; `tune-gate job logs ended` tells why"


def test_a_dashboard_that_goes_away_meanwhile_is_told(job_status: Callable[..., Result]) -> None:
    lost = job_status("running", client=LostJobs)
    assert isinstance(lost.exception, ClusterUnreachable)
    assert "http://head:8265 is no dashboard of a Ray cluster, or it does not answer" in str(lost.exception)


def test_an_answer_comes_back_through_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    answer("mark", ["spaces", "gate-core"])
    log = f"INFO job_manager.py -- starting\n{capsys.readouterr().out}"
    assert answer_in(log, "mark").decode().startswith("space:")
    answer("mark", ["spaces", "gate-cor"])
    with pytest.raises(Misuse, match=r"^unknown search space 'gate-cor'; did you mean 'gate-core'"):
        answer_in(capsys.readouterr().out, "mark")
    with pytest.raises(TuneGateError, match="did not get as far as the command: no module"):
        answer_in("Traceback\nno module\n\n", "mark")


@dataclass(frozen=True)
class Head:
    url: str
    token: Path


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head with two cores and its dashboard; its processes end with their parent."""
    folder = tmp_path_factory.mktemp("head")
    token = folder / "token"
    token.write_text("a token of sixty-four hexadecimal digits is not asked for")
    gcs, dashboard, client, agent = free_ports(4)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (folder / "log").open("w") as log:
        started = subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2",
             "--node-ip-address=127.0.0.1", f"--port={gcs}", f"--dashboard-port={dashboard}",
             f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}",
             "--include-dashboard=true", "--disable-usage-stats"],
            env={**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until(lambda: is_listening(dashboard) and is_listening(agent), 90)  # the agent is who takes a job
        yield Head(f"http://127.0.0.1:{dashboard}", token)
    finally:
        started.terminate()
        started.wait(timeout=60)


def is_listening(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def tune_gate(head: Head, *arguments: str, token: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line, as on a laptop: in a process of its own, since Ray reads its token once."""
    return subprocess.run(
        [sys.executable, "-m", "tune_gate", *arguments, "--cluster", head.url],
        cwd=TESTS.parent, text=True, capture_output=True, check=False,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token or head.token)},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_search_is_sent_watched_stopped_resumed_and_exported(head: Head, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    folder = tmp_path / "study"
    arguments = ("submit", str(tmp_path / "study.yaml"), "--dir", str(folder), "--code", str(TESTS))

    sent = tune_gate(head, *arguments)
    assert sent.returncode == 0, sent.stderr
    job = sent.stdout.split()[2]
    wait_until(lambda: epochs_reported(folder) > 1, 120)
    shown = tune_gate(head, "job", "status", job).stdout.splitlines()
    assert shown[0].endswith(f": running, in {folder}")
    assert any("  running  0/4 trials ended" in line for line in shown)  # the study's own line: a driver holds it
    assert any(line.split()[:1] == ["trial"] for line in shown)
    assert f"asked {job} to stop" in tune_gate(head, "job", "stop", job).stdout
    wait_until(lambda: "stopped" in tune_gate(head, "job", "status", job).stdout, 120)
    assert 1 < epochs_reported(folder) < 20
    record = json.loads(tune_gate(head, "job", "status", job, "--json").stdout)
    assert (record["job"]["state"], record["study"]["session"]) == ("stopped", "interrupted")
    assert "trial 1" in tune_gate(head, "job", "logs", job).stdout
    check_stopped_as_by_ctrl_c(folder)

    again = tune_gate(head, "job", "resume", job).stdout.split()[2]
    refused = tune_gate(head, "job", "resume", again)
    assert refused.returncode == 2
    assert f"`tune-gate job stop {again}` ends it" in refused.stderr
    wait_until(lambda: "succeeded" in tune_gate(head, "job", "status", again).stdout, 200)
    check_whole(folder, 4)
    table = tune_gate(head, "job", "export", again, "--top", "2", "--format", "csv").stdout
    assert table.splitlines() == export_table(best_table(open_study(folder), 2), "csv").splitlines()
    config = tmp_path / "best.yaml"
    written = tune_gate(head, "job", "export", job, "--config-of", "best", "-o", str(config))
    assert written.returncode == 0, written.stderr
    assert config.read_text() == config_yaml(open_study(folder), "best")
    unknown = tune_gate(head, "job", "export", job, "--config-of", "99")
    assert (unknown.returncode, "unknown trial '99'" in unknown.stderr) == (2, True)
    repeated = tune_gate(head, *arguments).stdout.split()[2]  # the study is finished, and stays as it is
    wait_until(lambda: "succeeded" in tune_gate(head, "job", "status", repeated).stdout, 120)
    check_whole(folder, 4)
    listed = tune_gate(head, "jobs").stdout
    assert job in listed
    assert again in listed


def check_stopped_as_by_ctrl_c(folder: Path) -> None:
    """The session ended in good order; what was running has a checkpoint of its last epoch, and may go on."""
    events = read_log(folder / LOG_FILE)
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].reason == "interrupted"
    running = [trial for trial in fold_trials(events).values() if trial.epoch and not trial.ended]
    assert running
    for trial in running:
        assert trial.reports[trial.epoch].action == "interrupt"
        assert (folder / "trials" / f"{trial.number:04d}" / f"epoch-{trial.epoch:04d}.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_wrong_token_and_an_unknown_job_are_one_line(head: Head, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("another")
    refused = tune_gate(head, "jobs", token=wrong)
    assert refused.returncode == 2
    assert "asks for a token, or refuses it" in refused.stderr
    unknown = tune_gate(head, "job", "stop", "raysubmit_0")
    assert unknown.returncode == 2
    assert "has no search 'raysubmit_0'" in unknown.stderr
    assert len(unknown.stderr.splitlines()) == 1


def test_a_folder_that_a_job_cannot_mean_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_gate.jobs.check_port", lambda _: None)
    monkeypatch.setattr("tune_gate.jobs._client", lambda _: None)  # refused before the cluster is asked
    with pytest.raises(Misuse, match="is not absolute"):
        Jobs("http://head:8265").submit(study_spec({}), "studies/here")
    (tmp_path / "study.yaml").write_text(STUDY)
    result = CliRunner().invoke(app, ["submit", str(tmp_path / "study.yaml"), "--cluster", "head", "--dir", "here"])
    assert "is not absolute" in str(result.exception)
