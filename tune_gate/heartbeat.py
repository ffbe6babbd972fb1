"""Signs of life of a driver's loop, and the watch that its supervisor keeps over them.

The holder's lock is touched by a thread, and so it says that the process lives, not that it gets on. The loop itself
touches a file of its own; where that stops, the process is stopped, or waits for something that will never come.
"""

from __future__ import annotations

import time
from pathlib import Path

BEAT_FILE = "driver.beat"

#: The loop touches its file so often at most.
BEAT_SECONDS = 1.0

#: A loop takes a fraction of a second. One that has shown no sign of life for so long is taken for dead.
SILENT_SECONDS = 120.0

#: Before the first sign of life a driver reads its data, joins a cluster, and may wait for it.
START_SECONDS = 1800.0


class Heartbeat:
    """The loop's end: call it in every turn."""

    def __init__(self, study: Path) -> None:
        self._path = study / BEAT_FILE
        self._next = 0.0

    def __call__(self) -> None:
        """Touch the file, unless that was done a moment ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + BEAT_SECONDS
        try:
            self._path.touch()
        except OSError:  # a full disk ends the search where the log says so
            return


class Watch:
    """The supervisor's end: made where a session starts, it tells when the session has been silent for too long.

    What counts is whether the file changes, not when it says that it did: the driver's clock may be another host's.
    """

    def __init__(self, study: Path) -> None:
        self._path = study / BEAT_FILE
        self._seen = self._changed()
        self._since = time.monotonic()
        self._begun = False

    def overdue(self) -> str | None:
        """What to say of a driver that is taken for dead; None of one that lives."""
        changed, now = self._changed(), time.monotonic()
        if changed != self._seen:
            self._seen, self._since, self._begun = changed, now, True
        silent = now - self._since
        if silent < (SILENT_SECONDS if self._begun else START_SECONDS):
            return None
        return f"no sign of life from its loop for {silent:.0f} s"

    def _changed(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return None
