"""Searches as Ray jobs: sent from a machine that is no node of the cluster, and going on when it is switched off.

The code, the study and, where asked for, the packages it needs travel with the job, so the nodes need no install.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import re
import shlex
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tune_gate.cluster_access import ClusterAddress, check_port
from tune_gate.errors import ClusterUnreachable, Misuse, TuneGateError
from tune_gate.job_entry import answer_in
from tune_gate.spec import StudySpec

#: Our code, by the names of its folders.
ROOMS = ("tune_gate", "trainables", "search_spaces", "analysis")

#: The port of Ray's dashboard, which takes jobs.
JOBS_PORT = 8265

#: How long a job that is stopped may go on, so that its running epochs finish and are saved, seconds.
GRACE_SECONDS = 300

#: The states of a job that has ended.
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")

#: How long an answer is waited for, seconds: packages may have to be installed first.
ANSWER_SECONDS = 600.0

_LOOK_SECONDS = 0.5

_URL = re.compile(r"(?P<scheme>https?://)?(?P<host>[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?/?")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Job:
    """A search on a cluster."""

    id: str
    study: str  # its name
    folder: str  # where the cluster keeps it
    state: str  # as Ray says it: PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED
    message: str
    environment: Mapping[str, Any]  # what it brought beside the code: variables, and packages for pip
    code: tuple[Path, ...]  # packages of the user's own, where they lay


class Jobs:
    """The searches of the cluster whose dashboard listens at `url`.

    Raises:
        ClusterUnreachable: nothing listens there, or it is no dashboard.
        Misuse: the URL is none, the token is refused, or Ray's job client is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = _whole_url(url)
        self._client = self._call(partial(_client, self.url))

    def submit(
        self,
        spec: StudySpec,
        folder: str,
        code: Sequence[Path] = (),
        packages: Sequence[str] = (),
        grace: int = GRACE_SECONDS,
    ) -> str:
        """Send a search that is kept in `folder` of the cluster, launched, or resumed where it exists; its job's id.

        Args:
            spec: the search.
            folder: an absolute path that each node sees.
            code: packages of the user's own, such as that of a trainable.
            packages: what pip is to install on the nodes.
            grace: seconds that it may go on after it is told to stop.
        """
        if not folder.startswith("/"):
            raise Misuse(f"--dir {folder!r} is not absolute; a job runs elsewhere, so say where all nodes see it")
        self._check_version()
        environment: dict[str, Any] = {
            "env_vars": {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(grace)}
        }
        if packages:
            environment["pip"] = list(packages)
        with _staged(code) as stage:
            given = spec.model_dump(mode="json", exclude_unset=True)
            (stage / "study.yaml").write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
            return self._send(stage, environment, ["search", "study.yaml", folder], _metadata(spec.name, folder, code))

    def resume(self, job: str, code: Sequence[Path] = ()) -> str:
        """Go on with the study of a job that has ended, as `tune-gate resume` does; the new job's id.

        What the first job brought goes with this one, too: what pip installs, the grace, and the packages of the
        user's own, from where they lay then unless `code` names others.

        Raises:
            Misuse: the job has not ended, or a package is not there any more.
        """
        found = self.find(job)
        if found.state not in ENDED:
            raise Misuse(f"search {job} is {found.state.lower()}; `tune-gate job stop {job}` ends it")
        self._check_version()
        packages = code or found.code
        with _staged(packages) as stage:
            metadata = _metadata(found.study, found.folder, packages)
            return self._send(stage, found.environment, ["resume", found.folder], metadata)

    def ask(self, job: str, command: Sequence[str]) -> bytes:
        """What `tune-gate COMMAND FOLDER` says of a job's study, run where the cluster sees its folder.

        Args:
            job: the study's job, running or ended.
            command: the name of the command and its options.

        Raises:
            Misuse: the command is refused there, with its own words.
            TuneGateError: it fails, or there is no answer after `ANSWER_SECONDS`.
        """
        found, mark = self.find(job), uuid.uuid4().hex
        name, *options = command
        with _staged(()) as stage:
            asked = self._send(stage, found.environment, ["answer", mark, name, found.folder, *options], {})
        try:
            self._await(asked)
            log = self._log(asked)
            if f"\n{mark}" not in f"\n{log}":  # it may lag a moment behind the state
                time.sleep(_LOOK_SECONDS)
                log = self._log(asked)
            return answer_in(log, mark)
        finally:
            with contextlib.suppress(TuneGateError):  # it may still be running; then Ray's list has one job more
                self._call(partial(self._client.delete_job, asked))

    def list(self) -> list[Job]:
        """The searches, the oldest first; jobs that are none of ours are left out."""
        found = self._call(self._client.list_jobs)
        ours = [job for job in found if job.submission_id and "tune-gate" in (job.metadata or {})]
        return [_job(job) for job in sorted(ours, key=lambda job: job.start_time or 0)]

    def find(self, job: str) -> Job:
        """One search.

        Raises:
            Misuse: the cluster knows no such job.
        """
        known = {each.id: each for each in self.list()}
        if job not in known:
            raise Misuse(f"the cluster at {self.url} has no search {job!r}; `tune-gate jobs --cluster {self.url}`")
        return known[job]

    def logs(self, job: str) -> str:
        """What a search has said so far."""
        return self._log(self.find(job).id)

    def stop(self, job: str) -> bool:
        """Ask a search to stop in good order; false where it has ended already."""
        return bool(self._call(partial(self._client.stop_job, self.find(job).id)))

    def _log(self, job: str) -> str:
        return str(self._call(partial(self._client.get_job_logs, job)))

    def _check_version(self) -> None:
        """See that the cluster has the Ray that our code was made for: a job runs on the cluster's own.

        Raises:
            Misuse: it has another.
        """
        from ray import __version__ as ours  # noqa: PLC0415  slow to import

        theirs = str(self._call(lambda: self._client._do_request("GET", "/api/version")).json()["ray_version"])
        if _minor(theirs) != _minor(ours):
            raise Misuse(f"{self.url} runs Ray {theirs}, and this tune-gate needs Ray {'.'.join(_minor(ours))}")

    def _send(
        self, stage: Path, environment: Mapping[str, Any], arguments: Sequence[str], metadata: Mapping[str, str]
    ) -> str:
        return str(
            self._call(
                lambda: self._client.submit_job(
                    entrypoint=f"python -m tune_gate.job_entry {shlex.join(arguments)}",
                    runtime_env={**environment, "working_dir": str(stage)},
                    metadata=dict(metadata),
                )
            )
        )

    def _await(self, job: str) -> None:
        limit = time.monotonic() + ANSWER_SECONDS
        while self._call(partial(self._client.get_job_status, job)).value not in ENDED:
            if time.monotonic() > limit:
                self._call(partial(self._client.stop_job, job))
                raise TuneGateError(f"{self.url} gave no answer within {ANSWER_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)

    def _call(self, act: Callable[[], Result]) -> Result:
        try:
            return act()
        except ImportError:
            raise Misuse("Ray's job client is not installed: pip install 'tune-gate[cluster]'") from None
        except (ConnectionError, _no_answer()):
            raise ClusterUnreachable(f"{self.url} is no dashboard of a Ray cluster, or it does not answer") from None
        except (RuntimeError, _refusal()) as error:
            raise _explained(self.url, error) from None


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _refusal() -> type[Exception]:
    """Ray's error for a token; looked up only where something went wrong, for Ray is slow to import."""
    from ray.exceptions import AuthenticationError  # noqa: PLC0415

    found: type[Exception] = AuthenticationError
    return found


def _no_answer() -> type[Exception]:
    """The error of a request that is not answered: Ray turns only that of the first into its own."""
    from requests.exceptions import RequestException  # noqa: PLC0415  it comes with Ray's job client

    return RequestException


def _explained(url: str, error: Exception) -> Misuse:
    text = " ".join(str(error).split())
    if re.search(r"\b40[13]\b|[Uu]nauthori[sz]ed|[Aa]uthentication|token", text):
        return Misuse(f"{url} asks for a token, or refuses it; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH")
    return Misuse(f"{url}: {text[:300]}")


def _client(url: str) -> Any:
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415  slow to import

    return JobSubmissionClient(url)


def _whole_url(text: str) -> str:
    found = _URL.fullmatch(text)
    if found is None:
        raise Misuse(f"--cluster {text!r} is not of the form http://HOST:{JOBS_PORT}, the cluster's dashboard")
    scheme, port = found["scheme"] or "http://", int(found["port"] or JOBS_PORT)
    if scheme == "http://":  # behind https stands a proxy, with a port of its own
        check_port(ClusterAddress("head", found["host"], port))
    return f"{scheme}{found['host']}:{port}" if found["port"] or scheme == "http://" else text


def _job(details: Any) -> Job:
    words = " ".join(str(details.message or "").split())
    metadata = details.metadata
    environment = {name: value for name, value in (details.runtime_env or {}).items() if name in ("env_vars", "pip")}
    code = tuple(Path(path) for path in json.loads(metadata.get("code", "[]")))
    folder = metadata.get("folder", "")
    return Job(details.submission_id, metadata["tune-gate"], folder, details.status.value, words, environment, code)


def _metadata(study: str, folder: str, code: Sequence[Path]) -> dict[str, str]:
    """What a job's list entry says of it."""
    return {"tune-gate": study, "folder": folder, "code": json.dumps([str(package.resolve()) for package in code])}


@contextlib.contextmanager
def _staged(code: Sequence[Path]) -> Iterator[Path]:
    """A folder with the code that a job takes with it."""
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="tune-gate-") as name:
        stage = Path(name)
        for package in (*(root / room for room in ROOMS), *code):
            if not package.is_dir():
                raise Misuse(f"{package} is no folder, so it cannot go with the job")
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".venv")
            shutil.copytree(package, stage / package.resolve().name, ignore=ignored)
        yield stage


def own_requirements() -> list[str]:
    """The packages that tune-gate needs, as pip takes them."""
    return [text for text in importlib.metadata.requires("tune-gate") or () if "extra ==" not in text]
