"""Image data for a trial: `load_search_data` for training and validation, `load_test_data` for the test."""

from trainables.data.contract import RawData, SearchData, Source, Split
from trainables.data.loading import check_data, load_search_data, load_test_data, share_on_machine
from trainables.data.sources import SOURCES

__all__ = [
    "SOURCES",
    "RawData",
    "SearchData",
    "Source",
    "Split",
    "check_data",
    "load_search_data",
    "load_test_data",
    "share_on_machine",
]
