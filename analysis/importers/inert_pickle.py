"""Pickles of others, read without running a line of their code: every class becomes an inert stand-in."""

from __future__ import annotations

import io
import pickle
from typing import Any


class Inert:
    """Stands in for an object of a class that is not imported; its state is in its attributes."""

    def __new__(cls, *_: object, **__: object) -> Inert:
        """Whatever arguments the pickle gives."""
        return super().__new__(cls)

    def __init__(self, *arguments: object, **_: object) -> None:
        self.arguments = arguments

    def __setitem__(self, *_: object) -> None:
        return None

    def append(self, _: object) -> None:
        """Items of stand-ins are dropped."""

    def extend(self, _: object) -> None:
        """Items of stand-ins are dropped."""

    def __hash__(self) -> int:
        return id(self)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return type(name.rsplit(".", 1)[-1], (Inert,), {"__module__": module})

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002
        return Inert()


def load_inert(data: bytes) -> Any:
    """The pickled value, with an `Inert` for each object that is no built-in container, number or text.

    Raises:
        ValueError: it is no pickle that can be read so.
    """
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # noqa: BLE001  damaged pickles raise anything
        raise ValueError(f"not a pickle that can be read: {error}") from None
