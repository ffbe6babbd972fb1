"""The final measurement of a confirmation's trial: its last checkpoint, on the test split."""

from __future__ import annotations

from trainables.checkpoints import CheckpointFolder, load_model
from trainables.config import trial_config
from trainables.device import device_for
from trainables.errors import CheckpointError
from trainables.evaluation import evaluate_checkpoint
from trainables.work import WorkOrder


def measure_on_test(order: WorkOrder) -> dict[str, float]:
    """What the test split says of a trial's model after its last epoch, `order.from_epoch`.

    The last epoch's model and not the best on validation: then nothing was chosen, and nothing is left to correct for.

    Returns:
        test_acc, a fraction; test_loss, mean cross-entropy in nats; test_images; with a gate also test_acc_shallow and
        test_acc_deep, those of its two exits, and test_gate_mean, the mean of g.

    Raises:
        CheckpointError: the checkpoint is gone or damaged, or is that of another configuration.
        DataError: the test split cannot be read.
    """
    path = next(CheckpointFolder(order.checkpoints).newest_first(order.from_epoch), None)
    if path is None:
        raise CheckpointError(f"there is no checkpoint of epoch {order.from_epoch} in {order.folder}")
    wanted = trial_config(order.settings)
    saved = load_model(path)
    if saved.epoch != order.from_epoch:
        raise CheckpointError(f"{path} is of epoch {saved.epoch}, and that of epoch {order.from_epoch} is gone")
    for name, value in wanted:
        if name != "data_dir" and getattr(saved.config, name) != value:
            raise CheckpointError(f"{path} was made with {name} {getattr(saved.config, name)!r}, not {value!r}")
    found = evaluate_checkpoint(path, {"data_dir": wanted.data_dir}, device_for(order.cpus, order.gpus))
    metrics = {"test_acc": found.result.accuracy, "test_loss": found.result.loss, "test_images": float(len(found.test))}
    if found.result.g is not None:
        metrics |= {
            "test_acc_shallow": found.result.shallow_accuracy,
            "test_acc_deep": found.result.deep_accuracy,
            "test_gate_mean": found.result.g.mean().item(),
        }
    return metrics
