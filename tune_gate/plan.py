"""What a search would cost, from one measured epoch, before it is spent."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tune_gate.budget import current_budget
from tune_gate.dotted import with_changes
from tune_gate.expectation import stretches
from tune_gate.packing_here import choose_here, question, room_here
from tune_gate.progress import duration
from tune_gate.resources import ResourceSettings
from tune_gate.retention import kept_ones
from tune_gate.rung_check import rung_warnings
from tune_gate.spec import StudySpec, study_spec


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """What a study takes on the disk at most, bytes."""

    live: int  # checkpoints of trials that have not ended
    ended: int  # checkpoints of the best of the ended ones
    log: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.live + self.ended + self.log


def disk_plan(spec: StudySpec, checkpoint_bytes: int, slots: int, epochs: float) -> DiskPlan:
    """The largest that the study's folder grows.

    Args:
        spec: the study.
        checkpoint_bytes: of one saved state; a larger model of the space has larger ones.
        slots: trials that run at once.
        epochs: expected, over all trials.

    A trial keeps the newest `keep` states, its best model, and for each older state the model that was the best by
    then, which is mostly the same file: 2 * keep files at most. A trial that waits at a rung for its promotion is live.
    """
    of_trial = 2 * spec.checkpoints.keep * checkpoint_bytes
    live = spec.trials if spec.scheduler.kind == "promotion" else min(slots, spec.trials)
    log = spec.trials * _TRIAL_LINES_BYTES + epochs * _REPORT_LINE_BYTES
    return DiskPlan(live * of_trial, min(kept_ones(spec), spec.trials) * of_trial, round(log))


#: Of the lines of the log, those of a trial's beginning together, and that of an epoch with all its metrics.
_TRIAL_LINES_BYTES = 600
_REPORT_LINE_BYTES = 900


def plan_view(spec: StudySpec) -> Group:
    """The plan for a terminal; measures an epoch."""
    from trainables.measure import measure_epoch  # noqa: PLC0415  torch is slow to import

    spec, chosen = with_resources(spec)
    started = time.perf_counter()
    epoch = measure_epoch(spec.base_config, spec.resources.cpus, spec.resources.gpus)
    seconds = epoch.seconds
    measured = time.perf_counter() - started
    plan = stretches(spec.scheduler, current_budget(spec, ()))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("epochs", "trials", "epochs in all", "hours"):
        table.add_column(name, justify="right")
    for stretch in plan:
        table.add_row(
            f"{stretch.from_epoch + 1}-{stretch.to_epoch}",
            f"{stretch.trials:.1f}",
            f"{stretch.epochs:.0f}",
            f"{stretch.epochs * seconds / 3600:.2f}",
        )
    epochs = sum(stretch.epochs for stretch in plan)
    full = spec.trials * spec.epochs
    device = "GPU" if spec.resources.gpus else "CPU"
    amount = spec.resources.gpus or spec.resources.cpus
    disk = disk_plan(spec, epoch.checkpoint_bytes, _slots(spec.resources), epochs)
    return Group(
        Text.assemble((spec.name, "bold"), f"  {spec.trials} trials of up to {spec.epochs} epochs"),
        table,
        Text(
            f"about {epochs:.0f} epochs, {epochs * seconds * amount / 3600:.2g} {device}-hours "
            f"({epochs / full:.0%} of the {full} epochs without early stopping)"
        ),
        Text(
            f"at most {size_text(disk.total)} on disk: {size_text(disk.live)} for trials that have not ended, "
            f"{size_text(disk.ended)} for the best that have, {size_text(disk.log)} for the log (a checkpoint of the "
            f"default configuration has {size_text(epoch.checkpoint_bytes)})"
        ),
        Text(
            f"measured: {seconds:.2f} s for an epoch of the default configuration (in {duration(measured)}); "
            "trials that run side by side on shared cores may be slower"
        ),
        *(Text(f"resources: {line}") for line in chosen),
        *(Text(f"warning: {warning}", style="yellow") for warning in rung_warnings(spec)),
    )


def with_resources(spec: StudySpec) -> tuple[StudySpec, list[str]]:
    """`spec` with what it leaves to a measurement measured here, and what was chosen in words."""
    if not spec.resources.auto:
        return spec, []
    packing = choose_here(question(spec), room_here(spec.resources))
    return study_spec(with_changes(spec.model_dump(mode="json", exclude_unset=True), packing.settings())), [
        str(packing)
    ]


def _slots(resources: ResourceSettings) -> int:
    """How many trials run at once: as many as are allowed, else as this machine holds."""
    if resources.concurrency is not None:
        return resources.concurrency
    cpus = resources.local_cpus or len(os.sched_getaffinity(0))
    return max(1, int(cpus // resources.cpus))


def size_text(size: float) -> str:
    """A number of bytes in words, to two digits or the whole number."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, sum(size >= 1000**step for step in range(1, len(units))))
    amount = size / 1000**power
    return f"{amount:.0f} {units[power]}" if amount >= 10 or power == 0 else f"{amount:.1f} {units[power]}"
