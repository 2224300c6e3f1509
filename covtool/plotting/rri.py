"""A picture of SVDNet's restraint and relaxation iterations: S(W) and retrieval over half-steps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from covtool.figure_names import figure_title
from covtool.plotting.figure_file import check_output, house_style, write_figure
from covtool.plotting.half_steps import RESTRAINT, HalfStep, phase_order, read_half_steps
from covtool.plotting.run_history import run_labels
from covtool.plotting.run_panels import GRAY, POINTS, finish_panel, name_runs, run_color
from covtool.registry import Registry
from covtool.run_files import SUMMARY, runs_of
from covtool.specs.plotting import ComparedRunsSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 1.75
"""Height of a panel, in inches."""
_BESIDE, _AROUND = 0.8, 1.3
"""Room left of the panels, and above and below them, where the names are: in inches."""
_WIDTHS = (4.7, 9.4)
"""The narrowest figure and the widest, in inches."""
_STEP = 0.28
"""Width of a half-step, in inches, where the figure does not get too wide."""
_LETTER = 0.15
"""Width that an upright name takes, in inches."""
_SHADE = "#f0f0f0"
_MOST_SHADED = 400
"""Half-steps from which on none is shaded: they are narrower than a line."""
_SHARE = (0.0, 1.05)
"""Axis of a quantity between 0 and 1."""


@dataclass(frozen=True, slots=True)
class HalfStepPanel:
    """A row of the table of panels.

    Attributes:
        name: Name for ``--show``.
        summary: Quantity on the vertical axis.
        value: Function of a half-step that gives it.
        limits: Limits of the axis; None for those of the drawn values.
        source: The file that it is read from.
    """

    name: str
    summary: str
    value: Callable[[HalfStep], float]
    limits: tuple[float, float] | None = None
    source: str = SUMMARY


HALF_STEP_PANELS = Registry(
    "panel",
    (
        HalfStepPanel(
            "correlation",
            "correlation S(W) of the Eigenlayer",
            attrgetter("correlation"),
            limits=_SHARE,
        ),
        HalfStepPanel(
            "eigenvalue",
            "Gram matrix: smallest eigenvalue / smallest diagonal element",
            attrgetter("smallest_eigenvalue_ratio"),
            limits=_SHARE,
        ),
        HalfStepPanel("rank-1", figure_title("rank1"), attrgetter("rank_1")),
        HalfStepPanel("map", figure_title("mAP"), attrgetter("mean_average_precision")),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfStepRun:
    """A run in the picture.

    Attributes:
        label: Name in the picture.
        path: Its folder.
        half_steps: Half-steps that are over, in order.
    """

    label: str
    path: Path
    half_steps: tuple[HalfStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfStepPlotResult:
    """The picture that was drawn.

    Attributes:
        path: The file.
        panels: Names of its panels.
        runs: Runs in the order given.
    """

    path: Path
    panels: tuple[str, ...]
    runs: tuple[HalfStepRun, ...]


def plot_half_steps(
    runs: Sequence[str | Path],
    path: str | Path,
    spec: ComparedRunsSpec | None = None,
    *,
    overwrite: bool = False,
) -> HalfStepPlotResult:
    """Draw S(W) and retrieval after each half-step of one run or of several, into a file.

    A run that is still going may be drawn as well.

    Args:
        runs: Folders of runs, as ``covtool svdnet-rri`` writes them; one of several stands for
            those in it.
        path: File name that ends in ``.png``, ``.svg`` or ``.pdf``.
        spec: Panels to draw; None for all.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ArgumentError: No run is given, a name or a suffix is unknown, the folder to write to does
            not exist, or matplotlib is not installed.
        DataError: A folder is no such run, has no half-step yet, or holds a damaged file.
        OutputExistsError: The file exists and `overwrite` is False.
    """
    path, spec, folders = Path(path), spec or ComparedRunsSpec(), runs_of(map(Path, runs))
    check_output(path, overwrite=overwrite)
    labels = run_labels(folders, spec.labels)
    asked = [HALF_STEP_PANELS[name] for name in dict.fromkeys(spec.show)]
    panels = asked or list(HALF_STEP_PANELS)
    read = tuple(
        HalfStepRun(label=label, path=folder, half_steps=read_half_steps(folder))
        for label, folder in zip(labels, folders, strict=True)
    )
    with house_style():
        title = f"Restraint and relaxation iterations: {', '.join(labels)}"
        write_figure(half_step_figure(read, panels), path, title=title, overwrite=overwrite)
    return HalfStepPlotResult(path=path, panels=tuple(p.name for p in panels), runs=read)


def half_step_figure(runs: Sequence[HalfStepRun], panels: Sequence[HalfStepPanel]) -> "Figure":
    """Return the figure itself, with matplotlib's present settings: panels above each other."""
    from matplotlib.figure import Figure

    # Runs may differ in length, and one that goes on lacks its last phases: one axis for all.
    phases = sorted({s.phase for run in runs for s in run.half_steps}, key=phase_order)
    places = {phase: position for position, phase in enumerate(phases)}
    width = min(max(_BESIDE + _STEP * len(phases), _WIDTHS[0]), _WIDTHS[1])
    figure = Figure(figsize=(width, _AROUND + _HEIGHT * len(panels)))
    column = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(column, panels, strict=True):
        _shade_restraints(axes, phases)
        for position, run in enumerate(runs):
            x = [places[step.phase] for step in run.half_steps]
            y = [panel.value(step) for step in run.half_steps]
            axes.plot(x, y, color=run_color(position), **POINTS)
        finish_panel(axes, panel.summary, logarithmic=False)
        axes.grid(visible=False, axis="x")
        axes.set_ylim(panel.limits)
    _name_phases(column[-1], phases, room=width - _BESIDE)
    name_runs(figure, [run.label for run in runs])
    return figure


def _shade_restraints(axes: "Axes", phases: Sequence[str]) -> None:
    for position, phase in enumerate(phases if len(phases) <= _MOST_SHADED else ()):
        if phase.startswith(RESTRAINT):
            axes.axvspan(position - 0.5, position + 0.5, color=_SHADE, linewidth=0, zorder=0)


def _name_phases(axes: "Axes", phases: Sequence[str], *, room: float) -> None:
    """Name the half-steps, or every n-th where there are too many for the room."""
    every = math.ceil(len(phases) * _LETTER / room)
    if every > 1:
        every += every % 2  # always restraints, or always relaxations
    positions = range(0, len(phases), every)
    axes.set_xticks(positions, [phases[position] for position in positions], rotation=90)
    axes.set_xlim(-0.5, len(phases) - 0.5)
    if len(phases) <= _MOST_SHADED and any(phase.startswith(RESTRAINT) for phase in phases):
        axes.set_xlabel("after each half-step (shaded: Eigenlayer orthogonal, frozen)", color=GRAY)
