"""Checks of a machine before a search: what would stop it, or make it suffer, is found in seconds and not at night."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from analysis.holders import STALE_SECONDS
from analysis.objects import is_url
from tune_gate.doctor_processes import check_gpus, check_ray
from tune_gate.doctor_store import check_store
from tune_gate.findings import Check, Finding, examine
from tune_gate.working_copy import cache_folder

GB = 1e9

#: Ray gives a node no more work when a disk of its is as full as this.
FULL_SHARE = 0.95
ROOM_GB, NO_ROOM_GB = 5.0, 0.1

#: Ray's memory monitor ends workers when this share of the memory is in use.
MEMORY_SHARE = 0.95
MEMORY_GB = 2.0

SHARED_MEMORY_GB = 1.0
OPEN_FILES = 4096
DRIFT_SECONDS = 5.0

#: Ports that a Ray of one machine takes, with some to spare.
PORTS = 32


def diagnose(folder: Path) -> dict[str, Finding]:
    """What each check finds on this machine for studies in `folder`, which need not exist yet. Nothing stays behind.

    Of an object store's URL the store is checked, and the folder of its working copies here.
    """
    if is_url(folder):
        checks: dict[str, Check] = {"object store": partial(check_store, str(folder)), **CHECKS}
        return examine(checks, existing(cache_folder()))
    return examine(CHECKS, existing(folder))


def existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists."""
    path = folder.resolve()
    return next(place for place in (path, *path.parents) if place.exists())


def check_python(_folder: Path) -> Finding:
    """Whether this Python is one that tune-gate is made for."""
    here = platform.python_version()
    wanted = importlib.metadata.metadata("tune-gate")["Requires-Python"]
    if here not in SpecifierSet(wanted):
        return Finding("FAIL", f"Python {here} is not {wanted}; make the environment with another Python")
    return Finding("ok", f"{here} ({wanted})")


def check_packages(_folder: Path) -> Finding:
    """Whether the packages have the versions that tune-gate is tested with."""
    required = [Requirement(text) for text in importlib.metadata.requires("tune-gate") or ()]
    needed = [need for need in required if need.marker is None or need.marker.evaluate({"extra": ""})]
    wrong = [f"{need.name} {found} is not {need.specifier}" for need in needed if (found := _unfit(need))]
    if wrong:
        return Finding("FAIL", f"{'; '.join(wrong)}; reinstall tune-gate: pip install -e .")
    main = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ray", "torch", "optuna"))
    return Finding("ok", f"{len(needed)} as tested, among them {main}")


def check_write_access(folder: Path) -> Finding:
    """Whether files can be made, synced, renamed and linked, and folders made: the log and its lock rest on that."""
    step = "make a folder"
    try:
        with _scratch(folder) as scratch:
            step = "write and sync a file"
            path = scratch / "file"
            with path.open("xb") as file:
                file.write(b"tune-gate")
                file.flush()
                os.fsync(file.fileno())
            step = "rename a file over another"
            path.replace(scratch / "renamed")
            step = "make a hard link (the driver's lock is one)"
            os.link(scratch / "renamed", scratch / "linked")
    except OSError as error:
        reason = error.strerror or error
        return Finding("FAIL", f"cannot {step} in {folder}: {reason}; choose another folder, or mend its rights")
    return Finding("ok", f"files can be written, synced, renamed and linked in {folder}")


def check_clock(folder: Path) -> Finding:
    """Whether the clock of the file system agrees with ours: a lock on it is judged by its age."""
    with _scratch(folder) as scratch:
        drift = scratch.stat().st_mtime - time.time()
    if abs(drift) > DRIFT_SECONDS:
        return Finding(
            "warn",
            f"files in {folder} are dated {drift:+.0f} s off this machine's clock; set both by NTP: a driver that is "
            f"silent for {STALE_SECONDS:.0f} s counts as dead",
        )
    return Finding("ok", f"files in {folder} are dated as this machine's clock says")


def check_disk(place: Path | None, folder: Path) -> Finding:
    """Whether there is room at `place`; without one, at the folder itself."""
    path = existing(place or folder)
    usage = shutil.disk_usage(path)
    free, share = usage.free / GB, 1 - usage.free / usage.total
    found = f"{free:.1f} GB free of {usage.total / GB:.0f} at {path} ({share:.0%} full)"
    if free < NO_ROOM_GB:
        return Finding("FAIL", f"{found}; make room: the log could not be written")
    if share > FULL_SHARE:
        return Finding("warn", f"{found}; make room: Ray starts no trial where a disk is over {FULL_SHARE:.0%} full")
    if free < ROOM_GB:
        return Finding("warn", f"{found}; make room: checkpoints need some")
    return Finding("ok", found)


def ray_folder() -> Path:
    """Where Ray keeps its logs and sockets."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"  # noqa: S108  Ray's own rule


def check_shared_memory(_folder: Path) -> Finding:
    """Whether /dev/shm, where Ray's object store lies, has some size; a container's default has little."""
    path = Path("/dev/shm")  # noqa: S108  it is looked at only
    if not path.is_dir():
        return Finding("warn", "there is no /dev/shm, so Ray's object store lies on the disk; mount one")
    size = shutil.disk_usage(path).total / GB
    if size < SHARED_MEMORY_GB:
        return Finding("warn", f"{path} has {size:.2f} GB; in a container give it more: docker run --shm-size=2g")
    return Finding("ok", f"{path} has {size:.1f} GB")


def check_ports(_folder: Path) -> Finding:
    """Whether there are free ports on the loopback interface, through which Ray's processes talk."""
    with ExitStack() as stack:
        try:
            for _ in range(PORTS):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", 0))
        except OSError as error:
            return Finding("FAIL", f"no port can be bound on 127.0.0.1: {error.strerror}; bring the loopback device up")
    return Finding("ok", f"{PORTS} ports could be bound on 127.0.0.1")


def check_open_files(_folder: Path) -> Finding:
    """Whether a process may hold as many files open as Ray's do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        return Finding("warn", f"a process may open {soft} files; say `ulimit -n {OPEN_FILES}` (hard limit: {hard})")
    return Finding("ok", f"a process may open {'any number of' if soft == resource.RLIM_INFINITY else soft} files")


def check_memory(_folder: Path) -> Finding:
    """Whether there is memory left for a trial, and before Ray begins to end workers."""
    total, available = memory()
    found = f"{available / GB:.1f} GB available of {total / GB:.1f}"
    if 1 - available / total > MEMORY_SHARE:
        return Finding("FAIL", f"{found}; free some: Ray ends workers when more than {MEMORY_SHARE:.0%} is in use")
    if available < MEMORY_GB * GB:
        return Finding("warn", f"{found}; free some, or run fewer trials at once (resources.concurrency)")
    return Finding("ok", found)


def memory(meminfo: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> tuple[float, float]:
    """The memory of this machine or container, and what of it is available, bytes."""
    sizes = {name: float(kilobytes) * 1024 for name, kilobytes in re.findall(r"(\w+):\s+(\d+)", meminfo.read_text())}
    total, available = sizes["MemTotal"], sizes["MemAvailable"]
    limit = _text(group / "memory.max").strip()
    if limit.isdecimal() and float(limit) < total:
        cached = re.search(r"^inactive_file (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
        used = float(_text(group / "memory.current")) - (float(cached[1]) if cached else 0.0)
        total, available = float(limit), min(available, float(limit) - used)
    return total, available


#: The checks by name, in the order in which they are told; what takes long comes last.
CHECKS: Mapping[str, Check] = {
    "python": check_python,
    "packages": check_packages,
    "write access": check_write_access,
    "clock": check_clock,
    "disk": partial(check_disk, None),
    "disk of /tmp": partial(check_disk, Path(tempfile.gettempdir())),
    "disk of Ray": partial(check_disk, ray_folder()),
    "shared memory": check_shared_memory,
    "memory": check_memory,
    "open files": check_open_files,
    "ports": check_ports,
    "gpus": check_gpus,
    "ray": check_ray,
}


def _unfit(need: Requirement) -> str:
    """The version that is there instead of `need`; empty where it is met."""
    try:
        found = importlib.metadata.version(need.name)
    except importlib.metadata.PackageNotFoundError:
        return "(absent)"
    return "" if need.specifier.contains(found, prereleases=True) else found


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder in `folder` for the length of the block."""
    with tempfile.TemporaryDirectory(prefix=".tune-gate-doctor-", dir=folder) as scratch:
        yield Path(scratch)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
