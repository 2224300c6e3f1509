"""Pictures of comparisons: what they name, at which costs, and what they cannot draw."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from comparison_rows import TAPS, compared_row, compared_rows, comparison_of

from covtool.errors import ArgumentError, DataError, OutputExistsError
from covtool.plotting.compared_rows import COSTS, DrawnRows
from covtool.plotting.comparison import comparison_figure, plot_comparison
from covtool.plotting.figure_file import house_style

GFLOPS, MS = COSTS
CHECKPOINTS = ("lite0.pth", "lite2.pth", "mobilenetv2.pt")


def test_the_front_has_what_nothing_beats_at_its_cost_or_less() -> None:
    rows = [
        compared_row("best", 70, gflops=2.0),
        compared_row("as dear, worse", 69, gflops=2.0),
        compared_row("cheap", 60, gflops=1.0),
        compared_row("dearer, worse", 59, gflops=1.5),
    ]
    assert DrawnRows.of(rows).fronts[GFLOPS] == [3, 1]


@pytest.mark.parametrize("cost", [None, math.nan, 0.0])
def test_rows_without_a_cost_are_left_out_of_its_panel_and_said(cost: float | None) -> None:
    rows = (compared_row("known", 60), compared_row("unknown", 50, ms_per_image=cost))
    drawn = DrawnRows.of(rows)
    assert drawn.places == {GFLOPS: [1, 2], MS: [1]}
    assert drawn.notes == ("1 row has no figure or no ms and cannot be drawn.",)


def test_nothing_to_draw_is_an_error_without_a_file(tmp_path: Path) -> None:
    rows = [compared_row("failed", math.nan)]
    with pytest.raises(DataError, match="nothing to draw"):
        plot_comparison(comparison_of(rows), tmp_path / "compare.svg")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("taps", "checkpoints"),
    [(("bn2",), ("lite0.pth",)), (TAPS, ("lite0.pth",)), (TAPS, CHECKPOINTS)],
)
def test_best_recommended_and_front_are_named_and_intervals_stay_readable(
    taps: tuple[str, ...], checkpoints: tuple[str, ...]
) -> None:
    rows = compared_rows(taps=taps, checkpoints=checkpoints)
    drawn = DrawnRows.of(rows)
    assert {1, 3} <= set(drawn.numbered)  # the third is recommended
    assert all(set(front) <= set(drawn.numbered) for front in drawn.fronts.values())
    few = len(rows) <= 24
    assert drawn.with_interval == (set(range(1, len(rows) + 1)) if few else set(drawn.numbered))
    with house_style():
        figure = comparison_figure(drawn, "left-out top-1")
        figure.draw_without_rendering()
        boxes = [legend.get_window_extent() for legend in figure.legends]
        panels = [axes.get_window_extent() for axes in figure.axes]
    names = [text.get_text() for text in figure.legends[1].get_texts()]
    for place in drawn.numbered:
        assert any(rows[place - 1].label in name for name in names)
    # The legends cross neither a panel nor each other.
    assert not any(box.overlaps(panel) for box in boxes for panel in panels)
    assert not boxes[0].overlaps(boxes[1])


def legends_of(rows, caption: str = "") -> tuple[list[str], list[str]]:
    with house_style():
        figure = comparison_figure(DrawnRows.of(rows), "left-out top-1", caption)
    beside, below = ([text.get_text() for text in one.get_texts()] for one in figure.legends)
    return beside, below


def test_approximate_rows_are_marked_and_the_mark_is_explained() -> None:
    rows = [compared_row("best", 60, projected_to=512), compared_row("cheap", 50, gflops=0.1)]
    _, below = legends_of(rows)
    assert any("best: ~60.0 %" in line for line in below)
    assert any("cheap: 50.0 %" in line for line in below)
    assert any(line.startswith("~ approximate, 1 of 2 rows") for line in below)
    _, exact = legends_of([compared_row("best", 60)])
    assert not any("~" in line for line in exact)


@pytest.mark.parametrize(("rank_1", "of_what"), [(None, "images"), (50.0, "identities")])
def test_without_intervals_no_noise_is_named(rank_1: float | None, of_what: str) -> None:
    beside, _ = legends_of([compared_row("best", 60, rank_1=rank_1)])
    assert "large: within the noise of the best" in beside
    unknown = (math.nan, math.nan)
    beside, _ = legends_of([compared_row("best", 60, rank_1=rank_1, interval=unknown)])
    assert f"too few {of_what} to tell rows apart" in beside
    assert not any("noise" in line for line in beside)


def test_a_search_says_how_many_queries_it_had(tmp_path: Path) -> None:
    done = replace(comparison_of(compared_rows(taps=("bn2",)), "mAP"), queries=600)
    plot_comparison(done, tmp_path / "compare.svg")
    assert "Figures of 600 queries in 800 images." in (tmp_path / "compare.svg").read_text()
    plot_comparison(replace(done, queries=None), tmp_path / "classes.svg")
    assert "quer" not in (tmp_path / "classes.svg").read_text()


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    comparison = comparison_of(compared_rows())
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    done = plot_comparison(comparison, first)
    plot_comparison(comparison, second)
    assert done.panels == ("GFLOPs", "ms")
    assert first.read_bytes() == second.read_bytes()
    assert b"left-out top-1" in first.read_bytes()


def test_outputs_are_checked(tmp_path: Path) -> None:
    comparison, path = comparison_of(compared_rows(taps=("bn2",))), tmp_path / "compare.svg"
    with pytest.raises(ArgumentError, match=r"\.txt"):
        plot_comparison(comparison, tmp_path / "compare.txt")
    plot_comparison(comparison, path)
    with pytest.raises(OutputExistsError):
        plot_comparison(comparison, path)
    plot_comparison(comparison, path, overwrite=True)
