from __future__ import annotations

import json

import numpy as np
import pytest

from analysis import AnalysisError, NothingToShow, chart, figure, paper_figure
from analysis.gate import exit_table, gate_groups, gate_lines, read_survey, skipping_table, survey_path
from analysis.plots.chart import Points
from analysis.plots.survey import pictures
from tests.analysis.studies import G, write_survey


def test_groups(tmp_path):
    survey = read_survey(write_survey(tmp_path / "trial-0001.npz", noisy=[True] * 3 + [False] * 7))
    table = gate_groups(survey).set_index("group")
    assert table.index.tolist() == [
        "validation, all", "validation, predicted rightly", "validation, predicted wrongly", "class cat", "class dog",
        "training, labelled rightly", "training, labelled wrongly",
    ]  # fmt: skip
    assert table.loc["validation, all", "g_mean"] == pytest.approx(np.mean(G))
    assert table.loc["validation, predicted wrongly", "g_mean"] == pytest.approx(0.85)
    assert table.loc["class cat", "g_median"] == pytest.approx(0.3)
    assert table.loc["training, labelled wrongly", "images"] == 3


def test_exits(tmp_path):
    table = exit_table(read_survey(write_survey(tmp_path / "trial-0001.npz"))).set_index("exit")
    assert table["val_acc"].tolist() == pytest.approx([0.7, 0.8, 0.8])
    assert table.loc["deep exit", ["only_right", "only_wrong"]].tolist() == [1, 1]
    assert table.loc["shallow exit", ["only_right", "only_wrong"]].tolist() == [0, 1]


def test_skipping(tmp_path):
    table = skipping_table(read_survey(write_survey(tmp_path / "trial-0001.npz")))
    first, last = table.iloc[0], table.iloc[-1]
    assert (first["skipped"], first["val_acc"]) == (0.0, pytest.approx(0.8))
    assert first["saved"] == pytest.approx(-0.05)  # the gate is paid for
    assert (last["skipped"], last["val_acc"]) == (1.0, pytest.approx(0.7))
    assert last["saved"] == pytest.approx(0.39 - 0.05)
    # the image whose shallow exit errs alone has g 0.7: seven lie below it
    assert table.loc[table["val_acc"] >= 0.8 - 1e-9, "skipped"].max() == pytest.approx(0.7)
    assert (np.diff(table["skipped"]) > 0).all()


def test_a_late_gate_skips_nothing(tmp_path):
    survey = read_survey(write_survey(tmp_path / "trial-0001.npz", gate_input="late"))
    with pytest.raises(AnalysisError, match="late gate"):
        skipping_table(survey)
    assert "no layer can be skipped" in gate_lines(survey)[-1]


def test_the_sentences(tmp_path):
    text = "\n".join(gate_lines(read_survey(write_survey(tmp_path / "trial-0001.npz", noisy=[True] * 3 + [False] * 7))))
    assert "gate of trial 1 after epoch 9, 10 validation images: g 0.400 on average" in text
    assert (
        "validation, predicted wrongly: g 0.850; rightly: 0.287; a wrong one has the larger g in 100% of pairs" in text
    )
    assert "accuracy: shallow exit 70.00 %, deep exit 80.00 %, mix 80.00 %" in text
    assert "70% of the images skip the rest of stage 3" in text
    assert "saves 22.3% of the multiply-accumulates" in text


@pytest.mark.parametrize(("content", "message"), [(b"no archive", "is damaged"), (None, "there is no survey")])
def test_what_is_no_survey(tmp_path, content, message):
    path = tmp_path / "trial-0001.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AnalysisError, match=message):
        read_survey(path)


def test_another_version_and_a_missing_part(tmp_path):
    with pytest.raises(AnalysisError, match="another version"):
        read_survey(write_survey(tmp_path / "trial-0001.npz", format=2))
    np.savez(tmp_path / "trial-0002.npz", about=np.array(json.dumps({"format": 1, "trial": 1})))
    with pytest.raises(AnalysisError, match="is damaged"):
        read_survey(tmp_path / "trial-0002.npz")


def test_figures(study):
    with pytest.raises(NothingToShow, match="no gate was surveyed"):
        chart(study, "gate-exits")
    write_survey(survey_path(study, 6), trial=6)
    for name in ("gate-openness", "gate-exits", "gate-skipping"):
        assert chart(study, name).name == name
        assert figure(study, name).data
        assert paper_figure(study, name).axes
    (marks,) = chart(study, "gate-exits").panels[0].marks
    assert isinstance(marks, Points)
    assert marks.y.tolist() == pytest.approx([70.0, 80.0, 80.0])
    write_survey(survey_path(study, 6), gate_input="late")
    with pytest.raises(NothingToShow, match="late gate"):
        chart(study, "gate-skipping")


def test_pictures_show_the_ends(tmp_path):
    drawn = pictures(read_survey(write_survey(tmp_path / "trial-0001.npz")), rows=1, columns=3)
    texts = [axes.texts[0].get_text() for part in drawn.subfigs for axes in part.axes]
    assert texts[:3] == ["g 0.90\ncat, taken for dog", "g 0.80\ndog, taken for cat", "g 0.70\ncat"]
    assert texts[3:] == ["g 0.10\ndog", "g 0.10\ncat", "g 0.20\ndog"]
