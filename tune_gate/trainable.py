"""The trainable of a study: the class that its specification names."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ray import tune

from analysis.copies import origin_of
from tune_gate.errors import SpecError
from tune_gate.mirrored_trainable import mirrored
from tune_gate.spec import StudySpec


def trainable_class(name: str) -> Any:
    """The trainable at `name`, as MODULE:CLASS: a `ray.tune.Trainable` that is configured by work orders.

    It has, besides, `check(settings)`, which raises where no trial could run; and for confirmations `measure(order)`,
    which gives the metrics of a trial's last checkpoint on the test split.

    Raises:
        SpecError: there is no such module or class.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"trainable {name!r}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, tune.Trainable) and hasattr(found, "check")):
        raise SpecError(f"trainable {name!r} is no ray.tune.Trainable with a `check(settings)`")
    return found


def check_probing(trainable: Any, spec: StudySpec) -> None:
    """See that the study's trials can be probed where it wants that.

    Raises:
        SpecError: they cannot: `trainable` does not say so by `takes_probes = True`.
    """
    if spec.scheduler.probe is not None and not getattr(trainable, "takes_probes", False):
        raise SpecError(f"trainable {spec.trainable!r} takes no probes; leave 'scheduler.probe' out")


def trainable_of(spec: StudySpec, study: Path) -> Any:
    """The trainable of the study in `study`, which keeps its checkpoints where that study lies."""
    trainable, origin = trainable_class(spec.trainable), origin_of(study)
    return trainable if origin is None else mirrored(trainable, origin)
