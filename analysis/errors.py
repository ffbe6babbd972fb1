"""What can go wrong while a recorded study is read.

AnalysisError (ValueError)
├── StudyNotFound     the folder holds no study
├── StoreError        the object store of a study cannot be used: no bucket, no rights
│   └── StoreAway     it does not answer, or not now; it may come back
├── LogCorrupt        a line in the middle of the log cannot be read; carries its byte offset
└── SchemaUnknown     the study was written by a version that this one does not know
"""

from __future__ import annotations


class AnalysisError(ValueError):
    """Base of the errors that a user can mend; shown without a traceback."""


class StudyNotFound(AnalysisError):  # noqa: N818  reads as what it says
    """The folder does not exist or holds no study."""


class StoreError(AnalysisError):
    """An object store cannot be used as it stands: the URL, the bucket, the rights or the network are wrong."""


class StoreAway(StoreError):  # noqa: N818
    """An object store does not answer, or answers that it cannot serve us now."""


class LogCorrupt(AnalysisError):  # noqa: N818
    """A complete line of the log is not a JSON object; nothing after it can be trusted."""

    def __init__(self, path: object, offset: int, why: str) -> None:
        super().__init__(
            f"the log {path} is damaged at byte {offset}: {why}; restore the file from a backup, "
            "or go on without that line: `tune-gate repair DIR`"
        )
        self.offset = offset


class SchemaUnknown(AnalysisError):  # noqa: N818
    """The log's schema version is not one that this version reads."""
