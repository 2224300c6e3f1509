"""Pictures of range tests: losses at the rates that they are of, and the suggestion."""

import math
from pathlib import Path

import pytest

from covtool.errors import ArgumentError, OutputExistsError
from covtool.plotting.figure_file import house_style
from covtool.plotting.learning_rates import plot_rates, rates_figure
from covtool.run_files.learning_rates import RatePoint

POINTS = (
    RatePoint(lr=0.0, train_loss=None, held_out_loss=2.0),
    RatePoint(lr=0.001, train_loss=1.5, held_out_loss=1.8),
    RatePoint(lr=0.01, train_loss=1.4, held_out_loss=1.2),
    RatePoint(lr=0.1, train_loss=1.1, held_out_loss=900.0),
    RatePoint(lr=1.0, train_loss=5.0, held_out_loss=math.nan),
)
CHOICE = {"lr": 0.0033, "largest": 0.01}


def test_losses_are_drawn_at_the_rates_that_they_are_of() -> None:
    with house_style():
        figure = rates_figure(POINTS, **CHOICE)
        figure.draw_without_rendering()
    (axes,) = figure.axes
    held_out, batches, before, largest, suggestion = axes.lines
    assert list(held_out.get_xdata()) == [0.001, 0.01, 0.1, 1.0]
    assert list(held_out.get_ydata())[:3] == [1.8, 1.2, 900.0]
    # A batch's loss comes before its update, and so after that of the rate before.
    assert list(batches.get_ydata())[:3] == [1.4, 1.1, 5.0]
    assert set(before.get_ydata()) == {2.0}
    assert (largest.get_xdata()[0], suggestion.get_xdata()[0]) == (0.01, 0.0033)
    assert axes.get_ylim() == (0, pytest.approx(3.2))  # what explodes is cut
    assert "suggestion, 0.0033" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert [label.get_text() for label in axes.get_xticklabels()][1:3] == ["0.001", "0.01"]


def test_the_same_points_make_the_same_file(tmp_path: Path) -> None:
    first, second = (plot_rates(POINTS, tmp_path / f"{n}.svg", **CHOICE) for n in "ab")
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(OutputExistsError):
        plot_rates(POINTS, first, **CHOICE)
    with pytest.raises(ArgumentError):
        plot_rates(POINTS, tmp_path / "rates.txt", **CHOICE)
