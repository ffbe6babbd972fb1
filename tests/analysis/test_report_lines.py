"""Reading reports many at once gives what reading them one by one gives."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis.columns
from analysis import AnalysisError, open_study
from analysis.event_records import event_to_record
from analysis.events import ACTIONS, EpochReported, Event, RungEntry, TrialSuggested
from analysis.log import header_line
from analysis.report_lines import Unusual

finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.one_of(finite, st.just(math.nan), st.integers(-5, 2**53), st.sampled_from([1e-310, 5e-324, 1.7e308, -0.0]))
# none, one and three separators; a quote; a letter beyond ASCII
names = st.sampled_from(["val_acc", "val_loss", "seconds", "gate_q05", "gate_q50", "a,b", "c:d}", 'quo"te', "Güte"])
rungs = st.builds(
    RungEntry, st.integers(1, 9), finite, st.just(math.inf) | finite, st.integers(1, 9), st.integers(1, 9), st.just(1)
)
reports = st.builds(
    EpochReported,
    time=st.floats(1e9, 2e9),
    trial=st.integers(1, 3),
    attempt=st.integers(1, 2),
    epoch=st.integers(1, 6),
    metrics=st.one_of(
        st.fixed_dictionaries({"val_acc": st.floats(0, 1), "val_images": st.just(500.0), "seconds": st.integers(1, 3)}),
        st.dictionaries(names.filter(lambda name: name != "val_acc"), values, max_size=4),
    ),
    action=st.sampled_from(sorted(ACTIONS)),
    rung=st.none() | rungs,
)
suggestions = st.builds(
    TrialSuggested, st.just(1.0), st.integers(1, 3), st.just({"lr": 0.1}), st.just(0), st.just("random")
)


def written(event: Event, separators: tuple[str, str]) -> bytes:
    """As the driver writes it, and as other programs may (with spaces, and with NaN and Infinity)."""
    record: Any = event_to_record(event)
    if isinstance(event, EpochReported) and separators[0] == ", ":
        record["metrics"] = dict(event.metrics)
    return json.dumps(record, separators=separators).encode() + b"\n"


def tables(path) -> tuple[pd.DataFrame, pd.DataFrame]:
    study = open_study(path)
    return study.trials, study.epochs


def refuse(*_: object) -> None:
    raise Unusual


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    first=st.lists(suggestions, max_size=3),
    events=st.lists(st.one_of(reports, reports, reports, suggestions), max_size=20),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
    block=st.sampled_from([1, 400, 1 << 20]),
    tail=st.sampled_from([b"", b'{"event":"epoch","time":1.0,"trial":1']),
)
def test_fast_and_slow_reading_give_the_same_frames(
    tmp_path_factory, write_study, first, events, separators, block, tail
):
    log = header_line() + b"".join(written(event, separators) for event in (*first, *events)) + tail
    path = write_study(log, folder=str(tmp_path_factory.mktemp("any") / "study"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis.columns, "_BLOCK_BYTES", block)
        fast = tables(path)
        patch.setattr(analysis.columns, "parse_reports", refuse)
        slow = tables(path)
    for one, other in zip(fast, slow, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_plain_reports_with_and_without_a_rung_are_read_fast(study, monkeypatch):
    monkeypatch.setattr(analysis.columns, "_row", lambda *_: pytest.fail("a plain report was decoded one by one"))
    assert len(study.epochs) > 0
    assert study.epochs["rung"].notna().sum() == 3


def test_studies_whose_reports_differ_in_their_metrics_are_read_fast(write_study, encode, monkeypatch):
    kinds: tuple[dict[str, float], ...] = (
        {"val_acc": 0.5},
        {"val_acc": 0.5, "more": 1.0},
        {"a": 1.0, "b": 2.0, "c": 3.0},
    )
    log: list[Event] = [TrialSuggested(1.0, 1, {}, 0, "random")]
    log += [EpochReported(1.0, 1, 1, epoch, kinds[epoch % 3], "continue") for epoch in range(1, 10)]
    monkeypatch.setattr(analysis.columns, "_row", lambda *_: pytest.fail("a plain report was decoded one by one"))
    epochs = open_study(write_study(encode(log))).epochs
    assert epochs["more"].notna().sum() == 3
    assert epochs["val_acc"].notna().sum() == 6


@pytest.mark.parametrize("text", [b"nan", b"-inf", b"Infinity", b'"0.5"', b"true", b"", b"[1]", b"{}"])
def test_what_is_no_plain_number_is_left_to_the_slow_reader(study, monkeypatch, text):
    log = study.path / "log" / "events.jsonl"
    content = log.read_bytes()
    assert content.count(b'"lr": 0.1, "diverged"') > 2
    log.write_bytes(content.replace(b'"lr": 0.1, "diverged"', b'"lr": ' + text + b', "diverged"', 1))
    outcomes = []
    for parse in (analysis.columns.parse_reports, refuse):
        monkeypatch.setattr(analysis.columns, "parse_reports", parse)
        try:
            outcomes.append(open_study(study.path).epochs["lr"].tolist())
        except AnalysisError as error:
            outcomes.append(str(error))
    assert str(outcomes[0]) == str(outcomes[1])
