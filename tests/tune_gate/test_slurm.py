"""The SLURM template on a real SLURM: a controller and two node daemons on this machine, with a key of their own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.events import SessionEnded, SessionStarted
from analysis.log import LOG_FILE, read_log
from tests.tune_gate.test_multi_node import check_whole, epochs_reported
from tune_gate.cluster_templates import template

ROOT = Path(__file__).resolve().parents[2]

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(580),
    pytest.mark.skipif(
        not all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin") for name in PROGRAMS)
        or os.geteuid() != 0,
        reason="needs root and SLURM's programs (Debian: slurm-wlm and munge)",
    ),
]

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs={cpus} State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which `sbatch` and its kin speak with a SLURM of two nodes."""
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    (folder / "state").mkdir()
    controller, first, second = free_ports(3)
    (folder / "slurm.conf").write_text(
        CONFIG.format(
            folder=folder, host=socket.gethostname().split(".")[0], cpus=os.cpu_count(),
            controller=controller, first=first, second=second,
        )
    )  # fmt: skip
    environment = {
        **os.environ,
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
        "PYTHONPATH": str(ROOT),
    }
    daemons = [
        ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket",
         f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", "node1"],
        ["slurmd", "-D", "-N", "node2"],
    ]  # fmt: skip
    with (folder / "daemons.log").open("w") as log:
        running = []
        for command in daemons:
            running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            time.sleep(1.0)
        try:
            wait(lambda: output(environment, "sinfo", "-h", "-o", "%T").split() == ["idle"], 60, folder)
            yield environment
        finally:
            for daemon in reversed(running):
                daemon.terminate()
            for daemon in running:
                daemon.wait(timeout=30)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a study and the template, as a user would edit it."""
    (tmp_path / "study.yaml").write_text(
        "trials: 12\nepochs: 9\nscheduler: {rungs: [3]}\ntrainable: tests.tune_gate.troublesome:Crawls\n"
    )
    script = template("slurm").text
    script = re.sub(r"#SBATCH --cpus-per-task=\d+", "#SBATCH --cpus-per-task=1", script)
    (tmp_path / "job.sbatch").write_text(script.replace("B:USR1@600", "B:USR1@60"))
    return tmp_path


def test_a_job_runs_a_study_over_two_nodes_and_comes_back_after_its_time(slurm: dict[str, str], project: Path) -> None:
    """SLURM signals up to a minute early, so a job of two minutes is asked to stop between its first and second."""
    submitted = subprocess.run(
        ["sbatch", "--parsable", "--time=2", "job.sbatch"],
        cwd=project, env=slurm, capture_output=True, text=True, check=True,
    )  # fmt: skip
    job = submitted.stdout.strip()
    folder = project / "studies" / "search"
    wait(lambda: epochs_reported(folder) > 0, 150, project)
    assert not list(project.glob(".ray-token-*")) or all(
        path.stat().st_mode & 0o077 == 0 for path in project.glob(".ray-token-*")
    )
    wait(lambda: any(isinstance(event, SessionEnded) for event in read_log(folder / LOG_FILE)), 150, project)
    ended = [event.reason for event in read_log(folder / LOG_FILE) if isinstance(event, SessionEnded)]
    assert ended == ["interrupted"]
    # SLURM keeps a requeued job back for two minutes; an administrator, as we are, may say that it is to start now.
    wait(lambda: "PENDING" in output(slurm, "scontrol", "show", "job", job), 90, project)
    output(slurm, "scontrol", "update", f"JobId={job}", "StartTime=now", "TimeLimit=10")
    wait(lambda: sum(isinstance(event, SessionEnded) for event in read_log(folder / LOG_FILE)) == 2, 250, project)
    events = read_log(folder / LOG_FILE)
    assert [event.reason for event in events if isinstance(event, SessionEnded)] == ["interrupted", "finished"]
    assert sum(isinstance(event, SessionStarted) for event in events) == 2
    check_whole(folder, 12)
    wait(lambda: not list(project.glob(".ray-token-*")), 60, project)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def output(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def wait(condition: object, seconds: float, logs: Path) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            said = "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(logs.glob("*.log")))
            pytest.fail(f"waited in vain for {seconds:.0f} s\n{said}")
        time.sleep(0.5)
