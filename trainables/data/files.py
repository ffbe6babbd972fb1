"""Data sets in the user's own files: NumPy archives in the MedMNIST layout, and folders of images."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from trainables.data.checks import Array, split_from_arrays
from trainables.data.contract import Origin, RawData, Split
from trainables.data.splits import stratified_split
from trainables.errors import DataError

#: The test part of a folder without test/: the same for every split_seed, so no search ever trains on it.
TEST_FRACTION = 0.2
TEST_SEED = 0

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


# --- npz:PATH ---

# What numpy and zipfile raise for a truncated, altered or pickled archive (RuntimeError: odd zip flags).
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError)


def load_npz(origin: Origin) -> RawData:
    """Reads {train,val}_{images,labels}; without val_images, the validation part is split from the rest.

    Images are (N, H, W) or (N, H, W, C) uint8 with C of 1 or 3; labels (N,) or (N, 1) integers from 0.

    Raises:
        DataError: the file or a key is missing, damaged, or of another shape or type.
    """
    with _open_npz(origin.path) as archive:
        train = _npz_split(archive, origin.path, "train")
        has_val = "val_images" in archive or "val_labels" in archive
        val = _npz_split(archive, origin.path, "val") if has_val else None
    largest = max(int(part.labels.max()) for part in (train, val) if part is not None)
    if largest >= len(train):
        raise DataError(
            f"{origin.path}: label {largest} with only {len(train)} training images; number the classes 0, 1, 2, ..."
        )
    classes = tuple(str(label) for label in range(largest + 1))
    return RawData(train, val, classes, mean=None, std=None, augment="crop-flip")


def load_npz_test(origin: Origin) -> Split:
    """Reads test_images and test_labels; shapes and errors as in `load_npz`."""
    with _open_npz(origin.path) as archive:
        return _npz_split(archive, origin.path, "test")


def _open_npz(path: Path) -> np.lib.npyio.NpzFile:
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of an .npz file after 'npz:'")
    try:
        archive = np.load(path, allow_pickle=False)
    except _DAMAGE as error:
        raise DataError(f"{path}: not a complete .npz file ({_first_line(error)}); write it again") from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: a single array, not an .npz archive; write it with numpy.savez")
    return archive


def _npz_split(archive: np.lib.npyio.NpzFile, path: Path, part: str) -> Split:
    images_key, labels_key = f"{part}_images", f"{part}_labels"
    return split_from_arrays(
        _npz_array(archive, path, images_key),
        _npz_array(archive, path, labels_key),
        f"{path}: {images_key!r}",
        f"{path}: {labels_key!r}",
    )


def _npz_array(archive: np.lib.npyio.NpzFile, path: Path, key: str) -> Array:
    if key not in archive:
        raise DataError(f"{path}: key {key!r} is missing; the file has {', '.join(sorted(archive)) or 'none'}")
    try:
        array: Array = archive[key]
    except _DAMAGE as error:
        raise DataError(
            f"{path}: key {key!r} cannot be read ({_first_line(error)}); "
            "write the file again, with plain numeric arrays"
        ) from None
    return array


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# --- folder:PATH ---


def load_folder(origin: Origin) -> RawData:
    """Reads one folder of images per class, under train/ and val/ where train/ exists.

    Without train/, the folder's own subfolders are the classes; a fixed fifth of each is kept for the test.
    Classes are numbered by name. Every image is converted to RGB; all have the same size.

    Raises:
        DataError: a folder is missing or empty, an image is damaged or of another size, or a class has
            fewer than the three images that splitting takes.
    """
    root = origin.path
    classes = _class_names(_train_root(root))
    if not (root / "train").is_dir():
        files, labels = _list_splittable(root, classes)
        kept, _ = stratified_split(labels, TEST_FRACTION, TEST_SEED)
        return _folder_data(_read_selected(files, labels, kept), None, classes)
    train = _read_images(*_list_images(root / "train", classes))
    val = _read_images(*_list_images(root / "val", classes)) if (root / "val").is_dir() else None
    return _folder_data(train, val, classes)


def load_folder_test(origin: Origin) -> Split:
    """Reads test/, or the fixed fifth that `load_folder` left out; errors as there."""
    root = origin.path
    classes = _class_names(_train_root(root))
    if (root / "test").is_dir():
        return _read_images(*_list_images(root / "test", classes))
    if (root / "train").is_dir():
        raise DataError(f"{root}: no subfolder test/ beside train/; add one to measure test accuracy")
    files, labels = _list_splittable(root, classes)
    _, held_out = stratified_split(labels, TEST_FRACTION, TEST_SEED)
    return _read_selected(files, labels, held_out)


def _folder_data(train: Split, val: Split | None, classes: tuple[str, ...]) -> RawData:
    return RawData(train, val, classes, mean=None, std=None, augment="crop-flip")


def _train_root(root: Path) -> Path:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give a folder with one subfolder per class after 'folder:'")
    if (root / "train").is_dir():
        return root / "train"
    for part in ("val", "test"):
        if (root / part).is_dir():
            raise DataError(f"{root}: has {part}/ but no train/; put the training classes under train/")
    return root


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if len(names) < 2:
        raise DataError(f"{folder}: {len(names)} subfolders; one per class is wanted, at least 2")
    return names


def _list_images(folder: Path, classes: Sequence[str]) -> tuple[list[Path], torch.Tensor]:
    """The image files under `folder`, by class and name, and their labels, (N,) int64."""
    files: list[Path] = []
    labels: list[int] = []
    for name in _class_names(folder):
        if name not in classes:
            raise DataError(f"{folder / name}: no training class has this name; known: {', '.join(classes)}")
        found = sorted(path for path in (folder / name).iterdir() if _is_image(path))
        if not found:
            raise DataError(f"{folder / name}: no images here (looked for {' '.join(sorted(IMAGE_SUFFIXES))})")
        files += found
        labels += [classes.index(name)] * len(found)
    return files, torch.tensor(labels)


def _list_splittable(root: Path, classes: Sequence[str]) -> tuple[list[Path], torch.Tensor]:
    """As `_list_images`; every class has an image for each of training, validation and test."""
    files, labels = _list_images(root, classes)
    for name, count in zip(classes, labels.bincount().tolist(), strict=True):
        if count < 3:
            raise DataError(f"{root / name}: {count} images; training, validation and test need one each, 3")
    return files, labels


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _read_selected(files: Sequence[Path], labels: torch.Tensor, indices: torch.Tensor) -> Split:
    return _read_images([files[index] for index in indices.tolist()], labels[indices])


def _read_images(files: Sequence[Path], labels: torch.Tensor) -> Split:
    first = _read_image(files[0])
    images = np.empty((len(files), *first.shape), dtype=np.uint8)
    for position, file in enumerate(files):
        image = _read_image(file)
        if image.shape != first.shape:
            raise DataError(
                f"{file}: {image.shape[1]}x{image.shape[0]} pixels, but {files[0]} has "
                f"{first.shape[1]}x{first.shape[0]}; resize the images to one size"
            )
        images[position] = image
    return split_from_arrays(images, labels.numpy(), str(files[0].parent.parent), str(files[0].parent.parent))


def _read_image(file: Path) -> Array:
    """(H, W, 3) uint8."""
    from PIL import Image  # noqa: PLC0415  only folders need it

    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not a readable image ({_first_line(error)}); replace or remove it") from None
