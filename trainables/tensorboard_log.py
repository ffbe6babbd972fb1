"""A run as TensorBoard shows it: a curve per metric, and the histogram of g."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from trainables.training import EpochReport, Evaluation


class TensorBoardLog:
    """Event files for TensorBoard, flushed after each epoch and closed with the block.

    Args:
        path: the folder of the event files.
        epoch: epochs done before; what an earlier session wrote beyond it is hidden.
    """

    def __init__(self, path: Path, epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  slow to import

        self._writer = SummaryWriter(str(path), purge_step=epoch + 1)

    def write(self, report: EpochReport, validation: Evaluation | None) -> None:
        """The numbers of an epoch, and the distribution of g over the validation images."""
        for name, value in report.metrics().items():
            self._writer.add_scalar(name, value, report.epoch)
        if validation is not None and validation.g is not None:
            self._writer.add_histogram("g", validation.g, report.epoch)
        self._writer.flush()

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
