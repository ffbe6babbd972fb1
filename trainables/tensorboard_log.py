"""What TensorBoard shows of a run: one scalar per metric and the histogram of g, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.training import EpochReport, Evaluation

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

#: Metrics of the optimisation, not of the result; TensorBoard groups what shares the part before the slash.
_GROUPS = {"lr": "rates", "lr_gate": "rates", "seconds": "time", "images_per_second": "time"}


class TensorBoardLog:
    """Event files that are complete after each epoch, whatever happens next."""

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def add(self, report: EpochReport, validation: Evaluation | None) -> None:
        """Write an epoch's metrics, and g over the validation images where there is a gate, at step `report.epoch`."""
        for name, value in report.metrics().items():
            self._writer.add_scalar(f"{_GROUPS.get(name, 'metrics')}/{name}", value, report.epoch)
        if validation is not None and validation.g is not None:
            finite = validation.g[validation.g.isfinite()]  # TensorBoard refuses a histogram of NaN, and of nothing
            if len(finite):
                self._writer.add_histogram("gate/g", finite.numpy(), report.epoch)
        self._writer.flush()


@contextmanager
def open_tensorboard(folder: Path, done: int) -> Iterator[TensorBoardLog]:
    """A log in `folder` for the epochs after `done`; what earlier sessions logged of those epochs is void.

    Raises:
        OSError: the folder cannot be written.
    """
    # tensorboard takes a second to import, and searches do without it
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

    with SummaryWriter(str(folder), purge_step=done + 1 if done else None) as writer:
        yield TensorBoardLog(writer)
