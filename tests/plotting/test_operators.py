"""Pictures of decoupled operators: right curves, lines that differ, reproducible files."""

import math
import sys
from pathlib import Path

import matplotlib
import pytest
import torch
from PIL import Image

from covtool.atomic.formats import FIGURES
from covtool.errors import ArgumentError, OutputExistsError
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.magnitudes import MAGNITUDES
from covtool.plotting.figure_file import house_style, line_style
from covtool.plotting.operator_curves import angular_curves, magnitude_curves
from covtool.plotting.operators import operator_figure, plot_operators
from covtool.specs.plotting import OperatorPlotSpec

H = {  # as the paper writes them, for alpha = 1
    "sphere": lambda x, radius, beta: 1.0,
    "ball": lambda x, radius, beta: min(x, radius) / radius,
    "tanh": lambda x, radius, beta: math.tanh(x / radius),
    "linear": lambda x, radius, beta: x,
    "segmented": lambda x, radius, beta: x if x < radius else radius + beta * (x - radius),
    "log": lambda x, radius, beta: math.log(1 + x / radius),
    "mixed": lambda x, radius, beta: x + beta * math.log(1 + x / radius),
}


def paper_sigmoid(theta: float, k: float) -> float:
    scale = (1 + math.exp(-math.pi / (2 * k))) / (1 - math.exp(-math.pi / (2 * k)))
    grown = math.exp(theta / k - math.pi / (2 * k))
    return scale * (1 - grown) / (1 + grown)


G = {
    "linear": lambda theta, k: 1 - 2 * theta / math.pi,
    "cosine": lambda theta, k: math.cos(theta),
    "sigmoid": paper_sigmoid,
    "square-cosine": lambda theta, k: math.copysign(math.cos(theta) ** 2, math.cos(theta)),
}


def test_every_row_is_drawn_unless_some_are_chosen(tmp_path: Path) -> None:
    spec = OperatorPlotSpec()
    assert [curve.name for curve in magnitude_curves(spec)] == list(MAGNITUDES.names) == list(H)
    assert [curve.name for curve in angular_curves(spec)] == list(ANGULAR_ACTIVATIONS.names)
    spec = OperatorPlotSpec(magnitudes=("log", "ball", "log"), angular=("cosine",))
    result = plot_operators(tmp_path / "a.svg", spec)
    assert (result.magnitudes, result.angular) == (("log", "ball"), ("cosine",))


@pytest.mark.parametrize(("radius", "beta"), [(1.0, None), (0.5, 2.0), (7.0, 0.0)])
def test_magnitudes_are_the_papers_over_three_radii(radius: float, beta: float | None) -> None:
    for curve in magnitude_curves(OperatorPlotSpec(radius=radius, beta=beta)):
        used = MAGNITUDES[curve.name].beta if beta is None else beta
        right = [H[curve.name](float(x), radius, used) for x in curve.x]
        torch.testing.assert_close(curve.y, torch.tensor(right, dtype=torch.float64))
        assert 0 < curve.x[0] < 1e-5 * radius
        assert curve.x[-1] == 3 * radius


@pytest.mark.parametrize("k", [0.1, 0.3, 2.0])
def test_angular_activations_are_the_papers_from_0_to_pi(k: float) -> None:
    for curve in angular_curves(OperatorPlotSpec(k=k)):
        right = [G[curve.name](float(theta), k) for theta in curve.x]
        torch.testing.assert_close(
            curve.y, torch.tensor(right, dtype=torch.float64), atol=1e-9, rtol=1e-9
        )
        assert (curve.x[0], curve.x[-1]) == (0, math.pi)


def test_labels_say_the_parameters_that_have_a_part() -> None:
    spec = OperatorPlotSpec(beta=0.25, k=0.2)
    labels = [curve.label for curve in (*magnitude_curves(spec), *angular_curves(spec))]
    assert [label for label in labels if "=" in label] == [
        "segmented, β = 0.25",
        "mixed, β = 0.25",
        "sigmoid, k = 0.2",
    ]


@pytest.mark.parametrize(("panel", "count"), [("both", 2), ("h", 1), ("g", 1)])
def test_panels_hold_the_curves_the_radius_and_a_legend(panel: str, count: int) -> None:
    spec = OperatorPlotSpec(panel=panel, radius=1.0 if panel == "g" else 2.0)
    figure = operator_figure(spec)
    drawn = [curves for curves in (magnitude_curves(spec), angular_curves(spec)) if curves]
    assert len(figure.axes) == count
    for axes, curves in zip(figure.axes, drawn, strict=True):
        lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines[: len(curves)]}
        assert lines == {curve.label: curve.y.tolist() for curve in curves}
        legend = [text.get_text() for text in axes.get_legend().get_texts()]
        assert sorted(legend) == sorted(lines)
    marked = [t.get_text() for axes in figure.axes for t in axes.texts]
    assert marked == ([] if panel == "g" else ["ρ = 2"])


def test_lines_of_a_table_differ_in_color_and_dashes() -> None:
    styles = [line_style(position) for position in range(28)]
    looks = {(style["color"], str(style["linestyle"])) for style in styles}
    assert len(looks) == 28
    rows = styles[: len(MAGNITUDES)]
    assert len({style["color"] for style in rows}) == len(MAGNITUDES)
    coinciding = [rows[MAGNITUDES.names.index(name)] for name in ("ball", "linear", "segmented")]
    assert len({style["zorder"] for style in coinciding}) == 3


@pytest.mark.parametrize("suffix", FIGURES)
def test_drawing_twice_gives_the_same_bytes(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plot_operators(tmp_path / f"first{suffix}").path
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 20)
    second = plot_operators(tmp_path / f"second{suffix}").path
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_the_file_is_what_its_suffix_says(tmp_path: Path) -> None:
    with Image.open(plot_operators(tmp_path / "a.PNG").path) as image:
        assert image.format == "PNG"
        assert (image.width, image.height) == (1960, 620)
        assert image.info["Software"] == "covtool"
    assert plot_operators(tmp_path / "a.pdf").path.read_bytes().startswith(b"%PDF")
    text = plot_operators(tmp_path / "a.svg").path.read_text()
    assert ">square-cosine</text>" in text
    assert "date" not in text


def test_matplotlibs_settings_are_put_back(tmp_path: Path) -> None:
    names = matplotlib.rcParams.keys() - {"backend"}  # to ask for this one imports pyplot
    before = {name: matplotlib.rcParams[name] for name in names}
    plot_operators(tmp_path / "a.svg")
    assert {name: matplotlib.rcParams[name] for name in names} == before
    assert "matplotlib.pyplot" not in sys.modules


def test_an_existing_file_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("mine")
    with pytest.raises(OutputExistsError):
        plot_operators(path)
    assert path.read_text() == "mine"
    plot_operators(path, overwrite=True)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("a.jpg", {}, r"one of \.png, \.svg, \.pdf"),
        ("a", {}, "is not the name of a picture"),
        ("none/a.png", {}, "no folder"),
        ("a.png", {"magnitudes": ("bal",)}, "Did you mean 'ball'"),
        ("a.png", {"angular": ("sigmoyd",)}, "Did you mean 'sigmoid'"),
        ("a.png", {"panel": "h", "angular": ("linear",)}, "--angular has no part"),
        ("a.png", {"panel": "g", "magnitudes": ("linear",)}, "--magnitude has no part"),
        ("a.png", {"panel": "g", "radius": 2}, "--radius has no part in a plot of linear, cosine"),
        ("a.png", {"magnitudes": ("ball",), "beta": 0.5}, "--beta has no part"),
        ("a.png", {"angular": ("cosine",), "k": 0.5}, "--k has no part"),
    ],
)
def test_mistakes_are_refused_and_write_nothing(
    name: str, settings: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=message):
        plot_operators(tmp_path / name, OperatorPlotSpec(**settings))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_picture_even_to_be_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "a.png"
    folder.mkdir()
    with pytest.raises(ArgumentError, match="is a folder"):
        plot_operators(folder, overwrite=True)


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ArgumentError, match=r"pip install 'covtool\[plots\]'"):
        plot_operators(tmp_path / "a.png")
    with pytest.raises(ArgumentError), house_style():
        pass
    assert list(tmp_path.iterdir()) == []
