"""The driver's process, as far as it gets without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tune_gate.spec import study_spec
from tune_gate.study_dir import create_study
from tune_gate.supervisor import DONE, MISUSE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def a_supervisor() -> Iterator[int]:
    """The end of a pipe whose other end is open, as a living supervisor keeps it."""
    read, write = os.pipe()
    try:
        yield read
    finally:
        os.close(read)
        os.close(write)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_driver_whose_own_log_finds_no_room_still_says_why_it_ends(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full, a_supervisor() as waiting:
        ended = subprocess.run(
            [sys.executable, "-m", "tune_gate.driver", str(tmp_path / "absent")],
            stdin=waiting, stdout=subprocess.PIPE, stderr=full, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert ended.returncode == MISUSE
    assert "absent" in ended.stdout


def test_a_driver_whose_supervisor_is_gone_before_it_begins_touches_nothing(tmp_path: Path) -> None:
    create_study(study_spec({"trials": 1}), tmp_path / "study")
    before = files(tmp_path / "study")
    ended = subprocess.run(
        [sys.executable, "-m", "tune_gate.driver", str(tmp_path / "study")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (DONE, "", "")
    assert files(tmp_path / "study") == before
