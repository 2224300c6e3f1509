"""The page of a run that a command trains: at its end, and after every few epochs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from covtool.pages.rendering import missing_packages
from covtool.training.run.observer import SilentObserver, TrainingPlan
from covtool.training.run.records import EpochRecord
from covtool_cli import launching, render

if TYPE_CHECKING:
    from covtool.training.parts.parameter_groups import ParameterGroup


MOST_EVALUATED = 10_000
"""Validation images that the page at a run's end is made with; it takes as long as validating."""


class RunReports(SilentObserver):
    """Writes the page of a run; a page that fails is a warning, and never the end of a run.

    Args:
        every: Epochs after which the page is written anew; 0 for the end of the run alone.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._plan: TrainingPlan | None = None
        self._writes = not missing_packages()

    def on_start(self, plan: TrainingPlan) -> None:
        self._plan = plan
        if not self._writes:
            render.note("note: no page about the run is written: pip install 'covtool[report]'.")

    def on_epoch(self, record: EpochRecord) -> None:
        # The page of the last epoch follows when the run has its result.
        due = self._every and record.epoch and record.epoch % self._every == 0
        if due and record.epoch < record.epochs and self._plan is not None:
            self._write(self._plan.directory, self._plan.groups)

    def finish(self, directory: Path, *, several: bool) -> Path | None:
        """Write the page of a run that is over, or of several; None where that is not possible.

        That of a single run ends with an evaluation of its best model, unless there are more than
        `MOST_EVALUATED` images for it. Of several processes the first one writes.
        """
        if not launching.is_main():
            return None
        if several or self._plan is None:
            return self._write(directory, None)
        return self._write(directory, self._plan.groups, evaluates=self._evaluates)

    @property
    def _evaluates(self) -> bool:
        # Of several processes the others have ended: they would be waited for.
        few = self._plan is not None and self._plan.validation_images <= MOST_EVALUATED
        return few and not launching.is_launched()

    def _write(
        self,
        directory: Path,
        groups: "Sequence[ParameterGroup] | None",
        *,
        evaluates: bool = False,
    ) -> Path | None:
        if not self._writes:
            return None
        try:
            from covtool.reporting.run_evaluation import evaluated_run
            from covtool.reporting.run_page import report_runs

            evaluator = None
            if evaluates and self._plan is not None:
                evaluator = partial(evaluated_run, device=self._plan.device, track=render.track)
            written = report_runs([directory], groups=groups, evaluator=evaluator)
            for text in written.notes:
                render.note(f"note: {text}")
            return written.path
        except KeyboardInterrupt:
            if not evaluates:
                raise
            # The run is complete: its result is yet to be shown.
            render.warning("the page about the run has no evaluation: it was interrupted")
            return self._write(directory, groups)
        except Exception as problem:  # a page is no reason to end a run of hours
            if evaluates:  # which takes memory and all images: the rest needs neither
                render.warning(f"the page about the run has no evaluation: {problem}")
                return self._write(directory, groups)
            render.warning(f"no page about the run is written: {problem}")
            self._writes = False
            return None
