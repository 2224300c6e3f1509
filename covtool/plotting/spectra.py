"""Spectra of weights: how far weight vectors are from orthogonal ones of equal length."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from covtool.plotting.figure_file import as_label
from covtool.plotting.run_panels import finish_panel, run_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        axes.plot(rank, values / values[0], color=run_color(position), label=as_label(name))
    finish_panel(axes, "singular value of W / the largest", logarithmic=False)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("rank")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(spectra), borderaxespad=0)
    return figure
