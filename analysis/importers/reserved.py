"""Names that our own tables use, and what becomes of a foreign setting or metric of that name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from analysis.importers.foreign import ForeignStudy, ForeignTrial
from analysis.tables import BEST_TABLE_COLUMNS

#: Columns of `trials_frame` and `best_table`, which a setting must not hide.
OF_TRIALS = frozenset(
    {
        "trial", "state", "source", "attempts", "epochs", "redone_epochs", "best_epoch", "val_acc", "val_acc_low",
        "val_acc_high", "val_loss", "last_val_acc", "ended_at", "end_reason", "hours", "cpu_hours", "gpu_hours",
        "suggested", "seed", "run", *BEST_TABLE_COLUMNS,
    }
)  # fmt: skip

#: Columns of `epochs_frame` that are no metrics.
OF_EPOCHS = frozenset(
    {"trial", "epoch", "attempt", "action", "rung", "rung_rank", "rung_peers", "rung_cutoff", "time"}
)  # fmt: skip


def with_free_names(study: ForeignStudy) -> ForeignStudy:
    """`study` with settings and metrics of reserved names renamed to setting_NAME and metric_NAME, which is noted."""
    settings = {name for trial in study.trials for name in trial.settings if name in OF_TRIALS}
    metrics = {name for trial in study.trials for epoch in trial.epochs for name in epoch.metrics if name in OF_EPOCHS}
    if not settings and not metrics:
        return study
    to_setting = {name: f"setting_{name}" for name in sorted(settings)}
    to_metric = {name: f"metric_{name}" for name in sorted(metrics)}
    notes = [f"{old!r} is kept as {new!r}: our tables use the name" for old, new in (to_setting | to_metric).items()]
    trials = tuple(_renamed(trial, to_setting, to_metric) for trial in study.trials)
    space = {to_setting.get(name, name): dimension for name, dimension in study.space.items()}
    return replace(study, trials=trials, space=space, notes=(*study.notes, *notes))


def _renamed(trial: ForeignTrial, to_setting: Mapping[str, str], to_metric: Mapping[str, str]) -> ForeignTrial:
    settings = {to_setting.get(name, name): value for name, value in trial.settings.items()}
    epochs = tuple(
        replace(epoch, metrics={to_metric.get(name, name): value for name, value in epoch.metrics.items()})
        for epoch in trial.epochs
    )
    return replace(trial, settings=settings, epochs=epochs)
