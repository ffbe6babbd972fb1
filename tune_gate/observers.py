"""Who else hears of a search while it runs: TensorBoard, MLflow, Weights & Biases, by Ray's own callbacks.

They are told what the log has been told. A new one is one entry in `OBSERVERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from analysis.names import unknown_name
from tune_gate.errors import SpecError
from tune_gate.failures import last_line


@dataclass(frozen=True, slots=True)
class Observer:
    """One of Ray's callbacks, and the package that it needs."""

    package: str
    module: str
    name: str


OBSERVERS: Mapping[str, Observer] = MappingProxyType(
    {
        "tensorboard": Observer("tensorboardX", "ray.tune.logger", "TBXLoggerCallback"),
        "mlflow": Observer("mlflow", "ray.air.integrations.mlflow", "MLflowLoggerCallback"),
        "wandb": Observer("wandb", "ray.air.integrations.wandb", "WandbLoggerCallback"),
    }
)


def callbacks(observers: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Ray's callbacks for `observers` of a study: the name of each, with the arguments that Ray's own takes.

    Raises:
        SpecError: there is no such observer, its package is missing, or it does not take these arguments.
    """
    return [_callback(name, arguments) for name, arguments in observers.items()]


def _callback(name: str, arguments: Mapping[str, Any]) -> Any:
    if name not in OBSERVERS:
        raise SpecError(str(unknown_name("observer", name, OBSERVERS)))
    observer = OBSERVERS[name]
    if find_spec(observer.package) is None:
        raise SpecError(f"observer {name!r} needs the package {observer.package}: pip install {observer.package}")
    kind = getattr(importlib.import_module(observer.module), observer.name)
    try:
        return _told_by_name(kind, name)(**arguments)
    except TypeError as error:
        raise SpecError(f"observer {name!r}: {error}") from None


def _told_by_name(kind: Any, name: str) -> Any:
    """`kind`, whose failure to set itself up (a missing key, no server) is the study's mistake and not the driver's."""

    class Told(kind):  # type: ignore[misc]  # a class that is known only now
        def setup(self, *arguments: Any, **options: Any) -> None:
            try:
                super().setup(*arguments, **options)
            except Exception as error:
                raise SpecError(f"observer {name!r} cannot begin: {last_line(str(error))}") from error

    Told.__name__ = kind.__name__
    return Told
