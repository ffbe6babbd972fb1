"""Importers: foreign runs as a study of our own. One module and one registry entry for each kind of source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from analysis.names import unknown_name

if TYPE_CHECKING:
    from analysis.importers.foreign import ForeignStudy, ImportOptions


@dataclass(frozen=True, slots=True)
class Importer:
    """A kind of source. `module` has a function `read(source: str, options: ImportOptions) -> ForeignStudy`."""

    module: str
    help: str  # what SOURCE is

    @property
    def read(self) -> Callable[[str, ImportOptions], ForeignStudy]:
        """The function that reads a source; its libraries are imported now."""
        found: Callable[[str, ImportOptions], ForeignStudy] = import_module(self.module).read
        return found


#: The importers, by name.
IMPORTERS: Mapping[str, Importer] = MappingProxyType(
    {
        "csv": Importer("analysis.importers.csv_tables", "a folder with trials.csv and epochs.csv"),
        "curves": Importer("analysis.importers.curves", "an .npz table of recorded learning curves"),
        "optuna": Importer("analysis.importers.optuna_storage", "a storage URL (sqlite:///…) or a journal file"),
        "ray": Importer("analysis.importers.ray_results", "an experiment folder of Ray Tune 2.x"),
        "tensorboard": Importer("analysis.importers.tensorboard_logs", "a folder of event files, one folder per run"),
    }
)


def import_study(kind: str, source: str, folder: str | Path, options: ImportOptions | None = None) -> ForeignStudy:
    """Read `source` with the importer `kind` and write it as a study to `folder`; what was read.

    Raises:
        UnknownName: there is no such importer.
        ImportFailed: the source cannot be read, or the folder is not empty; nothing is left behind.
    """
    from analysis.importers.foreign import ImportOptions  # noqa: PLC0415
    from analysis.importers.reserved import with_free_names  # noqa: PLC0415
    from analysis.importers.writing import write_study  # noqa: PLC0415

    if kind not in IMPORTERS:
        raise unknown_name("importer", kind, IMPORTERS)
    study = with_free_names(IMPORTERS[kind].read(source, options or ImportOptions()))
    write_study(study, f"{kind}:{source}", Path(folder))
    return study
