"""The doctor's check of an object store."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from analysis.errors import StoreError
from analysis.holders import STALE_SECONDS
from analysis.objects import open_store
from tune_gate.findings import Finding

DRIFT_SECONDS = 5.0


def check_store(url: str, _folder: Path) -> Finding:
    """Whether objects can be put, read, listed and deleted at `url`, and whether the store's clock agrees with ours."""
    key = f".tune-gate-doctor-{secrets.token_hex(4)}"
    content = key.encode()
    try:
        store = open_store(url)
        store.write(key, content)
        try:
            drift = next(entry.time for entry in store.files() if entry.key == key) - time.time()
            whole = store.read(key) == content
        finally:
            store.delete([key])
    except StoreError as error:
        return Finding("FAIL", str(error))
    except StopIteration:
        return Finding("FAIL", f"{url} does not list what was just put there; the log needs a store that does")
    if not whole:
        return Finding("FAIL", f"{url} gives back something else than was put there; use another store")
    if abs(drift) > DRIFT_SECONDS:
        return Finding(
            "warn",
            f"objects in {store.url} are dated {drift:+.0f} s off this machine's clock; set it by NTP: a driver "
            f"that is silent for {STALE_SECONDS:.0f} s counts as dead",
        )
    return Finding("ok", f"objects can be put, read, listed and deleted in {store.url}")
