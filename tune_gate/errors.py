"""What can go wrong in the driver and the command line.

    TuneGateError
    ├── Misuse            the request cannot be carried out as it stands (exit code 2)
    │   ├── SpecError     study.yaml or --set is wrong
    │   ├── LogUnfit      the log cannot be one of the study beside it
    │   ├── StudyExists   the folder already holds a study
    │   ├── StudyImported the study is another program's, and no search of ours
    │   ├── StudyLocked   another driver holds the study
    │   └── ClusterUnreachable  the cluster is not there, or does not answer; it may be back soon
    └── SearchFailed      the search ended before it was done (exit code 1); what was recorded is kept
        └── LogWriteError the log could not be written (a full disk, a lost mount)

The rooms' own errors (`SpaceError`, `TrainableError`, `AnalysisError`) are misuse, too.
"""

from __future__ import annotations


class TuneGateError(Exception):
    """Base of the driver's errors; shown in one line."""


class Misuse(TuneGateError):  # noqa: N818  reads as what it says
    """The request cannot be carried out as it stands."""


class SpecError(Misuse):
    """A study's specification is wrong."""


class LogUnfit(Misuse):
    """The log holds what the study's specification cannot have given rise to."""


class StudyExists(Misuse):
    """The folder already holds a study, and nothing is ever written over."""


class StudyImported(Misuse):
    """The study was made of another program's runs: there is no search to watch or go on with."""


class StudyLocked(Misuse):
    """Another driver holds the study."""


class ClusterUnreachable(Misuse):
    """The cluster is not there, or does not answer. A driver that lost one tries again."""


class SearchFailed(TuneGateError):  # noqa: N818
    """The search ended before it was done; `resume` goes on."""


class LogWriteError(SearchFailed):
    """The log could not be written; nothing was decided that is not in it."""
