"""The report: one page that holds everything, opens in a browser without a complaint, and stays small."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis import Study, UnknownName, best_table, open_study, part_where, report_html, write_report
from analysis.gate import survey_path
from analysis.report_sections import SECTIONS
from tests.analysis.studies import noisy_curves, random_settings, write_curves, write_survey

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIGURES = {
    "history",
    "curves",
    "parallel",
    "slices",
    "contour",
    "effects",
    "importance",
    "safety",
    "ledger",
    "gate",
    "exits",
}

#: Of the large study nothing is matched in pairs: its rate is drawn from a range.
FIGURES_OF = {"search": FIGURES, "large": FIGURES - {"effects"}}


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.figures: dict[str, str] = {}
        self.addresses: list[str] = []
        self._figure = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "section":
            self.sections.append(given["id"])
        self._figure = given.get("data-figure", "") if tag == "script" else ""
        self.addresses += [given[name] for name in ("src", "href") if name in given]

    def handle_endtag(self, tag: str) -> None:
        self._figure = ""

    def handle_data(self, data: str) -> None:
        if self._figure:
            self.figures[self._figure.removeprefix("figure-")] = data


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("report") / "s"
    return write_curves(folder, noisy_curves(40, 27, seed=1), random_settings(40, seed=2), rungs=(3, 9))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """As large as a report must bear: 2,000 trials, an eighth of them of 81 epochs."""
    folder = tmp_path_factory.mktemp("large") / "s"
    return write_curves(folder, noisy_curves(2000, 81, seed=1), random_settings(2000, seed=2), rungs=(9, 27))


def test_a_page_holds_every_section_and_figure_and_asks_no_network(search: Study) -> None:
    page = Page(report_html(search))
    assert page.sections == list(SECTIONS)
    assert page.figures.keys() == FIGURES
    for text in page.figures.values():
        figure = json.loads(text)
        assert figure["data"]
        assert figure["layout"]["height"] > 100
    assert all(address.startswith(("#", "data:")) for address in page.addresses)


def test_the_library_of_the_figures_is_in_it(search: Study) -> None:
    packed = re.search(r'<script type="text/plain" id="plotly">(.*?)</script>', report_html(search, ["history"]))
    assert packed is not None
    assert b"plotly.js" in gzip.decompress(base64.b64decode(packed[1]))[:200]


def test_the_summary_says_what_was_found(search: Study) -> None:
    text = report_html(search, ["summary"])
    best = search.trials.sort_values("val_acc").iloc[-1]
    assert f"trial {best['trial']} with {100 * best['val_acc']:.2f} % validation accuracy" in text
    tied = int(best_table(search)["tied"].sum()) - 1
    assert f"the images cannot tell {tied} other trials from it, so it need not be the best" in text
    assert "40 trials of up to 27 epochs over 3 settings (lr, gate, kappa), judged at epochs 3, 9" in text
    assert "GPU-hours were allocated. Early stopping spared" in text


def test_the_rungs_are_told_where_too_few_finished_for_a_figure(study: Study) -> None:
    text = report_html(study, ["summary", "safety"])
    assert "Early stopping: 2 finished trials are too few to judge by" in text
    assert "2 trials finished: too few for a rank correlation." in text
    assert '<td class="number">3</td>' in text  # the rung's row


def test_effects_of_matched_pairs_are_in_it(tmp_path: Path) -> None:
    points = [{"lr": rate, "gate": gate} for rate in (0.01, 0.1) for gate in ("entropy", "none")] * 2
    curves = [[0.5 + 0.1 * (point["gate"] == "none")] * 3 for point in points]
    text = report_html(write_curves(tmp_path / "s", curves, points), ["effects"])
    assert Page(text).figures.keys() == {"effects", "importance"}
    assert "Gate: entropy → none" in json.dumps(json.loads(Page(text).figures["effects"]), ensure_ascii=False)


def test_the_hardest_and_easiest_images_are_in_it(study: Study) -> None:
    write_survey(survey_path(study, 1))
    page = report_html(study, ["gate-pictures"])
    (picture,) = [address for address in Page(page).addresses if address.startswith("data:image/png;base64,")]
    assert base64.b64decode(picture.partition(",")[2]).startswith(b"\x89PNG")
    assert "Gate of trial 1 after epoch 9" in page


def test_what_a_study_has_not_is_told(study: Study, write_study) -> None:  # type: ignore[no-untyped-def]
    assert "Nothing to show: no gate was recorded" in report_html(study)
    empty = report_html(open_study(write_study(b"", folder="empty")))
    assert "Nothing to show: no trial has reported yet." in empty
    assert "No trial has a result yet." in empty
    assert not Page(empty).figures


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    nasty = '</script><script>alert("x")</script>'
    points = [{"lr": 0.1 * (1 + place), "gate": nasty if place % 2 else "none"} for place in range(6)]
    page = report_html(write_curves(tmp_path / "s", noisy_curves(6, 9, seed=3), points))
    assert nasty not in page
    assert Page(page).sections == list(SECTIONS)


def test_an_unknown_section_is_refused(search: Study, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'curves'"):
        write_report(search, tmp_path / "report.html", ["curve"])


def test_two_thousand_trials_fit_in_five_megabytes(large: Study) -> None:
    page = report_html(large)
    assert Page(page).figures.keys() == FIGURES_OF["large"]
    assert len(page.encode()) < 5_000_000


def complaints(log: str) -> list[str]:
    """What the page wrote to the browser's console, without what the graphics driver says of its own speed."""
    console = [line for line in log.splitlines() if ":CONSOLE" in line]
    return [line for line in console if not re.search(r"GL Driver Message \([^)]*\bPerformance\b", line)]


def test_only_the_speed_of_the_graphics_driver_is_no_complaint() -> None:
    driver = (
        '[1:1:INFO:CONSOLE(0)] "[.WebGL-0x1]GL Driver Message (OpenGL, Performance, GL_CLOSE_PATH_NV, High): stall"'
    )
    errors = ['[1:1:INFO:CONSOLE(7)] "Uncaught TypeError"', '[1:1:INFO:CONSOLE(0)] "Failed to load resource"']
    assert complaints("\n".join([driver, "[1:1:ERROR:gpu] x", *errors])) == errors


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("size", ["search", "large"])
def test_a_browser_draws_every_figure_without_a_complaint(
    size: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    write_report(request.getfixturevalue(size), path)
    options = ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    options += ["--enable-logging=stderr", "--virtual-time-budget=60000", f"--user-data-dir={tmp_path / 'profile'}"]
    opened = subprocess.run(
        [str(BROWSER), *options, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=180, check=True
    )
    assert not complaints(opened.stderr)
    assert 'data-ready="yes"' in opened.stdout
    assert "data-error" not in opened.stdout.split("<script", 1)[0]
    assert set(re.findall(r'id="figure-(\w+)"[^>]*data-drawn="yes"', opened.stdout)) == FIGURES_OF[size]


def test_a_part_of_a_study_says_what_it_is_a_part_of(study: Study) -> None:
    page = report_html(part_where(study, ["state=completed"]), ["summary", "best"])
    assert "Only the trials with state=completed, which are 2 of its 7 trials, are in this report." in page
    assert "2 trials of up to 9 epochs" in page
    assert "in this report" not in report_html(study, ["summary"])
