"""The workers of a machine hold the images once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from data_samples import config, npz_arrays, write_npz

from trainables.config import TrialConfig
from trainables.data import load_search_data, loading, share_on_machine, sharing
from trainables.data.contract import SearchData
from trainables.errors import DataError

ROOT = Path(__file__).resolve().parents[2]

MB = 2**20


@pytest.fixture(autouse=True)
def _as_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loading._Sharing, "scope", None)
    monkeypatch.setattr(sharing, "_folder", lambda: tmp_path / "machine")
    monkeypatch.setattr(sharing, "_USED", [])
    loading._load_clean.cache_clear()
    share_on_machine("study")
    yield
    die()
    loading._load_clean.cache_clear()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Counts how often the data are read from their source."""
    counted = Mock(wraps=loading._read_clean)
    monkeypatch.setattr(loading, "_read_clean", counted)
    return counted


def die() -> None:
    """What the end of a process does."""
    for file in sharing._USED:
        file.close()
    sharing._USED.clear()


def another_process(settings: TrialConfig) -> SearchData:
    loading._load_clean.cache_clear()
    return load_search_data(settings)


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "machine").glob("*.pt"))


def test_the_second_process_maps_what_the_first_has_read(tmp_path: Path, reads: Mock) -> None:
    settings = config(write_npz(tmp_path, npz_arrays()), label_noise=0.1)
    first, second = load_search_data(settings), another_process(settings)
    assert reads.call_count == 1
    loading._Sharing.scope = None
    alone = another_process(settings)
    for data in (first, second):
        for part, wanted in ((data.train, alone.train), (data.val, alone.val)):
            assert torch.equal(part.images, wanted.images)
            assert torch.equal(part.labels, wanted.labels)
        assert (data.classes, data.mean, data.std) == (alone.classes, alone.mean, alone.std)
    assert kept(tmp_path) != []


def test_a_write_to_the_images_stays_in_its_process(tmp_path: Path) -> None:
    settings = config(write_npz(tmp_path, npz_arrays()))
    first = load_search_data(settings)
    before = first.train.images.clone()
    first.train.images.zero_()
    assert torch.equal(another_process(settings).train.images, before)


def test_data_that_changed_are_read_again_and_so_are_data_without_a_user(tmp_path: Path, reads: Mock) -> None:
    arrays = npz_arrays()
    settings = config(write_npz(tmp_path, arrays))
    load_search_data(settings)
    write_npz(tmp_path, {**arrays, "extra": np.zeros(9)})
    another_process(settings)
    assert reads.call_count == 2
    die()
    another_process(settings)
    assert reads.call_count == 3


def test_studies_do_not_share_and_what_nobody_uses_is_cleared_away(tmp_path: Path, reads: Mock) -> None:
    settings = config(write_npz(tmp_path, npz_arrays()))
    load_search_data(settings)
    first = kept(tmp_path)
    share_on_machine("another study")
    another_process(settings)
    assert reads.call_count == 2
    assert set(first) < set(kept(tmp_path))
    die()
    share_on_machine("a third")
    another_process(settings)
    assert len(kept(tmp_path)) == 1


def test_without_room_for_the_file_each_process_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: Mock
) -> None:
    monkeypatch.setattr(torch, "save", Mock(side_effect=OSError(28, "No space left on device")))
    settings = config(write_npz(tmp_path, npz_arrays()))
    assert len(load_search_data(settings).train) == 40
    assert len(another_process(settings).train) == 40
    assert reads.call_count == 2
    assert kept(tmp_path) == []


def test_data_that_cannot_be_read_say_so_and_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_search_data(config(f"npz:{tmp_path / 'absent.npz'}"))
    assert kept(tmp_path) == []


_WORKER = """
import sys
from trainables.config import trial_config
from trainables.data import load_search_data, share_on_machine

def memory():
    lines = open("/proc/self/smaps_rollup").read().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}

def mapped():
    found, inside = 0, False
    for line in open("/proc/self/smaps"):
        if "-" in line.split()[0]:
            inside = "tune-gate-data" in line
        elif inside and line.startswith("Pss:"):
            found += int(line.split()[1]) * 1024
    return found

share_on_machine("study")
config = trial_config({"data": sys.argv[1]})
load_search_data(config).train.images.sum()
print("ready", flush=True)
sys.stdin.readline()
print(memory()["Private_Dirty"], mapped(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps")
def test_memory_does_not_grow_with_the_number_of_trials(tmp_path: Path) -> None:
    """Of the workers of a machine, together, the images take what they take once, and none has a copy of its own."""
    images = np.random.default_rng(0).integers(0, 256, (40_000, 32, 32, 3), dtype=np.uint8)  # 117 MB
    np.savez(tmp_path / "data.npz", train_images=images, train_labels=np.arange(40_000) % 10,
             test_images=images[:10], test_labels=np.arange(10))  # fmt: skip
    totals, dirty = {}, {}
    for count in (1, 4):
        figures = _memory_of_workers(count, f"npz:{tmp_path / 'data.npz'}", tmp_path)
        dirty[count] = max(private for private, _ in figures[1:] or figures)  # the first has read the source
        totals[count] = sum(mapped for _, mapped in figures)
    size = images.nbytes
    assert 0.8 * size < totals[1] < 1.2 * size
    assert totals[4] < totals[1] + 10 * MB
    assert dirty[4] < dirty[1] + 30 * MB


def _memory_of_workers(count: int, data: str, tmp_path: Path) -> list[tuple[int, int]]:
    """Private dirty bytes, and the proportional share of the mapped file, of each of `count` workers at once."""
    workers = []
    try:
        for _ in range(count):
            worker = subprocess.Popen(
                [sys.executable, "-c", _WORKER, data], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            workers.append(worker)
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        figures = []
        for worker in workers:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("now\n")
            worker.stdin.flush()
            private, mapped = worker.stdout.readline().split()
            figures.append((int(private), int(mapped)))
        return figures
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
