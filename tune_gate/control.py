"""Talking to a running search from outside: through its study folder, so from any host that sees it."""

from __future__ import annotations

from pathlib import Path

from analysis.files import write_atomic
from analysis.study import open_study
from tune_gate.errors import Misuse
from tune_gate.lock import Holder, current_holder
from tune_gate.study_dir import STOP_REQUEST


def request_stop(study: Path) -> Holder:
    """Ask the driver of `study` to stop in good order, and say which driver that is.

    Raises:
        StudyNotFound: there is no study.
        Misuse: no driver runs it.
    """
    open_study(study)
    holder = current_holder(study)
    if holder is None:
        raise Misuse(f"no search is running in {study}")
    write_atomic(study / STOP_REQUEST, "")
    return holder
