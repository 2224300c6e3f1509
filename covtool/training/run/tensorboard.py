"""A run's curves for TensorBoard, beside metrics.jsonl and summary.csv."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from covtool.errors import ArgumentError, reason_of
from covtool.specs import TrainingSpec
from covtool.training.run.curves import epoch_curves, step_curves
from covtool.training.run.observer import Observer, Observers, SilentObserver, TrainingPlan
from covtool.training.run.records import EpochRecord, StepRecord

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"  # in the folder of the run


def refuse_without_package(training: TrainingSpec) -> None:
    """Check that TensorBoard's package is there, where it is asked for.

    Raises:
        ArgumentError: It is not installed.
    """
    if training.tensorboard and find_spec("tensorboard") is None:
        raise ArgumentError(
            "--tensorboard needs the package tensorboard, which is not installed.",
            hint="Install it: pip install 'covtool[tensorboard]'.",
        )


def with_tensorboard(observer: Observer, training: TrainingSpec) -> Observer:
    """Return the observer, and TensorBoard beside it where it is asked for."""
    return Observers(observer, TensorBoard(observer.on_note)) if training.tensorboard else observer


class TensorBoard(SilentObserver):
    """Writes event files; all curves are over the updates of the run.

    Where a run is resumed, TensorBoard drops the points after the state that it is resumed from.
    If the curves cannot be written, a note says so, and the run goes on without them.

    Args:
        note: Receiver of that note.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._writer: SummaryWriter | None = None
        self._updates = 0

    def on_start(self, plan: TrainingPlan) -> None:
        from torch.utils.tensorboard import SummaryWriter  # an extra, and slow to import

        self._updates = plan.first_update - 1
        forgotten = plan.first_update if self._updates else None
        with self._giving_up():
            self._writer = SummaryWriter(str(plan.directory / FOLDER), purge_step=forgotten)

    def on_step(self, record: StepRecord) -> None:
        self._updates = record.update
        self._write(step_curves(record))

    def on_epoch(self, record: EpochRecord) -> None:
        self._write(epoch_curves(record))
        with self._giving_up():
            if self._writer is not None:
                self._writer.flush()

    def on_end(self) -> None:
        with self._giving_up():
            if self._writer is not None:
                self._writer.close()

    def _write(self, values: dict[str, float]) -> None:
        with self._giving_up():
            for name, value in values.items():
                if self._writer is not None:
                    self._writer.add_scalar(name, value, self._updates)

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            self._writer = None  # no second note, and no wait for a disk that is full
            reason = reason_of(problem)
            self._note(f"The curves for TensorBoard end here: they cannot be written. {reason}")
