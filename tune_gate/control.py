"""Talking to a running search from outside: through its study folder, so from any host that sees it."""

from __future__ import annotations

from pathlib import Path

from analysis.copies import shown
from analysis.study import open_study
from tune_gate.errors import Misuse
from tune_gate.lock import Holder, current_holder
from tune_gate.storage import put_stop_request


def request_stop(study: Path) -> Holder:
    """Ask the driver of `study`, a folder or a URL, to stop in good order, and say which driver that is.

    Raises:
        StudyNotFound: there is no study.
        Misuse: no driver runs it.
    """
    folder = open_study(study).path
    holder = current_holder(folder)
    if holder is None:
        raise Misuse(f"no search is running in {shown(folder)}")
    put_stop_request(folder)
    return holder
