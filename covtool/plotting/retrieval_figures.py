"""Pictures of a search: what is found how early, and how well distances tell identities apart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from covtool.evaluation.retrieval.metrics import RECALLS
from covtool.evaluation.retrieval.verification import PairHistogram, VerificationResult
from covtool.plotting.compared_histograms import compared_histograms
from covtool.plotting.figure_file import as_label, color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RANKS = 50
"""Ranks of a curve."""
_WITH_NUMBERS = 24
_MARK = "#444444"


def cmc_figure(first_ranks: Sequence[int | None]) -> "Figure":
    """Draw the share of queries with a match among the first k, over k.

    Args:
        first_ranks: Rank of each query's first match; None where a query has none.
    """
    figure, axes = _panel()
    shares = cmc_curve(first_ranks)
    axes.step(range(1, len(shares) + 1), shares, where="post", color=color(4), linewidth=1.8)
    axes.set(xlim=(1, RANKS), xlabel="first k images of the ranking")
    axes.set_ylabel("queries with a match among them (%)")
    axes.set_ylim(top=100.5)
    return figure


def cmc_curve(first_ranks: Sequence[int | None]) -> np.ndarray:
    """Return the share in percent for k = 1 to `RANKS`."""
    ranks = np.array([rank for rank in first_ranks if rank is not None])
    return 100 * (ranks[:, None] <= np.arange(1, RANKS + 1)).mean(axis=0)


def precision_recall_figure(precision: Sequence[float]) -> "Figure":
    """Draw the mean interpolated precision over recall, both in percent."""
    figure, axes = _panel()
    recall = [100 * share for share in RECALLS]
    axes.plot(recall, precision, marker="o", markersize=4, color=color(4), linewidth=1.8)
    axes.set(xlim=(-2, 102), ylim=(0, 102), xlabel="recall: matches found (%)")
    axes.set_ylabel("precision, mean of the queries (%)")
    return figure


def distance_figure(pairs: PairHistogram, threshold: float | None) -> "Figure":
    """Draw the distances of pairs of one identity and of two, each as shares of their number."""
    return compared_histograms(
        {"one identity": pairs.same, "two identities": pairs.different},
        pairs.edges,
        threshold=None if threshold is None else (f"equal errors, {threshold:.3g}", threshold),
        xlabel="distance",
        ylabel="pairs of a kind (%)",
    )


def roc_figure(found: VerificationResult) -> "Figure":
    """Draw accepted pairs of one identity over accepted pairs of two, on a logarithmic axis."""
    figure, axes = _panel()
    # Where all pairs of two identities are accepted, those of one are, too.
    points = [*((100 * p.asked_rate, p.true_accept_rate) for p in found.roc), (100.0, 100.0)]
    axes.plot(*zip(*sorted(points), strict=True), color=color(4), linewidth=1.8)
    equal = found.equal_error_rate
    if equal > 0:
        axes.plot([equal], [100 - equal], "o", color=_MARK, markersize=5)
        axes.annotate(
            f"EER {equal:.2f} %",
            (equal, 100 - equal),
            xytext=(-6, 6),  # the curve rises: nothing is above and left of it
            ha="right",
            fontsize=8,
            textcoords="offset points",
            color=_MARK,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(ylim=(0, 102), xlabel="false accepts: pairs of two identities (%)")
    axes.set_ylabel("accepted pairs of one identity (%)")
    return figure


def camera_figure(
    precisions: np.ndarray, queries: Sequence[str], searched: Sequence[str]
) -> "Figure":
    """Draw mAP in percent by pairs of cameras.

    Args:
        precisions: By the query's camera (rows) and the one searched in; NaN for an empty cell.
        queries: Names of the queries' cameras.
        searched: Names of the cameras searched in.
    """
    from matplotlib.figure import Figure

    rows, columns = precisions.shape
    cell = 0.42
    figure = Figure(figsize=(max(3.2, 1.9 + cell * columns), max(2.2, 1.2 + cell * rows)))
    axes = figure.add_subplot()
    image = axes.imshow(precisions, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    names = [[as_label(name) for name in own] for own in (searched, queries)]
    long = max(map(len, names[0])) > 3
    axes.set_xticks(range(columns), names[0], rotation=90 if long else 0)
    axes.set_yticks(range(rows), names[1])
    axes.set(xlabel="camera searched in", ylabel="query's camera")
    axes.grid(visible=False)
    if max(rows, columns) <= _WITH_NUMBERS:
        for row, column in zip(*np.nonzero(~np.isnan(precisions)), strict=True):
            value = precisions[row, column]
            shade = "white" if value > 60 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=shade, size=7.5)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("mAP (%)")
    bar.outline.set_visible(False)
    return figure


def _panel() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 3.4))
    return figure, figure.subplots()
