"""SVDNet's half-steps as a table, for covtool svdnet-rri and covtool plot rri."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from covtool.figure_names import figure_name
from covtool_cli import render

if TYPE_CHECKING:
    from covtool.plotting.half_steps import HalfStep

COLUMNS = (
    *("half-step", "epochs"),
    *map(figure_name, ("correlation", "smallest_eigenvalue_ratio", "train_loss", "rank1", "mAP")),
)


def show(title: str, steps: Sequence["HalfStep"]) -> None:
    """Show a row for each half-step, on stdout."""
    rows = [
        (
            step.phase,
            step.epochs,
            step.correlation,
            step.smallest_eigenvalue_ratio,
            step.train_loss,
            step.rank_1,
            step.mean_average_precision,
        )
        for step in steps
    ]
    render.table(title, COLUMNS, rows)
