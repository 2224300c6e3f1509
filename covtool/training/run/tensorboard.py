"""A run's curves for TensorBoard, beside metrics.jsonl and summary.csv."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from covtool.errors import ArgumentError, reason_of
from covtool.specs import TrainingSpec
from covtool.training.run.observer import Observer, Observers, SilentObserver, TrainingPlan
from covtool.training.run.records import COLUMNS, EpochRecord, StepRecord

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
        terms = {f"train/{name}": value for name, value in record.losses.items()}
        self._write(
            {
                "train/loss": record.loss,
                **terms,
                "train/lr": record.lr,
                "train/grad_norm": record.grad_norm,
                "train/grad_norm_centralized": record.grad_norm_centralized,
                "train/images_per_s": record.images_per_s,
            }
        )

    def on_epoch(self, record: EpochRecord) -> None:
        named = {COLUMNS[name].removeprefix("eval_"): v for name, v in record.figures.items()}
        self._write({f"eval/{name}": value for name, value in named.items()})
        if record.phase is not None:
            self._write({"train/correlation": record.phase.correlation})
        with self._giving_up():
            if self._writer is not None:
                self._writer.flush()

    def on_end(self) -> None:
        with self._giving_up():
            if self._writer is not None:
                self._writer.close()

    def _write(self, values: dict[str, float | None]) -> None:
        with self._giving_up():
            for name, value in values.items():
                if value is not None and self._writer is not None:
                    self._writer.add_scalar(name, value, self._updates)

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            self._writer = None  # no second note, and no wait for a disk that is full
            reason = reason_of(problem)
            self._note(f"The curves for TensorBoard end here: they cannot be written. {reason}")
