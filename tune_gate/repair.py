"""Repairing a study whose log is damaged: a new log without what cannot be read, and the old file beside it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from analysis.events import Warned
from analysis.files import write_atomic
from analysis.log import LOG_FILE, event_line, header_line
from tune_gate.errors import LogWriteError
from tune_gate.lock import hold
from tune_gate.mending import Mended, mend, read_lines
from tune_gate.storage import store_of
from tune_gate.study_dir import read_spec
from tune_gate.working_copy import replace_log


@dataclass(frozen=True, slots=True)
class Repair:
    """A log that was repaired."""

    mended: Mended
    kept: Path  # the old file


def repair_study(study: Path) -> Repair | None:
    """Repair the log of `study`, and say in it what was passed over; None where nothing is to be repaired.

    Raises:
        StudyLocked: a driver holds the study.
        StudyNotFound, AnalysisError, SpecError: there is no study, or only its log could be repaired.
        SchemaUnknown: the log is of another version.
        LogWriteError: there is no room, or no right to write; the old log is as it was.
    """
    spec = read_spec(study)
    path = study / LOG_FILE
    with hold(study):
        mended = mend(spec, read_lines(path))
        if mended.whole:
            return None
        kept = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        warned = Warned(time.time(), f"repaired: {mended}; the old log is {kept.name}")
        data = b"".join([header_line(), *(line.data for line in mended.lines), event_line(warned)])
        try:
            os.link(path, kept)  # at no moment is there no log: the new one then takes the old one's first name
            _write_or_unlink(path, data, kept)
        except OSError as error:
            raise LogWriteError(f"cannot repair {path}: {error.strerror or error}; the old log is as it was") from error
        store = store_of(study)
        if store is not None:
            replace_log(store, study)
    return Repair(mended, kept)


def _write_or_unlink(path: Path, data: bytes, kept: Path) -> None:
    """Write `data` to `path`; where that fails, `path` is as it was and needs no second name."""
    try:
        write_atomic(path, data)
    except OSError:
        kept.unlink()
        raise
