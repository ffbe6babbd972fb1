"""The driver's process, as far as it gets without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tune_gate.supervisor import MISUSE

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_driver_whose_own_log_finds_no_room_still_says_why_it_ends(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "tune_gate.driver", str(tmp_path / "absent")],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=full, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert ended.returncode == MISUSE
    assert "absent" in ended.stdout
