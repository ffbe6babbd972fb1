"""Every data source passes one conformance suite."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_samples import (
    cifar_files,
    config,
    folder_with_parts,
    npz_arrays,
    whole_folder,
    write_npz,
)
from PIL import Image

from trainables.augment import AUGMENTATIONS
from trainables.config import TrialConfig
from trainables.data import SOURCES, check_data, load_search_data, load_test_data, loading
from trainables.data.loading import channel_statistics


@pytest.fixture(autouse=True)
def _nothing_cached() -> None:
    loading._load_clean.cache_clear()
    loading._load_test.cache_clear()


OFFLINE: dict[str, Callable[[Path], str]] = {
    "digits": lambda _: "digits",
    "synthetic": lambda _: "synthetic",
    "npz-grey": lambda path: write_npz(path, npz_arrays(channels=0)),
    "npz-one-channel": lambda path: write_npz(path, npz_arrays(channels=1)),
    "npz-colour": lambda path: write_npz(path, npz_arrays()),
    "npz-without-val": lambda path: write_npz(path, npz_arrays(parts={"train": 40, "test": 8})),
    "folder-with-parts": folder_with_parts,
    "folder-whole": whole_folder,
    "cifar10": lambda _: "cifar10",
    "cifar100": lambda _: "cifar100",
}


@pytest.fixture(params=OFFLINE)
def offline(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialConfig:
    """A configuration of every kind of data set, its files in place."""
    data_dir = tmp_path / "downloads"
    if request.param.startswith("cifar"):
        cifar_files(data_dir, request.param)
        monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    home = tmp_path / "home"
    home.mkdir()
    return config(OFFLINE[request.param](home), data_dir=str(data_dir))


# --- conformance ---


def test_every_source_is_tried() -> None:
    assert {name.split("-")[0] for name in OFFLINE} == set(SOURCES)


def test_splits_have_the_promised_form(offline: TrialConfig) -> None:
    search, test = load_search_data(offline), load_test_data(offline)
    for part in (search.train, search.val, test):
        assert part.images.dtype == torch.uint8
        assert part.images.is_contiguous()
        assert part.images.shape == (len(part), *search.train.images.shape[1:])
        assert part.labels.dtype == torch.int64
        assert part.labels.shape == (len(part),)
        assert 0 <= part.labels.min() <= part.labels.max() < len(search.classes)
        assert len(part) > 0
    assert len(search.train) > len(search.val)
    channels = search.train.images.shape[1]
    assert channels in (1, 3)
    assert len(search.mean) == len(search.std) == channels
    assert all(0 < value < 1 for value in (*search.mean, *search.std))
    assert search.augment in AUGMENTATIONS
    assert len(set(search.classes)) == len(search.classes)
    assert search.true_labels is None
    assert search.noisy is None


def test_parts_share_no_image(offline: TrialConfig) -> None:
    search, test = load_search_data(offline), load_test_data(offline)
    sets = [{image.numpy().tobytes() for image in part.images} for part in (search.train, search.val, test)]
    overlap = len(sets[0] & sets[1]) + len(sets[0] & sets[2]) + len(sets[1] & sets[2])
    # No two of the 8x8 digits are equal either.
    assert overlap == 0


def test_loading_repeats_exactly(offline: TrialConfig) -> None:
    first, first_test = load_search_data(offline), load_test_data(offline)
    loading._load_clean.cache_clear()
    loading._load_test.cache_clear()
    second, second_test = load_search_data(offline), load_test_data(offline)
    pairs = [(first.train, second.train), (first.val, second.val), (first_test, second_test)]
    for one, other in pairs:
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_test_part_does_not_depend_on_the_split_seed(offline: TrialConfig) -> None:
    other = offline.model_copy(update={"split_seed": 1, "val_fraction": 0.3})
    test, again = load_test_data(offline), load_test_data(other)
    assert torch.equal(test.images, again.images)
    sets = [{image.numpy().tobytes() for image in load_search_data(c).train.images} for c in (offline, other)]
    held_out = {image.numpy().tobytes() for image in test.images}
    assert not held_out & (sets[0] | sets[1])


def test_a_search_never_opens_the_test_split(offline: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the test split was opened")

    monkeypatch.setattr(loading, "_load_test", forbidden)
    check_data(offline)
    load_search_data(offline)
    with pytest.raises(AssertionError):
        load_test_data(offline)


def test_trials_share_one_copy_of_the_images(offline: TrialConfig) -> None:
    first = load_search_data(offline)
    second = load_search_data(offline.model_copy(update={"lr": 0.2, "seed": 5, "label_noise": 0.2}))
    assert first.train.images is second.train.images
    assert first.val is second.val


def test_label_noise_marks_what_it_replaced(offline: TrialConfig) -> None:
    clean = load_search_data(offline)
    noisy = load_search_data(offline.model_copy(update={"label_noise": 0.25}))
    assert noisy.noisy is not None
    assert noisy.true_labels is not None
    assert torch.equal(noisy.true_labels, clean.train.labels)
    assert torch.equal(noisy.train.labels != noisy.true_labels, noisy.noisy)
    assert int(noisy.noisy.sum()) == round(0.25 * len(clean.train))
    assert torch.equal(noisy.val.labels, clean.val.labels)


def test_label_noise_is_one_for_all_trials_of_a_study() -> None:
    noise = [
        load_search_data(config("synthetic", label_noise=0.2, seed=seed, split_seed=split_seed)).train.labels
        for seed, split_seed in ((0, 0), (1, 0))
    ]
    assert torch.equal(*noise)


def test_search_data_move_as_a_whole_and_without_a_copy_where_they_lie() -> None:
    search = load_search_data(config("synthetic", label_noise=0.2))
    moved = search.to("meta")
    assert moved.true_labels is not None
    assert moved.noisy is not None
    tensors = [moved.train.images, moved.train.labels, moved.val.images, moved.val.labels]
    assert {tensor.device.type for tensor in [*tensors, moved.true_labels, moved.noisy]} == {"meta"}
    assert (moved.mean, moved.classes, moved.augment) == (search.mean, search.classes, search.augment)
    assert search.to("cpu").train.images.data_ptr() == search.train.images.data_ptr()


def test_augment_is_the_source_s_unless_set() -> None:
    assert load_search_data(config("digits")).augment == "crop"
    assert load_search_data(config("digits", augment="none")).augment == "none"


# --- particular sources ---


def test_digits_are_scaled_to_the_full_range() -> None:
    search, test = load_search_data(config("digits")), load_test_data(config("digits"))
    assert len(search.train) + len(search.val) + len(test) == 1797
    assert search.train.images.shape[1:] == (1, 8, 8)
    assert search.train.images.max() == 255
    assert len(set(search.train.images.flatten().tolist())) == 17


def test_synthetic_classes_can_be_learned_from_the_training_part() -> None:
    search = load_search_data(config("synthetic"))
    train, val = (part.images.float().flatten(1) for part in (search.train, search.val))
    centres = torch.stack([train[search.train.labels == label].mean(0) for label in range(10)])
    accuracy = (torch.cdist(val, centres).argmin(1) == search.val.labels).float().mean()
    assert accuracy > 0.8


def test_real_cifar_subset(shared: Path) -> None:
    settings = config(f"npz:{shared / 'data' / 'cifar10-6k.npz'}")
    search, test = load_search_data(settings), load_test_data(settings)
    assert len(search.train) + len(search.val) + len(test) == 7500
    assert search.train.images.shape[1:] == (3, 32, 32)
    assert search.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.02)
    with np.load(shared / "data" / "cifar10-6k.npz") as archive:
        assert np.array_equal(search.train.images[7].permute(1, 2, 0).numpy(), archive["train_images"][7])


def test_cifar_uses_the_published_statistics_and_class_names(tmp_path: Path, monkeypatch: Any) -> None:
    cifar_files(tmp_path, "cifar10")
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    search = load_search_data(config("cifar10", data_dir=str(tmp_path), split="published"))
    assert (search.mean, search.std) == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert search.augment == "crop-flip"
    assert search.classes[3] == "class 3"
    assert (len(search.train), len(search.val)) == (90, 10)


def test_folder_labels_follow_the_class_names(tmp_path: Path) -> None:
    search = load_search_data(config(folder_with_parts(tmp_path)))
    assert search.classes == ("ant", "bee", "cow")
    wanted = np.asarray(Image.open(tmp_path / "train" / "bee" / "002.png"))
    assert np.array_equal(search.train.images[8 + 2].permute(1, 2, 0).numpy(), wanted)
    assert search.train.labels[8 + 2] == 1


def test_channel_statistics_equal_the_direct_computation() -> None:
    images = load_search_data(config("synthetic")).train.images
    mean, std = channel_statistics(images)
    scaled = images.double() / 255
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    assert channel_statistics(torch.full((3, 1, 4, 4), 77, dtype=torch.uint8))[1] == (1.0,)


def test_a_home_path_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path, npz_arrays())
    monkeypatch.setenv("HOME", str(tmp_path))
    check_data(config("npz:~/data.npz"))


def test_importing_loads_no_heavy_library() -> None:
    code = (
        "import sys, trainables.data, trainables.augment\n"
        "print({'sklearn', 'torchvision', 'PIL', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
