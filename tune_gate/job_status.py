"""Where a search on a cluster stands, seen from a laptop: what Ray says of its job, and what the study's log says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tune_gate.errors import Misuse
from tune_gate.jobs import ENDED, Job, Jobs


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """What `tune-gate status` says of a job's study where the cluster sees it, or why it says nothing."""

    said: str  # empty where it says nothing
    note: str = ""


def study_status(jobs: Jobs, job: Job, *options: str) -> StudyStatus:
    """Have the cluster run `tune-gate status` with `options` on the study of `job`.

    Raises:
        ClusterUnreachable: it has gone away meanwhile.
        Misuse, TuneGateError: as `Jobs.ask`, but for a study that is not there.
    """
    if job.state == "PENDING":
        return StudyStatus("", "it has not begun: the cluster sets up what it brought, or has no room for it yet")
    try:
        return StudyStatus(jobs.ask(job.id, ["status", *options]).decode())
    except Misuse as refused:
        if not str(refused).startswith(f"no study at {job.folder}"):
            raise
    if job.state in ENDED:
        return StudyStatus("", f"it ended before it made its study; `tune-gate job logs {job.id}` tells why")
    return StudyStatus("", "it has not made its study yet")


def status_record(job: Job, study: StudyStatus) -> dict[str, Any]:
    """The form of `job status --json`: the job, and the study as `status --json` has it (null: there is none)."""
    return {
        "job": {"id": job.id, "state": job.state.lower(), "folder": job.folder, "message": job.message},
        "study": json.loads(study.said) if study.said else None,
        "note": study.note,
    }
