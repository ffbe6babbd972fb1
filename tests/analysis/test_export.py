from __future__ import annotations

import json
import shutil
import subprocess
from io import BytesIO, StringIO

import pandas as pd
import pytest
import yaml

from analysis import EXPORTERS, UnknownName, best_table, config_yaml, export_table, open_study, write_atomic

NASTY = {"data": 'npz:a_b%c&d#e$f{g}^~\\|*<">', "when": None}

READERS = {
    "csv": lambda data: pd.read_csv(StringIO(data)),
    "json": lambda data: pd.DataFrame(json.loads(data)),
    "yaml": lambda data: pd.DataFrame(yaml.safe_load(data)),
    "parquet": lambda data: pd.read_parquet(BytesIO(data)),
}


@pytest.fixture
def table(study) -> pd.DataFrame:
    return best_table(study)


@pytest.fixture
def nasty() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "rank": [1, 2],
            "odd_%&#$name": [NASTY["data"], "[x]\ny"],
            "mixed": [1, "two"],
            "lists": [[0.4, 0.6], None],
            "on": pd.array([True, None], dtype="boolean"),
            "at": pd.to_datetime([0.0, None], unit="s", utc=True),
        }
    )


@pytest.mark.parametrize("fmt", EXPORTERS)
def test_every_exporter_is_deterministic_and_takes_any_table(fmt, study, table, nasty):
    for each in (table, nasty, study.trials, study.epochs, table.head(0)):
        before = each.copy(deep=True)
        data = export_table(each, fmt)
        assert data == export_table(each, fmt)
        assert isinstance(data, bytes if fmt == "parquet" else str)
        pd.testing.assert_frame_equal(each, before)


@pytest.mark.parametrize("fmt", READERS)
def test_data_formats_round_trip(fmt, table):
    again = READERS[fmt](export_table(table, fmt))
    assert list(again.columns) == list(table.columns)
    for name in ("rank", "trial", "val_acc", "ended"):
        assert again[name].tolist() == table[name].tolist()
    assert again["kappa"].isna().tolist() == table["kappa"].isna().tolist()


def test_all_formats_have_a_reader_here_or_are_for_people():
    assert set(EXPORTERS) == {*READERS, "markdown", "latex", "html"}
    assert len({exporter.suffix for exporter in EXPORTERS.values()}) == len(EXPORTERS)


def test_markdown(table):
    lines = str(export_table(table, "markdown")).splitlines()
    assert lines[0].startswith("| Rank | Trial | Learning rate | Gate | Kappa | Validation accuracy (%) |")
    assert lines[1].startswith("| ---: | ---: | ---: | :--- | ---: | ---: |")
    assert "| 90.0 [87.1, 92.3] |" in lines[2]
    assert len({line.count("|") for line in lines}) == 1


def test_html(table, nasty):
    text = str(export_table(table, "html"))
    assert text.count("<tr>") == len(table) + 1
    assert '<td style="text-align:right">90.0 [87.1, 92.3]</td>' in text
    assert "*&lt;&quot;&gt;" in str(export_table(nasty, "html"))


def test_latex(table, nasty):
    text = str(export_table(table, "latex"))
    assert r"Validation accuracy (\%)" in text
    assert "90.0 [87.1, 92.3]" in text
    assert "val_acc" not in text
    assert r"npz:a\_b\%c\&d\#e\$f\{g\}\textasciicircum{}\textasciitilde{}\textbackslash{}" in str(
        export_table(nasty, "latex")
    )


def test_latex_compiles(tmp_path, table, nasty):
    compiler = shutil.which("pdflatex") or shutil.which("tectonic")
    if compiler is None:
        pytest.skip("neither pdflatex nor tectonic is installed: the LaTeX was not compiled")
    parts = "\n\n".join(str(export_table(each, "latex")) for each in (table, nasty))
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{parts}\\end{{document}}\n"
    (tmp_path / "table.tex").write_text(document)
    flags = ["-halt-on-error", "-interaction=nonstopmode"] if "pdflatex" in compiler else []
    subprocess.run([compiler, *flags, "table.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_latex_beyond_the_latin_scripts_says_what_compiles_it(table):
    assert "lualatex" not in export_table(table.assign(name="Zoë Müller"), "latex")
    assert "compile with lualatex" in str(export_table(table.assign(name="\u65e5\u672c"), "latex")).splitlines()[1]


def test_an_unknown_format_names_the_nearest(table):
    with pytest.raises(UnknownName, match="did you mean 'parquet'"):
        export_table(table, "parqet")


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.txt"
    write_atomic(path, "old é")
    assert path.read_text(encoding="utf-8") == "old é"
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_atomic(path, b"new")
    assert path.read_text(encoding="utf-8") == "old é"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


def test_config_of_the_best_trial(study):
    text = config_yaml(study, "best")
    assert text.startswith("# study small_study, trial 1: val_acc 0.9000 at epoch 9\n")
    assert yaml.safe_load(text) == {
        "name": "small_study-trial-1",
        "seed": 101,
        "epochs": 9,
        "config": {"data": "synthetic", "lr": 0.1, "gate": "entropy", "kappa": 2.0},
    }
    assert yaml.safe_load(config_yaml(study, 1)) == yaml.safe_load(text)
    assert "no epoch reported" in config_yaml(study, 7)
    with pytest.raises(UnknownName):
        config_yaml(study, 99)


def test_small_rates_stay_numbers_in_yaml(write_study, encode, events):
    events[1] = type(events[1])(1.0, 1, {"lr": 1e-5, "gate": "none"}, 1, "random")
    study = open_study(write_study(encode(events)))
    assert yaml.safe_load(config_yaml(study, 1))["config"]["lr"] == 1e-5
