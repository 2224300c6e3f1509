"""A learning-rate range test as a picture, in the folder of the run or of the test."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from covtool.training.run.observer import SilentObserver, TrainingPlan
from covtool_cli import render

if TYPE_CHECKING:
    from covtool.run_files.learning_rates import RatePoint

FIGURE = "learning_rates.png"


class LearningRateFigure(SilentObserver):
    """Draws the range test of a run that starts, where there was one."""

    def on_start(self, plan: TrainingPlan) -> None:
        if plan.rates is not None and plan.directory is not None:
            choice = plan.rates.choice
            draw(plan.directory, plan.rates.points, lr=choice.lr, largest=choice.largest)


def draw(
    directory: Path, points: "Sequence[RatePoint]", *, lr: float, largest: float
) -> Path | None:
    """Draw a range test; None where that is not possible, which a line says."""
    if find_spec("matplotlib") is None:
        render.note("note: no figure is drawn: pip install 'covtool[plots]'.")
        return None
    from covtool.plotting.learning_rates import plot_rates

    try:
        return plot_rates(points, directory / FIGURE, lr=lr, largest=largest, overwrite=True)
    except Exception as problem:  # a figure is no reason to end a run that is about to start
        render.warning(f"the range test is not drawn: {problem}")
        return None
