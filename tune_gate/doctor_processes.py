"""The doctor's checks that try something in a process of its own, within a time limit: Ray, and torch on GPUs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tune_gate.cluster_access import SPANS_MACHINES
from tune_gate.findings import Finding

RAY_SECONDS = 90.0
GPU_SECONDS = 60.0

#: As the driver starts it, but never in another's cluster.
_TRY_RAY = f"""
import logging, os
os.environ["{SPANS_MACHINES}"] = "0"
import ray
ray.init(address="local", num_cpus=1, num_gpus=0, include_dashboard=False, log_to_driver=False,
         logging_level=logging.ERROR, _node_ip_address="127.0.0.1")
assert ray.get(ray.remote(lambda: 6 * 7).remote()) == 42
ray.shutdown()
"""

#: Through the trainables' own module, so that what is counted is what a trial would see.
_COUNT_GPUS = """
from trainables.device import torch
print(torch.__version__, torch.version.cuda or torch.version.hip or "cpu", torch.cuda.device_count())
"""


def check_ray(_folder: Path) -> Finding:
    """Whether a Ray of this machine starts, runs a task, and ends."""
    code, output = run_python(_TRY_RAY, RAY_SECONDS)
    if code is None:
        return Finding("FAIL", f"Ray did not start within {RAY_SECONDS:.0f} s; its logs are in {_ray_logs()}")
    if code != 0:
        return Finding("FAIL", f"Ray did not start: {_last(output)}; its logs are in {_ray_logs()}")
    address = os.environ.get("RAY_ADDRESS")
    if address:
        return Finding("warn", f"starts, but RAY_ADDRESS={address} sends searches to another cluster; unset it")
    return Finding("ok", "starts, runs a task, and ends")


def check_gpus(_folder: Path) -> Finding:
    """Whether torch sees the GPUs that the driver of the machine sees."""
    machine = count_nvidia()
    code, output = run_python(_COUNT_GPUS, GPU_SECONDS)
    if code is None:
        return Finding("FAIL", f"torch did not count the GPUs within {GPU_SECONDS:.0f} s; look at nvidia-smi")
    if code != 0:
        return Finding("FAIL", f"torch cannot be used: {_last(output)}; reinstall it")
    version, build, counted = _last(output).split()
    seen = int(counted)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if machine and build == "cpu":
        return Finding(
            "warn",
            f"nvidia-smi shows {machine} GPUs, and torch {version} is built for the CPU; "
            "install a CUDA build (https://pytorch.org/get-started)",
        )
    if seen < machine and visible is not None:
        return Finding("ok", f"torch {version} sees {seen} of {machine} GPUs (CUDA_VISIBLE_DEVICES={visible})")
    if seen != machine and build != "cpu":
        return Finding(
            "FAIL", f"torch {version} sees {seen} GPUs and nvidia-smi {machine}; update the driver, or reboot"
        )
    what = f"{seen} GPUs" if seen else "no GPU: trials run on the CPU"
    return Finding("ok", f"{what} (torch {version} built for {'the CPU' if build == 'cpu' else f'CUDA {build}'})")


def count_nvidia() -> int:
    """The GPUs that nvidia-smi lists; 0 where there is no nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=GPU_SECONDS, check=False)  # noqa: S603
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def run_python(code: str, seconds: float) -> tuple[int | None, str]:
    """Run `code` in a Python of its own: its exit code, None where it had to be ended, and what it printed."""
    process = subprocess.Popen(  # noqa: S603  our own code
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with it what it started: Ray's processes
            return None, ""
    return process.returncode, output


def _ray_logs() -> str:
    from tune_gate.doctor import ray_folder  # noqa: PLC0415  it lists our checks

    return str(ray_folder() / "session_latest" / "logs")


def _last(output: str) -> str:
    """The last line that says anything: of a traceback, the error itself."""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no reason given")
