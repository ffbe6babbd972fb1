"""Which configurations of a search were confirmed, and what the test split said of them: links to its confirmations."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.confirmation import confirmation_of_study, confirmation_table
from analysis.copies import origin_of, shown
from analysis.errors import AnalysisError
from analysis.files import write_atomic
from analysis.objects import is_url, open_store
from analysis.study import open_study

if TYPE_CHECKING:
    from analysis.study import Study

#: In a search's folder: where its confirmations lie, relative to it or as URLs, the oldest first.
LINKS_FILE = "confirmed-by.json"


@dataclass(frozen=True, slots=True)
class ConfirmedTrial:
    """What a confirmation says of one configuration of a search."""

    test_acc: float  # mean over the seeds, a fraction
    low: float  # of the mean's 95 % t interval; NaN below 2 seeds
    high: float
    seeds: int


def link_confirmation(source: Path, confirmation: Path) -> None:
    """Note with the search in the folder `source` that the study in `confirmation` confirms it; either may be the copy
    of one in a store.

    Raises:
        OSError: the folder cannot be written; then tables of the search need to be told where the confirmation lies.
        StoreError: the search's store cannot be written.
    """
    place, known = _link(source, confirmation), _links(source)
    if place in known:
        return
    text = json.dumps({"confirmations": [*known, place]}, indent=1)
    write_atomic(source / LINKS_FILE, text)
    origin = origin_of(source)
    if origin is not None:
        open_store(origin).write(LINKS_FILE, text.encode())


def _link(source: Path, confirmation: Path) -> str:
    """How the search names its confirmation: by its URL, or its folder; relative, if both are folders."""
    url = origin_of(confirmation)
    if url is not None:
        return url
    return (
        str(confirmation.resolve()) if origin_of(source) else os.path.relpath(confirmation.resolve(), source.resolve())
    )


def _linked(search: Study, link: str) -> Study:
    return open_study(link if is_url(link) else search.path / link)


def confirmed_trials(search: Study, confirmation: str | Path | None = None) -> dict[int, ConfirmedTrial]:
    """The measured configurations of a search, by the number of their trial there.

    Args:
        search: the study that was confirmed.
        confirmation: its confirmation; without one, those that it knows of, the newest first.

    Raises:
        AnalysisError: `confirmation` confirms another search, or cannot be read.
    """
    if confirmation is not None:
        return _measured(search, open_study(confirmation))
    found: dict[int, ConfirmedTrial] = {}
    for folder in reversed(_links(search.path)):
        try:
            found = _measured(search, _linked(search, folder)) | found
        except AnalysisError:
            continue  # it was deleted or moved, or another one lies there now
    return found


def confirmations(study: Study) -> list[Study]:
    """The confirmations of a search that can still be read, the newest first; a confirmation's is itself."""
    if study.spec.confirmation is not None:
        return [study]
    found = []
    for folder in reversed(_links(study.path)):
        try:
            other = _linked(study, folder)
            _measured(study, other)
        except AnalysisError:
            continue  # it was deleted or moved, or another one lies there now
        found.append(other)
    return found


def _measured(search: Study, study: Study) -> dict[int, ConfirmedTrial]:
    table = confirmation_table(study)
    found = {}
    for arm, row in zip(confirmation_of_study(study).arms, table.to_dict("records"), strict=True):
        if arm.trial is None or not row["seeds"]:
            continue
        trial = search.columns.trials.get(arm.trial)
        if trial is None or dict(trial.settings) != dict(arm.settings):
            raise AnalysisError(
                f"{shown(study.path)} confirms another search than {shown(search.path)}: its {arm.name} has other "
                "settings"
            )
        found[arm.trial] = ConfirmedTrial(row["test_acc"], row["test_acc_low"], row["test_acc_high"], row["seeds"])
    return found


def _links(source: Path) -> list[str]:
    try:
        return [str(folder) for folder in json.loads((source / LINKS_FILE).read_bytes())["confirmations"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        raise AnalysisError(f"{source / LINKS_FILE} is damaged; delete it, or restore it from a backup") from None
