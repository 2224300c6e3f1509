"""Progress of a training run on stderr: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from covtool.figure_names import NAMES
from covtool_cli import render, retrieval_tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from covtool.data.datasets.retrieval.report import RetrievalReport
    from covtool.training import EpochRecord, StepRecord, TrainingPlan


SHOWN = ("loss", "top_1", "top_5", "rank_1", "mean_average_precision")
"""The figures of an epoch that a line has room for."""


def metric_words(metric: str) -> tuple[str, str]:
    """Return a metric's words and the format of its values, as an epoch's line has them."""
    row = NAMES[metric]
    return row.words, "{:.2f} %" if row.unit == "%" else "{:.4f}"


class TrainingLines(AbstractContextManager):
    """A `covtool.training.Observer` that writes a line per epoch, and one now and then between."""

    def __init__(self) -> None:
        self._last = time.monotonic()  # unlike time.time, it is never set back

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        """Leave the terminal as it was."""

    def on_report(self, report: "RetrievalReport") -> None:
        retrieval_tables.show_report(report)

    def on_start(self, plan: "TrainingPlan") -> None:
        purpose = "search with and in" if plan.phases else "validate on"
        render.note(
            f"{render.counted(plan.training_images, 'image')} to train on, "
            f"{plan.validation_images:,} to {purpose}, "
            f"{render.counted(plan.num_classes, 'class', 'classes')}, "
            f"{render.counted(plan.updates_per_epoch, 'update')} per epoch, "
            f"on {plan.device}"
        )
        if plan.directory is not None:
            render.note(f"writing to {plan.directory}")

    def on_step(self, record: "StepRecord") -> None:
        if time.monotonic() - self._last > render.SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            render.note(f"epoch {record.epoch} {record.step}/{record.steps} {pace(record)}")

    def on_epoch(self, record: "EpochRecord") -> None:
        self._last = time.monotonic()
        render.note(epoch_line(record))

    def on_end(self) -> None:
        """Leave nothing open: lines have no end."""

    def on_note(self, text: str) -> None:
        render.note(f"note: {text}")

    def track(self, iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
        return render.track(iterable, description, total)


class TrainingBar(TrainingLines):
    """A bar for the epoch that is under way, and a line for each that is done."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None

    def __exit__(self, *problem: object) -> None:
        self._hide()

    def on_step(self, record: "StepRecord") -> None:
        if self._bar is None:
            columns = (_text("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(
                *columns, _text("{task.fields[pace]}"), console=render.stderr(), transient=True
            )
            self._bar.start()
            self._task = self._bar.add_task(f"epoch {record.epoch}", total=record.steps, pace="")
        self._bar.update(self._task, completed=record.step, pace=pace(record))
        if record.step == record.steps:
            self._hide()  # rich allows one live display at a time, and evaluation shows its own bar

    def on_end(self) -> None:
        self._hide()

    def on_note(self, text: str) -> None:
        self._hide()
        super().on_note(text)

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _text(template: str) -> TextColumn:
    return TextColumn(template, markup=False)  # a name with [brackets] is no markup


def training_observer() -> TrainingLines:
    """Return the observer for this stderr; a context manager that tidies up."""
    return TrainingBar() if render.stderr().is_terminal else TrainingLines()


def pace(record: "StepRecord") -> str:
    """Return loss, learning rate, speed and time left."""
    return (
        f"loss {record.loss:.4f}  lr {record.lr:.3g}  {record.images_per_s:.0f} images/s  "
        f"{duration(record.eta_s)} left"
    )


def epoch_line(record: "EpochRecord") -> str:
    """Return the line that sums an epoch up."""
    loss, phase = record.train_loss, record.phase
    parts = [
        f"epoch {record.epoch}/{record.epochs}",
        *([] if phase is None else [phase.name]),
        *([] if loss is None else [f"train loss {loss:.4f}"]),
        *([] if phase is None else [f"S(W) {phase.correlation:.4f}"]),
        *_shown(record.figures),
        *([f"{record.replaced} unreadable"] if record.replaced else []),
        duration(record.seconds),
        *(["no better than a guess"] if record.is_chance else []),
        *(["best so far"] if record.is_best and not record.is_chance else []),
    ]
    return "  ".join(parts)


def _shown(figures: "Mapping[str, float]") -> list[str]:
    there = ((*metric_words(name), figures[name]) for name in SHOWN if name in figures)
    return [f"{words} {value.format(number)}" for words, value, number in there]


def duration(seconds: float) -> str:
    """Return seconds as 1:02:03, without leading zeros."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
