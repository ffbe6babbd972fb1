"""What a search would cost, from one measured epoch, before it is spent."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tune_gate.progress import duration
from tune_gate.schedulers import survivors_of
from tune_gate.spec import StudySpec


@dataclass(frozen=True, slots=True)
class RungPlan:
    """How many trials train from one rung to the next."""

    from_epoch: int  # exclusive
    to_epoch: int  # inclusive
    trials: float  # expected

    @property
    def epochs(self) -> float:
        """Epochs that these trials train in this stretch, together."""
        return self.trials * (self.to_epoch - self.from_epoch)


def rung_plan(spec: StudySpec) -> list[RungPlan]:
    """The stretches between rungs, with the trials expected on each.

    A share 1/eta of the trials passes a rung, if they arrive in random order; asynchronous halving lets early arrivals
    pass more easily, so a short search passes somewhat more.
    """
    plan = []
    trials, start = float(spec.trials), 0
    for milestone in (*spec.milestones, spec.epochs):
        plan.append(RungPlan(start, milestone, trials))
        trials, start = _expected_survivors(trials, spec.scheduler.reduction_factor), milestone
    return plan


def _expected_survivors(trials: float, reduction_factor: int) -> float:
    """Of `trials` that arrive in random order, how many pass: the n-th with the share of survivors among n."""
    return sum(survivors_of(n, reduction_factor) / n for n in range(1, round(trials) + 1))


def plan_view(spec: StudySpec) -> Group:
    """The plan for a terminal; measures an epoch."""
    from trainables.measure import epoch_seconds  # noqa: PLC0415  torch is slow to import

    started = time.perf_counter()
    seconds = epoch_seconds(spec.base_config, spec.resources.cpus, spec.resources.gpus)
    measured = time.perf_counter() - started
    plan = rung_plan(spec)
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
    return Group(
        Text.assemble((spec.name, "bold"), f"  {spec.trials} trials of up to {spec.epochs} epochs"),
        table,
        Text(
            f"about {epochs:.0f} epochs, {epochs * seconds * amount / 3600:.2g} {device}-hours "
            f"({epochs / full:.0%} of the {full} epochs without early stopping)"
        ),
        Text(
            f"measured: {seconds:.2f} s for an epoch of the default configuration (in {duration(measured)}); "
            "trials that run side by side on shared cores may be slower"
        ),
    )
