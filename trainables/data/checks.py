"""The checks that every data set passes before it is used; each failure is one line for the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.data.contract import RawData, Split
from trainables.errors import DataError

Array = npt.NDArray[Any]


def split_from_arrays(images: Array, labels: Array, images_at: str, labels_at: str) -> Split:
    """A `Split` of arrays as they lie in a file.

    Args:
        images: (N, H, W) or (N, H, W, C) uint8 with C of 1 or 3.
        labels: (N,) or (N, 1) integers, from 0.
        images_at: where the images come from, for messages.
        labels_at: where the labels come from, for messages.

    Raises:
        DataError: a shape or type is another, a label is negative, or the counts differ.
    """
    _check_images(images, images_at)
    flat = _flat_labels(labels, labels_at)
    if len(images) != len(flat):
        raise DataError(f"{labels_at} has {len(flat)} labels, but {images_at} has {len(images)} images")
    channels_last = images if images.ndim == 4 else images[..., None]
    channels_first = np.ascontiguousarray(channels_last.transpose(0, 3, 1, 2))
    return Split(torch.from_numpy(channels_first), torch.from_numpy(flat.astype(np.int64)))


def _check_images(images: Array, at: str) -> None:
    shape = tuple(images.shape)
    if images.dtype != np.uint8:
        raise DataError(f"{at} is of type {images.dtype}; store the pixels as uint8, 0 to 255")
    if images.ndim not in (3, 4) or (images.ndim == 4 and shape[3] not in (1, 3)):
        raise DataError(f"{at} has shape {shape}; (N, H, W) or (N, H, W, C) with C of 1 or 3 is wanted")
    if 0 in shape:
        raise DataError(f"{at} has shape {shape}: it holds no images")


def _flat_labels(labels: Array, at: str) -> Array:
    shape = tuple(labels.shape)
    if labels.dtype.kind not in "iu":
        raise DataError(f"{at} is of type {labels.dtype}; store the labels as integers, from 0")
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and shape[1] != 1):
        raise DataError(f"{at} has shape {shape}; one label per image is wanted, (N,) or (N, 1)")
    flat = labels.reshape(-1)
    if len(flat) and (flat.min() < 0 or flat.max() > np.iinfo(np.int64).max):
        wrong = int(flat.min()) if flat.min() < 0 else int(flat.max())
        raise DataError(f"{at} holds the label {wrong}; labels count from 0")
    return flat


def check_raw(raw: RawData, name: str) -> None:
    """Whether the parts of `raw`, read from data `name`, fit together.

    Raises:
        DataError: fewer than two classes, an empty part, images of two shapes, or a label without a class.
    """
    if len(raw.classes) < 2:
        raise DataError(f"data {name!r} has {len(raw.classes)} class; a classifier needs at least 2")
    check_part(raw.train, raw.train, raw.classes, f"training part of data {name!r}")
    if raw.val is not None:
        check_part(raw.val, raw.train, raw.classes, f"validation part of data {name!r}")


def check_part(part: Split, train: Split, classes: tuple[str, ...], at: str) -> None:
    """Whether `part` has samples, the image shape of `train`, and only labels among `classes`.

    Raises:
        DataError: it does not; the message starts with `at`.
    """
    if len(part) == 0:
        raise DataError(f"{at} is empty")
    shape, wanted = tuple(part.images.shape[1:]), tuple(train.images.shape[1:])
    if shape != wanted:
        raise DataError(f"{at}: images have (C, H, W) = {shape}, those of the training part {wanted}")
    low, high = int(part.labels.min()), int(part.labels.max())
    if low < 0 or high >= len(classes):
        wrong = low if low < 0 else high
        raise DataError(
            f"{at}: label {wrong} is out of range; there are {len(classes)} classes, 0 to {len(classes) - 1}"
        )
