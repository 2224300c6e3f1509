"""Spectra of weights: how far weight vectors are from orthogonal ones of equal length."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from covtool.plotting.figure_file import as_label
from covtool.plotting.half_steps import RESTRAINT
from covtool.plotting.run_panels import finish_panel, run_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST_RANGE = 0.02
"""Part of the axis that is shown at least: equal values must not look apart by rounding."""


def spectrum_figure(spectra: Mapping[str, np.ndarray]) -> "Figure":
    """Return singular values over their rank, each over the largest of its matrix.

    Args:
        spectra: Singular values in descending order, by the name of their line.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.9))
    axes = figure.add_subplot()
    for position, (name, values) in enumerate(spectra.items()):
        rank = np.arange(1, len(values) + 1)
        # A restraint changes none: between its dashes is the line of the half-step before.
        style = (0, (4, 4)) if name.startswith(RESTRAINT) else "solid"
        shares = values / values[0]
        axes.plot(rank, shares, color=run_color(position), linestyle=style, label=as_label(name))
    finish_panel(axes, "singular value of W / the largest", logarithmic=False)
    least = min(float(values[-1] / values[0]) for values in spectra.values())
    below = max(1 - least, _LEAST_RANGE)
    axes.set_ylim(max(0.0, 1 - 1.15 * below), 1 + 0.05 * below)
    axes.set_xlabel("rank")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)  # covers no line
    return figure
