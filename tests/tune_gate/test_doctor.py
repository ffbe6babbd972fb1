"""What the doctor says of a sick machine; Ray is started once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.tune_gate.test_verify import tune_gate
from tune_gate import doctor, doctor_processes
from tune_gate.doctor import (
    check_clock,
    check_disk,
    check_memory,
    check_open_files,
    check_packages,
    check_ports,
    check_python,
    check_shared_memory,
    check_write_access,
    existing,
    memory,
)
from tune_gate.doctor_processes import check_gpus, check_ray, run_python
from tune_gate.findings import Finding, examine

GB = 10**9


@pytest.mark.slow  # Ray is started
def test_the_command_checks_everything_and_leaves_nothing_behind(tmp_path: Path) -> None:
    result = tune_gate("doctor", "--dir", tmp_path / "not" / "yet")
    lines = result.out.splitlines()
    assert [line[6:].split("  ")[0].strip() for line in lines] == list(doctor.CHECKS)
    assert result.code == ("FAIL" in {line[:4] for line in lines})
    assert lines[-1].startswith("ok    ray"), lines[-1]
    assert lines[0].startswith("ok    python")
    assert lines[1].startswith("ok    packages")
    assert not list(tmp_path.iterdir())


def test_a_check_that_raises_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    def broken(_folder: Path) -> Finding:
        raise RuntimeError("boom\nmore")

    found = examine({"broken": broken, "fine": lambda _folder: Finding("ok", "")}, tmp_path)
    assert found["broken"] == Finding("FAIL", "could not be checked (RuntimeError: boom); mend that first")
    assert found["fine"].verdict == "ok"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path
    if os.geteuid() == 0:
        folder = Path("/sys")  # nobody makes files there
    else:
        tmp_path.chmod(0o500)
    found = check_write_access(folder)
    assert found.verdict == "FAIL"
    assert f"cannot make a folder in {folder}: " in found.message


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    found = check_write_access(tmp_path)
    assert found.verdict == "FAIL"
    assert "make a hard link" in found.message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("total", "free", "verdict", "message"),
    [
        (100 * GB, 50 * GB, "ok", "50.0 GB free of 100"),
        (100 * GB, 4.9 * GB, "warn", "over 95% full"),
        (1000 * GB, 30 * GB, "warn", "over 95% full"),
        (20 * GB, 4 * GB, "warn", "checkpoints need some"),
        (100 * GB, 0, "FAIL", "the log could not be written"),
    ],
)
def test_disks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, verdict: str, message: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=total, free=free, used=total - free))
    found = check_disk(None, tmp_path)
    assert (found.verdict, message in found.message) == (verdict, True), found


def test_little_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=64e6, free=64e6, used=0))
    assert check_shared_memory(tmp_path).verdict == "warn"


def test_a_clock_that_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_clock(tmp_path).verdict == "ok"
    now = doctor.time.time()
    monkeypatch.setattr(doctor.time, "time", lambda: now + 30)
    found = check_clock(tmp_path)
    assert found.verdict == "warn"
    assert "-30 s off" in found.message


def test_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda _: (256, 4096))
    assert "ulimit -n" in check_open_files(tmp_path).message


def test_versions_that_were_not_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = doctor.importlib.metadata
    monkeypatch.setattr(metadata, "requires", lambda _: ["ray>=99", "numpy>=1", "nosuch>1", 'other>1; extra == "dev"'])
    found = check_packages(tmp_path)
    assert found.verdict == "FAIL"
    assert "ray 2." in found.message
    assert "nosuch (absent) is not >1" in found.message
    assert "numpy" not in found.message
    assert "other" not in found.message
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.9.1")
    assert check_python(tmp_path).verdict == "FAIL"


def test_no_port_to_bind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoPort(doctor.socket.socket):
        def bind(self, _address: object) -> None:
            raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(doctor.socket, "socket", NoPort)
    assert check_ports(tmp_path).verdict == "FAIL"


def test_memory_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       64000000 kB\nMemAvailable:   60000000 kB\n")
    assert memory(meminfo, tmp_path) == (64e6 * 1024, 60e6 * 1024)
    (tmp_path / "memory.max").write_text("4000000000\n")
    (tmp_path / "memory.current").write_text("3500000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500000000\n")
    assert memory(meminfo, tmp_path) == (4e9, 1e9)
    monkeypatch.setattr(doctor, "memory", lambda: (4e9, 1e9))
    assert check_memory(tmp_path).verdict == "warn"
    monkeypatch.setattr(doctor, "memory", lambda: (100e9, 4e9))
    assert check_memory(tmp_path).verdict == "FAIL"


@pytest.mark.parametrize(
    ("machine", "torch", "visible", "verdict"),
    [
        (0, "2.14.1 cpu 0", None, "ok"),
        (0, "2.14.1 13.0 0", None, "ok"),
        (2, "2.14.1 13.0 2", None, "ok"),
        (2, "2.14.1 13.0 1", "0", "ok"),
        (2, "2.14.1 13.0 0", None, "FAIL"),
        (2, "2.14.1 cpu 0", None, "warn"),
    ],
)
def test_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: int, torch: str, visible: str | None, verdict: str
) -> None:
    monkeypatch.setattr(doctor_processes, "count_nvidia", lambda: machine)
    monkeypatch.setattr(doctor_processes, "run_python", lambda *_: (0, f"a warning\n{torch}\n"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert check_gpus(tmp_path).verdict == verdict


def test_a_ray_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_processes, "run_python", lambda *_: (1, "Traceback …\nOSError: no socket\n\n"))
    assert check_ray(tmp_path).message.startswith("Ray did not start: OSError: no socket; its logs are in ")
    monkeypatch.setattr(doctor_processes, "run_python", lambda *_: (None, ""))
    assert check_ray(tmp_path).verdict == "FAIL"


def test_what_hangs_is_ended() -> None:
    assert run_python("import time; time.sleep(60)", 0.5) == (None, "")
    assert run_python("print('here')", 30.0) == (0, "here\n")


def test_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert existing(tmp_path) == tmp_path
