"""Waiting for an object store that is away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from analysis.errors import StoreAway

#: How long a store may be away before a search gives up.
PATIENCE_SECONDS = 60.0

_LONGEST_PAUSE_SECONDS = 8.0

T = TypeVar("T")


def patiently(act: Callable[[], T], hurry: Callable[[], bool] = lambda: False) -> T:
    """The result of `act`, which may be called again: so it is while the store is away, for `PATIENCE_SECONDS`.

    Where `hurry` says so, it is called no more.

    Raises:
        StoreError: the store is away for longer, or cannot be used at all.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    pause = 0.5
    while True:
        try:
            return act()
        except StoreAway:
            if time.monotonic() + pause > end or hurry():
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
