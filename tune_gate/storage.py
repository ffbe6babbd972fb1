"""Where a study lies: in a folder, or in an object store of which this machine has a working copy.

Commands that drive or change a study `check_out` what the user names, and then work in a folder either way. Those that
only read one open it by `analysis.study.open_study`, which takes a URL as well.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from analysis.copies import origin_of
from analysis.objects import ObjectStore, is_url, open_store, store_url
from analysis.study import STUDY_FILE, list_studies
from tune_gate.errors import Misuse, StudyExists
from tune_gate.lock import current_holder, hold_here
from tune_gate.study_dir import DRIVER_LOG, STOP_REQUEST, checkpoint_folder, refuse_taken
from tune_gate.working_copy import publish, reconcile, set_aside, working_copy

TRIALS = "trials"


def check_out(place: str | Path) -> Path:
    """The folder in which the study at `place` is driven: itself, or the working copy of a URL, up to date.

    Raises:
        StoreError: the store cannot be used.
        StudyNotFound: it holds no study there.
    """
    if not is_url(place):
        return Path(place)
    store = open_store(place)
    study = working_copy(store.url)
    if current_holder(study) is None:
        study.mkdir(exist_ok=True)
        with hold_here(study):
            reconcile(store, study)
    return study


def name_of(place: str | Path) -> str:
    """The last part of a study's place: the name that one would give it."""
    return Path(store_url(place).path).name if is_url(place) else Path(place).resolve().name


def beside(place: str | Path, suffix: str) -> str | Path:
    """A place in the same folder as `place`, with `suffix` behind its name."""
    if is_url(place):
        url = store_url(place)
        return str(replace(url, path=url.path + suffix))
    folder = Path(place).resolve()
    return folder.with_name(folder.name + suffix)


def refuse_url(place: str | Path, what: str) -> None:
    """Raise `Misuse` where `place` is a URL, and `what` is to be made there, which can only lie in a folder."""
    if is_url(place):
        raise Misuse(f"{what} lies in a folder of this machine, not in an object store; give a folder")


def folder_for_new(place: str | Path) -> Path:
    """The folder in which a new study at `place` is made; `publish_new` then puts it into its store.

    Raises:
        StudyExists: there are objects or files already.
        StoreError: the store cannot be used.
    """
    if not is_url(place):
        refuse_taken(Path(place))
        return Path(place)
    store = open_store(place)
    if store.read(STUDY_FILE) is not None:
        raise StudyExists(f"{store.url} already holds a study; `tune-gate resume '{store.url}'` goes on with it")
    if store.objects():
        raise StudyExists(f"{store.url} is not empty, and nothing is written over; choose another --dir")
    study = working_copy(store.url)
    set_aside(study)
    return study


def publish_new(study: Path) -> None:
    """Put the new study `study` into its store, if it has one."""
    store = store_of(study)
    if store is not None:
        publish(store, study)


def discard(study: Path) -> None:
    """Remove a study in which nothing happened yet."""
    store = store_of(study)
    if store is not None:
        store.delete(entry.key for entry in store.objects())
    shutil.rmtree(study)


def studies_at(root: Path) -> list[Path]:
    """The studies at or below `root`, a folder or a URL, sorted; those of a URL as URLs."""
    if not is_url(root):
        return list_studies(root)
    store = open_store(root)
    found = [entry.key for entry in store.objects() if f"/{entry.key}".endswith(f"/{STUDY_FILE}")]
    folders = (store.url.within(key).removesuffix(f"/{STUDY_FILE}") for key in found)
    return [Path(str(replace(store.url, path=folder))) for folder in folders]


def store_of(study: Path) -> ObjectStore | None:
    """The store of which `study` is a copy; None for a study that lies here."""
    origin = origin_of(study)
    return None if origin is None else open_store(origin)


def put_stop_request(study: Path) -> None:
    """Leave word for the driver of `study`, wherever it runs."""
    store = store_of(study)
    if store is not None:
        store.write(STOP_REQUEST, b"")
    else:
        (study / STOP_REQUEST).touch()


def push_results(study: Path) -> None:
    """Put what a session wrote beside the log into the study's store: its exports, and what its driver said."""
    store = store_of(study)
    if store is None:
        return
    for path in [study / DRIVER_LOG, *sorted((study / "exports").rglob("*"))]:
        if path.is_file():
            store.upload(path, path.relative_to(study).as_posix())


def checkpoint_names(study: Path, trial: int) -> list[str]:
    """The names of a trial's checkpoint files, wherever they lie."""
    store = store_of(study)
    if store is not None:
        return [entry.key.rpartition("/")[2] for entry in store.objects(_key(study, trial))]
    folder = checkpoint_folder(study, trial)
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def drop_checkpoints(study: Path, trials: Collection[int]) -> None:
    """Delete the checkpoints of `trials`, here and in the study's store."""
    for trial in trials:
        shutil.rmtree(checkpoint_folder(study, trial), ignore_errors=True)
    store = store_of(study) if trials else None
    if store is None:
        return
    folders = {_key(study, trial) for trial in trials}
    listed = store.objects(*folders) if len(folders) == 1 else store.objects(TRIALS)
    store.delete(entry.key for entry in listed if entry.key.rpartition("/")[0] in folders)


def fetch_checkpoints(study: Path) -> None:
    """Make the checkpoints of `study` readable here, where they lie in a store. To be called while nobody drives it."""
    store = store_of(study)
    if store is None:
        return
    shutil.rmtree(study / TRIALS, ignore_errors=True)
    for entry in store.objects(TRIALS):
        store.download(entry.key, study / entry.key)


def _key(study: Path, trial: int) -> str:
    return checkpoint_folder(study, trial).relative_to(study).as_posix()
