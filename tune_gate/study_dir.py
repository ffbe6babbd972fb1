"""The study directory: how it is made, and what its driver reads back."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from analysis.errors import AnalysisError
from analysis.events import Event
from analysis.files import write_atomic
from analysis.log import LOG_FILE, event_line, header_line
from analysis.study import STUDY_FILE, STUDY_SCHEMA, open_study
from tune_gate.errors import Misuse, StudyExists, StudyImported
from tune_gate.fingerprint import code_fingerprints
from tune_gate.spec import StudySpec, study_spec

SPEC_FILE = "study.yaml"
DRIVER_LOG = "driver.log"
STOP_REQUEST = "stop-requested"

_PACKAGES = ("tune-gate", "ray", "optuna", "torch", "torchvision", "numpy")


def refuse_taken(study: Path) -> None:
    """Raise `StudyExists` where the folder for a new study holds one, or other files."""
    if (study / STUDY_FILE).exists():
        raise StudyExists(f"{study} already holds a study; `tune-gate resume {study}` goes on with it")
    if study.exists() and (not study.is_dir() or any(study.iterdir())):
        raise StudyExists(f"{study} is not an empty folder, and nothing is written over; choose another --dir")


def create_study(spec: StudySpec, study: Path, history: Sequence[Event] = ()) -> StudySpec:
    """Make `study` for a new search; the spec as it is kept, with every path made absolute.

    Its log begins with `history`, whole or not at all: where there is a study, it has inherited what it ever will.

    Raises:
        StudyExists: the folder holds a study, or other files.
        Misuse: the folder cannot be made.
    """
    refuse_taken(study)
    spec = with_absolute_paths(spec)
    record = {
        "schema": STUDY_SCHEMA,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": versions(),
        "git_commit": _git_commit(),
        "base_config": spec.base_config.model_dump(mode="json"),
        "spec": spec.to_record(),
        "given": given_settings(spec),
        "code": code_fingerprints(spec.trainable),
    }
    try:
        write_atomic(study / SPEC_FILE, yaml.safe_dump(given_settings(spec), sort_keys=False))
        if history:
            write_atomic(study / LOG_FILE, b"".join([header_line(), *map(event_line, history)]))
        write_atomic(study / STUDY_FILE, json.dumps(record, indent=1))  # last: with it, the study exists
    except OSError as error:
        raise Misuse(f"cannot make the study {study}: {error.strerror}") from None
    return spec


def read_spec(study: Path) -> StudySpec:
    """The specification of the study in `study`, a folder or the URL of one.

    Raises:
        StudyNotFound, SchemaUnknown, AnalysisError: there is no study that this version can read.
        SpecError: it was made by a version whose settings this one does not know.
        StudyImported: it is no search of ours.
    """
    folder = open_study(study).path  # for its errors
    record = json.loads((folder / STUDY_FILE).read_bytes())
    if "imported" in record:
        raise StudyImported(
            f"{study} was imported ({record['imported'].get('source')}): there is no search to watch or go on with; "
            "its tables, report and exports work"
        )
    try:
        return study_spec(record["spec"])
    except KeyError as error:
        raise AnalysisError(f"{study / STUDY_FILE} is damaged: it has no {error.args[0]!r}") from None


def free_folder(root: Path, name: str) -> Path:
    """The first of NAME, NAME-2, NAME-3, … below `root` that does not exist."""
    folder, number = root / name, 1
    while folder.exists():
        number += 1
        folder = root / f"{name}-{number}"
    return folder


def checkpoint_folder(study: Path, trial: int) -> Path:
    """Where a trial keeps its checkpoints."""
    return study / "trials" / f"{trial:04d}"


def versions() -> dict[str, str]:
    """The versions that can change a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def given_settings(spec: StudySpec) -> dict[str, Any]:
    """The spec as its author would write it: only what was set."""
    return spec.model_dump(mode="json", exclude_unset=True)


def with_absolute_paths(spec: StudySpec) -> StudySpec:
    """Workers run elsewhere: a relative path in the settings means one below the folder of the launch."""
    config = dict(spec.config)
    kind, colon, path = str(config.get("data", "")).partition(":")
    if colon:
        config["data"] = f"{kind}:{Path(path).expanduser().resolve()}"
    for key in ("baseline", "data_dir"):
        if config.get(key):
            config[key] = str(Path(config[key]).expanduser().resolve())
    return study_spec({**given_settings(spec), "config": config}) if config != dict(spec.config) else spec


def _git_commit() -> str | None:
    """The commit of the code that runs, marked where files differ from it; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603  fixed arguments
            ["git", "-C", str(here), *arguments],  # noqa: S607
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip

    try:
        commit = git("rev-parse", "HEAD")
        return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no", "--", ".") else commit
    except (OSError, subprocess.SubprocessError):
        return None
