"""What the figures show, on their numbers; and that both drawings draw every one of them."""

from __future__ import annotations

import math
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import FIGURES, NothingToShow, Study, UnknownName, chart, figure, paper_figure, write_figures
from analysis.gate import survey_path
from analysis.main_effects import effects
from analysis.plots import course, in_matplotlib, in_plotly
from analysis.plots.chart import Axis, Bars, Chart, Heat, Lines, Panel, ParallelPanel, Points
from analysis.plots.in_matplotlib import save
from tests.analysis.studies import noisy_curves, random_settings, write_curves, write_survey


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Sixty trials that rungs at 3 and 9 judged, and a gate that was surveyed."""
    folder = tmp_path_factory.mktemp("plots") / "s"
    settings = random_settings(60, seed=2)
    settings[::2] = [{**point, "lr": 0.1} for point in settings[::2]]  # some differ in one setting alone
    costs = [{"macs": macs} for macs in np.linspace(1e6, 2e6, 60)]
    study = write_curves(folder, noisy_curves(60, 27, seed=1), settings, rungs=(3, 9), more=costs)
    write_survey(survey_path(study, 1))
    return study


def panel(study: Study, name: str, place: int = 0) -> Panel:
    found = chart(study, name).panels[place]
    assert isinstance(found, Panel)
    return found


def lines(study: Study, name: str) -> dict[str, Lines]:
    return {mark.name: mark for mark in panel(study, name).marks if isinstance(mark, Lines)}


def test_the_best_so_far_only_rises_and_ends_at_the_best(search: Study) -> None:
    best = lines(search, "history")["best so far"]
    assert np.all(np.diff(best.y) >= 0.0)
    good = search.trials[~search.trials["state"].isin(("diverged", "failed"))]
    assert best.y[-1] == pytest.approx(100 * good["val_acc"].max())
    points = [mark for mark in panel(search, "history").marks if isinstance(mark, Points)]
    assert sum(len(mark.x) for mark in points) == 60


def test_every_epoch_of_every_trial_is_a_point_of_a_curve(search: Study) -> None:
    drawn = lines(search, "curves")
    states = search.trials["state"].value_counts()
    assert list(drawn)[:2] == [f"stopped at {rung} ({n})" for rung, n in ((3, 35), (9, 13))]
    assert f"completed ({states['completed']})" in drawn
    best = next(mark for name, mark in drawn.items() if name.startswith("best"))
    points = sum(int((~np.isnan(mark.y)).sum()) for mark in drawn.values()) - len(best.y)
    assert points == search.epochs["val_acc"].notna().sum()
    assert len({mark.colour for mark in drawn.values()}) == len(drawn)


def test_long_curves_are_thinned_with_their_ends(search: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "MOST_POINTS", 60 * 9)
    drawn = lines(search, "curves")
    completed = next(mark for name, mark in drawn.items() if name.startswith("completed"))
    first = completed.x[: int(np.flatnonzero(np.isnan(completed.x))[0])]
    assert (len(first), first[0], first[-1]) == (9, 1.0, 27.0)


def test_slices_compare_trials_at_one_epoch(search: Study) -> None:
    found = chart(search, "slices")
    assert "up to epoch 3, of the 60 trials" in found.caption or "up to epoch 3, of the 59 trials" in found.caption
    rate = panel(search, "slices", 0)
    assert rate.x.log
    points = rate.marks[0]
    assert isinstance(points, Points)
    diverged = set(search.trials.loc[search.trials["state"] == "diverged", "trial"])
    at_rung = search.epochs[(search.epochs["epoch"] <= 3) & ~search.epochs["trial"].isin(diverged)]
    assert sorted(points.y) == pytest.approx(sorted(100 * at_rung.groupby("trial")["val_acc"].max()))
    assert panel(search, "slices", 1).x.ticks == ((0.0, "entropy"), (1.0, "none"))


def test_a_contour_is_blank_where_no_trial_is_near(search: Study) -> None:
    heat, points = panel(search, "contour").marks
    assert isinstance(heat, Heat)
    assert isinstance(points, Points)
    assert heat.z.shape == (len(heat.y), len(heat.x))
    known = heat.z[~np.isnan(heat.z)]
    assert points.x.min() == pytest.approx(heat.x.min())
    assert 15.0 < known.min() < known.max() < 45.0


def test_numbers_of_few_values_are_shown_by_place_and_make_no_contour(tmp_path: Path) -> None:
    points = [{"lr": (0.01, 0.1)[trial % 2], "gate": "none"} for trial in range(8)]
    few = write_curves(tmp_path / "few", noisy_curves(8, 9, seed=5), points)
    assert panel(few, "slices").x.ticks == ((0.0, "0.01"), (1.0, "0.1"))
    with pytest.raises(NothingToShow, match="fewer than two settings"):
        chart(few, "contour")


def test_parallel_coordinates_show_an_inactive_setting_below_the_others(search: Study) -> None:
    (found,) = chart(search, "parallel").panels
    assert isinstance(found, ParallelPanel)
    kappa = found.dimensions[2]
    assert kappa.ticks[0][1] == "–"
    assert kappa.values.min() == kappa.ticks[0][0]
    assert not any(np.isnan(dimension.values).any() for dimension in found.dimensions)
    assert np.all(np.diff(found.values) >= 0.0)


def test_effects_are_those_of_the_table(search: Study) -> None:
    main = effects(search).main
    main = main[main["pairs"] > 0]
    points = panel(search, "effects").marks[1]
    assert isinstance(points, Points)
    assert points.y.tolist() == pytest.approx((100 * main["effect"]).tolist())
    assert points.labels[0].endswith(f"{main['pairs'].iloc[0]} pairs")


def test_importances_add_up_for_each_method(search: Study) -> None:
    for mark in panel(search, "importance").marks:
        assert isinstance(mark, Points)
        assert mark.low is not None
        assert mark.y.sum() == pytest.approx(100.0)
        assert np.all(mark.low <= mark.y)


def test_the_ledgers_bars_add_up(search: Study) -> None:
    (bars,) = panel(search, "ledger").marks
    assert isinstance(bars, Bars)
    assert f"{bars.values.sum():.3g} GPU-hours went" in chart(search, "ledger").caption


def test_safety_shows_the_rungs(search: Study) -> None:
    points = panel(search, "safety").marks[1]
    assert isinstance(points, Points)
    assert points.x.tolist() == [3.0, 9.0]


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "confirmation"])  # see test_confirmation.py
def test_both_drawings_draw_it(search: Study, name: str) -> None:
    shown = figure(search, name)
    assert len(shown.data) >= 1
    drawn = paper_figure(search, name)
    assert drawn.get_size_inches()[0] == pytest.approx(3.3)
    first, second = BytesIO(), BytesIO()
    save(drawn, first, "svg")
    save(paper_figure(search, name), second, "svg")
    assert first.getvalue() == second.getvalue()


@pytest.mark.parametrize("name", FIGURES)
def test_a_study_without_reports_says_what_is_missing(write_study, name: str) -> None:  # type: ignore[no-untyped-def]
    from analysis import open_study

    with pytest.raises(NothingToShow):
        chart(open_study(write_study(b"")), name)


def test_a_study_of_one_trial(tmp_path: Path) -> None:
    one = write_curves(tmp_path / "one", [[0.1, 0.2, math.nan]])
    assert "best so far" in lines(one, "history")
    with pytest.raises(NothingToShow, match="no best trial"):
        chart(one, "gate")


def test_figures_are_written_and_those_left_out_are_told(study: Study, tmp_path: Path) -> None:
    written, left_out = write_figures(study, tmp_path / "figures", "png", ["curves", "gate", "ledger"])
    assert [path.name for path in written] == ["curves.png", "ledger.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert left_out == {"gate": "no gate was recorded: its trials are plain, or did not log it"}
    with pytest.raises(UnknownName, match="did you mean 'curves'"):
        write_figures(study, tmp_path, "png", ["curve"])
    with pytest.raises(UnknownName, match="figure format"):
        write_figures(study, tmp_path, "gif")


def test_a_point_without_neighbours_is_drawn_although_it_makes_no_line() -> None:
    gap = np.array([math.nan])
    mark = Lines("curves", "black", np.concatenate(([1.0, 2.0], gap, [1.0], gap)), np.ones(5))
    assert mark.alone.tolist() == [False, False, False, True, False]
    chart_ = Chart("one", "One", "", (Panel(Axis("x"), Axis("y"), (mark,)),))
    (trace,) = in_plotly.draw(chart_).data
    assert trace.mode == "lines+markers"
    assert trace.marker.size.tolist() == [0.0, 0.0, 0.0, 5.0, 0.0]
    assert [line.get_marker() for line in in_matplotlib.draw(chart_).axes[0].get_lines()] == ["None", "."]


@pytest.mark.parametrize("ends", [(0.02, 0.4), (0.5, 0.7), (1e-5, 1.0), (0.0011, 0.0019)])
def test_a_logarithmic_axis_has_few_labels_in_plain_digits(ends: tuple[float, float]) -> None:
    points = Points("p", "black", np.array(ends), np.zeros(2))
    chart_ = Chart("log", "Log", "", (Panel(Axis("rate", log=True), Axis("y"), (points,)),), legend=False)
    figure_ = in_matplotlib.draw(chart_, width=1.6)
    figure_.canvas.draw()
    axis = figure_.axes[0].xaxis
    boxes = [label.get_window_extent() for label in axis.get_ticklabels(which="both") if label.get_text()]
    assert 1 <= len(boxes) <= 4
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_parallel_axes_have_no_labels_that_overlap(search: Study) -> None:
    figure_ = paper_figure(search, "parallel")
    figure_.canvas.draw()
    rows: dict[float, list[Any]] = {}
    for text in figure_.axes[0].texts:
        rows.setdefault(text.get_position()[1], []).append(text.get_window_extent())
    assert len(rows) == 3
    for boxes in rows.values():
        ordered = sorted(boxes, key=lambda box: box.x0)
        assert len(ordered) >= 2
        assert all(left.x1 <= right.x0 for left, right in pairwise(ordered))


def test_signs_that_no_font_has_and_long_levels_are_drawn_without_a_word(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    levels = ["\u65e5\u672c\u8a9e", "\U0001f642", "a level whose name is much too long for a tick"]
    settings = [{"kind": levels[trial % 3]} for trial in range(12)]
    study = write_curves(tmp_path / "s", noisy_curves(12, 9, seed=1), settings, space={"kind": {"choice": levels}})
    write_figures(study, tmp_path / "figures", "png", ["slices", "parallel"])
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    assert max(len(text) for _, text in panel(study, "slices").x.ticks) == 16


def test_lines_that_colours_alone_would_tell_apart_differ_in_their_dashes(search: Study) -> None:
    assert len({mark.dash for mark in lines(search, "exits").values()}) == 3


def test_marks_of_a_large_panel_are_drawn_in_their_order() -> None:
    many = Lines("many", "blue", np.arange(5_000.0), np.zeros(5_000))
    few = Lines("few", "black", np.arange(3.0), np.zeros(3))
    large = Chart("c", "C", "", (Panel(Axis("x"), Axis("y"), (many, few)),))
    assert [trace.type for trace in in_plotly.draw(large).data] == ["scattergl", "scattergl"]
    small = Chart("c", "C", "", (Panel(Axis("x"), Axis("y"), (few,)),))
    assert [trace.type for trace in in_plotly.draw(small).data] == ["scatter"]


def test_many_long_labels_stand_upright() -> None:
    names = [f"a rather long label {place}" for place in range(12)]
    ticks = tuple((float(place), name) for place, name in enumerate(names))
    points = Points("p", "black", np.arange(12.0), np.zeros(12))
    drawn = in_matplotlib.draw(Chart("c", "C", "", (Panel(Axis("", ticks=ticks), Axis("y"), (points,)),), legend=False))
    drawn.canvas.draw()
    boxes = [label.get_window_extent() for label in drawn.axes[0].get_xticklabels()]
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
