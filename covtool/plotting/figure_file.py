"""Figures as files: one look for all plots, whole files, the same bytes for the same picture.

Nothing here knows pyplot: figures are objects, and matplotlib's settings are put back after use.
"""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covtool.atomic import require_figure_name, require_writable, written_whole
from covtool.errors import ArgumentError
from covtool.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST_LABEL = 100
"""Most characters of a name in a figure."""

_PROGRAM = "covtool"
_METADATA = {
    ".png": {"Software": _PROGRAM},
    ".svg": {"Creator": _PROGRAM, "Date": None},
    ".pdf": {"Creator": _PROGRAM, "CreationDate": None},
}
"""The program, and no date, by which the bytes would differ from run to run."""

_STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.wspace": 0.03,
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 3.2,  # long enough to tell the dashes apart
    "lines.dash_capstyle": "butt",
    "lines.solid_capstyle": "butt",
    "pdf.fonttype": 42,  # fonts that can be edited, as publishers want
    "savefig.dpi": 200,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": _PROGRAM,  # names of elements are random without
    "text.parse_math": False,  # names of runs and columns are text, dollars and all
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}

# Okabe and Ito, "Color Universal Design", 2008; without yellow, which is too light on white.
_COLORS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
_DASHES: tuple[tuple[Any, float], ...] = (  # pattern and width, in points
    ("solid", 2.6),
    ((0, (4.5, 2.2)), 2.0),
    ((0, (6, 1.8, 1.2, 1.8)), 1.8),
    ((0, (1.1, 1.7)), 2.0),
)


def color(position: int) -> str:
    """Return one of seven colors that the color-blind can tell apart, too; then they repeat."""
    return _COLORS[position % len(_COLORS)]


def line_style(position: int) -> dict[str, Any]:
    """Return the style of a table's row, by its position: the same in every plot.

    No two of the first 28 share color and dashes. Broken lines lie above solid ones and are
    narrower, so that lines that coincide all show.
    """
    dashes, width = _DASHES[position % len(_DASHES)]
    return {
        "color": color(position),
        "linestyle": dashes,
        "linewidth": width,
        "snap": False,  # exactly where it belongs, not on the nearest pixel
        "zorder": 3 + position % len(_DASHES) / 10,
    }


def as_label(text: str) -> str:
    """Return a name from a file or a path as it can stand in a figure."""
    shown = printable(text, longest=LONGEST_LABEL)
    return shown if len(shown) <= LONGEST_LABEL else f"{shown[:LONGEST_LABEL]}..."


def short_labels(names: Sequence[str], longest: int) -> list[str]:
    """Return names as they can stand along an axis; long ones without their middle.

    Those that would look alike without it keep it, as far as `LONGEST_LABEL`.

    Example:
        >>> short_labels(["Audi_S4_Sedan_2012", "Audi_S4_Sedan_2007", "A8"], 12)
        ['Audi_S...012', 'Audi_S...007', 'A8']
    """
    whole = [as_label(name) for name in names]
    short = [_without_middle(name, longest) for name in whole]
    return [s if short.count(s) == 1 else name for s, name in zip(short, whole, strict=True)]


def _without_middle(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    end = (longest - 3) // 3
    return f"{name[: longest - 3 - end]}...{name[-end:]}"


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse what cannot be written, before anything is drawn.

    Raises:
        ArgumentError: The suffix stands for no known format, or the folder does not exist.
        OutputExistsError: There is such a file, and `overwrite` is False.
    """
    require_figure_name(path)
    require_writable(path, overwrite=overwrite)


def require_matplotlib() -> None:
    """Refuse to draw without the package that it takes.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ArgumentError(
            "Plots need matplotlib, which is not installed.",
            hint="Install it: pip install 'covtool[plots]'.",
        )


@contextmanager
def house_style() -> Iterator[None]:
    """Set matplotlib's defaults with covtool's look, whatever the user's are; back afterwards.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    require_matplotlib()
    with _quiet():
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # first: a matplotlibrc of the user may set anything
            matplotlib.rcParams.update(_STYLE)
            yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep matplotlib from remarks, such as on a home that it cannot write to."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def write_figure(figure: "Figure", path: Path, *, title: str, overwrite: bool = True) -> None:
    """Write a figure, whole or not at all, in the format of the file's suffix.

    Args:
        figure: Drawn within `house_style`, which must still hold.
        path: File name that `check_output` has accepted.
        title: Title in the file's metadata, for readers that cannot see.
        overwrite: Whether to replace a file that is there by now.

    Raises:
        OutputExistsError: There is one, and `overwrite` is False.
        SaveError: The file cannot be written.
    """
    suffix = path.suffix.lower()
    metadata = {**_METADATA[suffix], "Title": printable(title)}
    with warnings.catch_warnings(), written_whole(path, overwrite=overwrite) as temporary:
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks, long names
        figure.savefig(temporary, format=suffix[1:], metadata=metadata)


def svg_text(figure: "Figure", *, title: str) -> str:
    """Return a figure as an SVG document, without a ground: the same bytes for the same figure.

    Args:
        figure: Drawn within `house_style`, which must still hold.
        title: Title in the metadata, for readers that cannot see.
    """
    drawn = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks, long names
        metadata = {**_METADATA[".svg"], "Title": printable(title)}
        figure.savefig(drawn, format="svg", metadata=metadata, transparent=True)
    return drawn.getvalue()
