"""An object store that lies in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_gate.working_copy import CACHE_VARIABLE


@pytest.fixture
def store_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of studies in a store lie in a folder of the test's own; locks need no time to settle."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("tune_gate.store_lock.SETTLE_SECONDS", 0.0)


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """The objects of the store at `url`, as files."""
    return tmp_path / "bucket" / "study"


@pytest.fixture
def url(bucket: Path) -> str:
    return f"file://{bucket}"
