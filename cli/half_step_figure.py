"""SVDNet's half-steps as a picture in the folder of the run, which grows with it."""

from importlib.util import find_spec
from pathlib import Path

from covtool.training.run.observer import SilentObserver, TrainingPlan
from covtool.training.run.records import EpochRecord
from covtool_cli import render

FIGURE = "rri.png"  # in the folder of the run


class HalfStepFigure(SilentObserver):
    """Draws S(W), rank-1 and mAP anew after every phase, where matplotlib is installed."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._draws = find_spec("matplotlib") is not None

    def on_start(self, plan: TrainingPlan) -> None:
        self._directory = plan.directory
        if not self._draws:
            render.note("note: no figure is drawn: pip install 'covtool[plots]'.")

    def on_epoch(self, record: EpochRecord) -> None:
        if not (self._draws and record.figures):
            return
        from covtool.plotting.rri import plot_half_steps

        try:
            plot_half_steps([self._directory], self._directory / FIGURE, overwrite=True)
        except Exception as problem:  # a figure is no reason to end a run of hours
            self._draws = False
            render.warning(f"no more figures are drawn: {problem}")
