"""Small data sets of every layout, for the tests of the data sources."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainables.config import TrialConfig, trial_config

Arrays = dict[str, np.ndarray[Any, Any]]


def config(data: str, **settings: object) -> TrialConfig:
    return trial_config({"data": data, **settings})


def npz_arrays(channels: int = 3, parts: Mapping[str, int] | None = None) -> Arrays:
    rng = np.random.default_rng(0)
    shape = (10, 12) if channels == 0 else (10, 12, channels)
    arrays: Arrays = {}
    for part, count in (parts or {"train": 40, "val": 12, "test": 16}).items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 4)[:, None]
    return arrays


def write_npz(folder: Path, arrays: Mapping[str, Any]) -> str:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return f"npz:{path}"


def write_images(folder: Path, classes: Mapping[str, int], size: tuple[int, int] = (12, 10)) -> None:
    rng = np.random.default_rng(len(folder.name))
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index:03}.png")


def folder_with_parts(tmp_path: Path) -> str:
    for part, count in (("train", 8), ("val", 3), ("test", 4)):
        write_images(tmp_path / part, {"ant": count, "bee": count, "cow": count})
    return f"folder:{tmp_path}"


def whole_folder(tmp_path: Path) -> str:
    write_images(tmp_path, {"ant": 10, "bee": 20, "cow": 15})
    (tmp_path / ".cache").mkdir()
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
    return f"folder:{tmp_path}"


def cifar_files(base: Path, kind: str) -> None:
    """The published batch files in miniature."""
    rng = np.random.default_rng(0)
    layout = {
        "cifar10": (
            "cifar-10-batches-py",
            [f"data_batch_{i}" for i in range(1, 6)],
            "test_batch",
            "labels",
            10,
        ),
        "cifar100": ("cifar-100-python", ["train"], "test", "fine_labels", 100),
    }
    folder, train, test, key, classes = layout[kind]
    (base / folder).mkdir(parents=True)
    count = 20 if kind == "cifar10" else 400
    for name in [*train, test]:
        batch = {"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8)}
        (base / folder / name).write_bytes(pickle.dumps({**batch, key: [i % classes for i in range(count)]}))
    names = {"label_names" if classes == 10 else "fine_label_names": [f"class {i}" for i in range(classes)]}
    (base / folder / ("batches.meta" if classes == 10 else "meta")).write_bytes(pickle.dumps(names))
