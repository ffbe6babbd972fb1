"""Every kind of bad input is one clear line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from data_samples import (
    cifar_files,
    config,
    npz_arrays,
    write_images,
    write_npz,
)

from trainables.config import TrialConfig
from trainables.data import check_data, load_test_data, loading
from trainables.errors import DataError


@pytest.fixture(autouse=True)
def _nothing_cached() -> None:
    loading._load_clean.cache_clear()
    loading._load_test.cache_clear()


def assert_fails(settings: TrialConfig, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        load_test_data(settings)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("cifar11", ("unknown data set 'cifar11'", "did you mean 'cifar10'")),
        ("npz", ("lacks a path", "npz:FILE.npz")),
        ("folder:", ("lacks a path", "folder:FOLDER")),
        ("digits:8", ("'digits' takes nothing after it",)),
        ("npz:/nowhere/x.npz", ("/nowhere/x.npz: no such file",)),
        ("folder:/nowhere", ("/nowhere: no such folder",)),
    ],
)
def test_wrong_names_and_paths(data: str, parts: tuple[str, ...]) -> None:
    assert_fails(config(data), *parts)


def uint8(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, dtype=np.uint8)


BAD_ARRAYS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "float images": ({"train_images": np.zeros((40, 8, 8))}, ("'train_images'", "float64", "uint8")),
    "channels first": ({"train_images": uint8(40, 3, 10, 12)}, ("'train_images'", "(40, 3, 10, 12)")),
    "two channels": ({"val_images": uint8(12, 10, 12, 2)}, ("'val_images'", "C of 1 or 3")),
    "flat images": ({"train_images": uint8(40, 120)}, ("'train_images'", "(40, 120)")),
    "no images": ({"train_images": uint8(0, 10, 12)}, ("'train_images'", "no images")),
    "float labels": ({"train_labels": np.zeros(40)}, ("'train_labels'", "float64", "integers")),
    "text labels": ({"val_labels": np.array(["a"] * 12)}, ("'val_labels'", "integers")),
    "several labels": ({"train_labels": np.zeros((40, 14), int)}, ("'train_labels'", "one label per image")),
    "negative label": ({"train_labels": np.arange(40) - 1}, ("'train_labels'", "label -1")),
    "absurd label": ({"train_labels": np.arange(40) * 1000}, ("label 39000", "only 40 training images")),
    "huge label": (
        {"train_labels": np.full(40, 2**64 - 1, np.uint64)},
        ("'train_labels'", "18446744073709551615"),
    ),
    "count": ({"train_labels": np.zeros(39, int)}, ("39 labels", "'train_images' has 40 images")),
    "one class": ({"train_labels": np.zeros(40, int), "val_labels": np.zeros(12, int)}, ("1 class", "2")),
    "val size": ({"val_images": uint8(12, 9, 9, 3)}, ("validation part", "(3, 9, 9)", "(3, 10, 12)")),
    "test size": ({"test_images": uint8(16, 9, 9, 3)}, ("test part", "(3, 9, 9)", "(3, 10, 12)")),
    "test label": ({"test_labels": np.full(16, 4)}, ("test part", "label 4 is out of range", "4 classes")),
    "objects": ({"train_labels": np.array([{}] * 40)}, ("'train_labels' cannot be read", "Object arrays")),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays_are_named(case: str, tmp_path: Path) -> None:
    wrong, parts = BAD_ARRAYS[case]
    assert_fails(config(write_npz(tmp_path, {**npz_arrays(), **wrong})), "data.npz", *parts)


@pytest.mark.parametrize("key", ["train_images", "train_labels", "val_images", "val_labels", "test_images"])
def test_a_missing_key_is_named_with_those_present(key: str, tmp_path: Path) -> None:
    arrays = npz_arrays()
    del arrays[key]
    assert_fails(config(write_npz(tmp_path, arrays)), f"key {key!r} is missing", *arrays)


def test_a_broken_test_part_does_not_disturb_a_search(tmp_path: Path) -> None:
    check_data(config(write_npz(tmp_path, {**npz_arrays(), "test_labels": np.array([{}])})))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_archive(share: float, tmp_path: Path) -> None:
    data = write_npz(tmp_path, npz_arrays())
    path = tmp_path / "data.npz"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert_fails(config(data), str(path), "not a complete .npz file")


def test_an_altered_archive_fails_its_checksum(tmp_path: Path) -> None:
    data = write_npz(tmp_path, npz_arrays())
    path = tmp_path / "data.npz"
    damaged = bytearray(path.read_bytes())
    damaged[2000] ^= 255
    path.write_bytes(damaged)
    assert_fails(config(data), str(path), "'train_images' cannot be read", "CRC")


def test_a_single_array_and_a_pickle_are_no_archives(tmp_path: Path) -> None:
    np.save(tmp_path / "single.npy", uint8(3, 3))
    assert_fails(config(f"npz:{tmp_path / 'single.npy'}"), "a single array")
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps({}))
    assert_fails(config(f"npz:{tmp_path / 'pickled.npz'}"), "not a complete .npz file")


def test_an_npz_class_too_small_to_split_names_the_data(tmp_path: Path) -> None:
    arrays = {**npz_arrays(parts={"train": 40}), "train_labels": np.minimum(np.arange(40), 1)}
    data = write_npz(tmp_path, arrays)
    assert_fails(config(data), data, "class 0 has 1 sample")


def test_an_empty_validation_part_names_the_data(tmp_path: Path) -> None:
    data = write_npz(tmp_path, npz_arrays(parts={"train": 40, "test": 8}))
    assert_fails(config(data, split="published", val_fraction=0.01), data, "val_fraction 0.01 of 40 samples")


def test_folder_errors(tmp_path: Path) -> None:
    root = tmp_path / "images"
    data = config(f"folder:{root}")
    write_images(root, {"ant": 3})
    assert_fails(data, f"{root}: 1 subfolders", "at least 2")
    (root / "bee").mkdir()
    assert_fails(data, f"{root / 'bee'}: no images here")
    write_images(root, {"cow": 3}, size=(9, 7))
    (root / "bee").rmdir()
    assert_fails(data, str(root / "cow"), "9x7 pixels", "12x10", "resize")
    (root / "ant" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n truncated")
    (root / "ant" / "001.png").write_bytes(b"")
    (root / "ant" / "002.png").write_text("no image")
    assert_fails(data, str(root / "ant"), "not a readable image")


def test_a_class_too_small_to_split_is_an_error(tmp_path: Path) -> None:
    write_images(tmp_path, {"ant": 3, "bee": 2})
    assert_fails(config(f"folder:{tmp_path}"), f"{tmp_path / 'bee'}: 2 images", "3")


def test_folder_layout_errors(tmp_path: Path) -> None:
    data = config(f"folder:{tmp_path}")
    write_images(tmp_path / "val", {"ant": 2, "yak": 2})
    assert_fails(data, "has val/ but no train/")
    write_images(tmp_path / "train", {"ant": 2, "bee": 2})
    assert_fails(data, str(tmp_path / "val" / "yak"), "no training class", "ant, bee")
    (tmp_path / "val" / "yak").rename(tmp_path / "val" / "bee")
    check_data(data)
    assert_fails(data, f"{tmp_path}: no subfolder test/")


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
def test_cifar_offline_says_what_was_tried_and_where_to_put_the_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError("name resolution failed")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", no_network)
    data_dir = tmp_path / "new" / "downloads"
    archive = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}[kind]
    settings = config(kind, data_dir=str(data_dir))
    assert_fails(settings, f"unpack {archive} in {data_dir}", "https://www.cs.toronto.edu", "name resolution failed")
    assert list(data_dir.iterdir()) == []


def test_cifar_download_lands_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(_url: str, root: str, **_: object) -> None:
        cifar_files(Path(root), "cifar10")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", download)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, *_: Path(path).is_file())
    check_data(config("cifar10", data_dir=str(tmp_path / "downloads")))
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["cifar-10-batches-py"]


def test_damaged_cifar_files_are_named(tmp_path: Path) -> None:
    cifar_files(tmp_path, "cifar10")  # not the published checksums
    assert_fails(config("cifar10", data_dir=str(tmp_path)), "cifar-10-batches-py", "damaged", "remove the folder")
