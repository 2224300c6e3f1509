"""Pictures of half-steps: a point for each that is over, at its phase, in its run's color."""

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from svdnet_runs import phases_of, rows_of, write_rows, write_svdnet_run

from covtool.atomic.formats import FIGURES
from covtool.errors import ArgumentError, DataError, OutputExistsError, UnknownVariantError
from covtool.plotting.figure_file import house_style
from covtool.plotting.half_steps import read_half_steps
from covtool.plotting.rri import (
    HALF_STEP_PANELS,
    HalfStepRun,
    half_step_figure,
    plot_half_steps,
)
from covtool.plotting.run_history import run_labels
from covtool.specs.plotting import ComparedRunsSpec


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_svdnet_run(tmp_path / "run")


def figure_of(*paths: Path):
    runs = [
        HalfStepRun(label=label, path=path, half_steps=read_half_steps(path))
        for label, path in zip(run_labels(paths), paths, strict=True)
    ]
    with house_style():
        figure = half_step_figure(runs, list(HALF_STEP_PANELS))
        figure.draw_without_rendering()
    return figure


def ticks_of(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[-1].get_xticklabels()]


def phases_of_line(figure, line) -> list[str]:
    ticks = ticks_of(figure)
    return [ticks[x] for x in line.get_xdata()]


def shaded(axes) -> list[float]:
    return [patch.get_x() + patch.get_width() / 2 for patch in axes.patches]


def test_every_panel_has_a_point_for_each_half_step(run: Path) -> None:
    figure = figure_of(run)
    steps = read_half_steps(run)
    names = ("correlation", "smallest_eigenvalue_ratio", "rank_1", "mean_average_precision")
    for axes, name in zip(figure.axes, names, strict=True):
        (line,) = axes.lines
        assert phases_of_line(figure, line) == [step.phase for step in steps]
        assert list(line.get_ydata()) == [getattr(step, name) for step in steps]
    assert [axes.get_ylim() for axes in figure.axes[:2]] == [(0, 1.05)] * 2
    assert figure.get_suptitle() == "run"


@pytest.mark.parametrize("base", [True, False])
def test_restraints_are_shaded(tmp_path: Path, base: bool) -> None:
    figure = figure_of(write_svdnet_run(tmp_path / "run", 3, base=base))
    for axes in figure.axes:
        assert [ticks_of(figure)[round(x)] for x in shaded(axes)] == [
            f"restraint {i}" for i in (1, 2, 3)
        ]
    assert "shaded" in figure.axes[-1].get_xlabel()


def test_a_run_that_has_only_started_has_nothing_shaded(tmp_path: Path) -> None:
    write_rows(tmp_path, rows_of(["start"]))
    figure = figure_of(tmp_path)
    assert ticks_of(figure) == ["start"]
    assert not any(axes.patches for axes in figure.axes)
    assert figure.axes[-1].get_xlabel() == ""


def test_runs_of_other_lengths_share_the_axis(tmp_path: Path) -> None:
    runs: Sequence[Path] = (
        write_svdnet_run(tmp_path / "us", 1, base=False),
        write_svdnet_run(tmp_path / "qr", 3),
        write_svdnet_run(tmp_path / "uv", 2, base=False),
    )
    figure = figure_of(*runs)
    assert ticks_of(figure) == phases_of(3)
    for axes in figure.axes:
        for line, run in zip(axes.lines, runs, strict=True):
            assert phases_of_line(figure, line) == [step.phase for step in read_half_steps(run)]
        assert len({line.get_color() for line in axes.lines}) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["us", "qr", "uv"]
    named = [handle.get_color() for handle in legend.get_lines()]
    assert named == [line.get_color() for line in figure.axes[0].lines]


@pytest.mark.parametrize(
    ("iterations", "all_named"), [(1, True), (7, True), (25, True), (60, False)]
)
def test_names_of_half_steps_never_overlap(
    tmp_path: Path, iterations: int, all_named: bool
) -> None:
    figure = figure_of(write_svdnet_run(tmp_path / "run", iterations, epochs=1))
    labels = figure.axes[-1].get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert ([label.get_text() for label in labels] == phases_of(iterations)) == all_named


@pytest.mark.parametrize("suffix", FIGURES)
def test_drawing_twice_gives_the_same_bytes(run: Path, suffix: str, tmp_path: Path) -> None:
    first, second = (plot_half_steps([run, run], tmp_path / f"{n}{suffix}").path for n in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert "matplotlib.pyplot" not in sys.modules


def test_the_result_says_what_was_drawn(run: Path, tmp_path: Path) -> None:
    result = plot_half_steps([run], tmp_path / "a.png")
    assert result.panels == HALF_STEP_PANELS.names
    assert result.runs == (HalfStepRun(label="run", path=run, half_steps=read_half_steps(run)),)
    with Image.open(result.path) as image:
        assert image.height > image.width > 900
    spec = ComparedRunsSpec(show=("map", "correlation", "map"), labels=("seed 0",))
    result = plot_half_steps([run], tmp_path / "a.svg", spec)
    assert result.panels == ("map", "correlation")
    text = (tmp_path / "a.svg").read_text()
    assert ">seed 0</text>" in text
    assert ">mAP (%)</text>" in text
    assert "Recall@1" not in text


@pytest.mark.parametrize(
    ("name", "settings", "error", "message"),
    [
        ("a.jpg", {}, ArgumentError, r"one of \.png"),
        ("there.png", {}, OutputExistsError, "already exists"),
        ("a.png", {"show": ("mAP",)}, UnknownVariantError, "panel named 'mAP'(.|\n)*rank-1, map"),
        ("a.png", {"labels": ("x", "y")}, ArgumentError, "--label is given 2 times for 1 runs"),
    ],
)
def test_mistakes_are_refused_and_write_nothing(
    run: Path, tmp_path: Path, name: str, settings: dict, error: type, message: str
) -> None:
    (tmp_path / "there.png").write_text("mine")
    with pytest.raises(error, match=message):
        plot_half_steps([run], tmp_path / name, ComparedRunsSpec(**settings))
    assert {path.name for path in tmp_path.iterdir()} == {"run", "there.png"}
    assert (tmp_path / "there.png").read_text() == "mine"


def test_every_run_must_be_one(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="No run is given"):
        plot_half_steps([], tmp_path / "a.png")
    with pytest.raises(DataError, match="none is not the folder of a run"):
        plot_half_steps([run, tmp_path / "none"], tmp_path / "a.png")
