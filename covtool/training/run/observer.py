"""The observer of a training run, which reports its progress without printing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from covtool.data.datasets.retrieval.report import RetrievalReport
from covtool.processes import Processes
from covtool.progress import silent
from covtool.training.parts.parameter_groups import ParameterGroup
from covtool.training.run.records import EpochRecord, StepRecord

if TYPE_CHECKING:
    from covtool.training.parts.phases import Phase
    from covtool.training.parts.rate_choice import RangeTest


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """A run that is about to start, or to go on.

    Attributes:
        directory: Folder that everything is written to; None for a dry run.
        device: Device that it runs on.
        epochs: Epochs of the run.
        first_epoch: Epoch that it starts with, counted from 1.
        first_update: Step of the optimizer that it starts with, counted from 1.
        updates_per_epoch: Steps of the optimizer per epoch.
        training_images: Training images per epoch.
        validation_images: Images evaluated on; of a run in phases, those of the search.
        num_classes: Outputs of the model.
        groups: Parameters, with learning rate and weight decay.
        phases: Phases of SVDNet's training; empty for another.
        rates: Range test that found the learning rate; None where it was given, or found before.
    """

    directory: Path | None
    device: str
    epochs: int
    first_epoch: int
    first_update: int
    updates_per_epoch: int
    training_images: int
    validation_images: int
    num_classes: int
    groups: tuple[ParameterGroup, ...]
    phases: "tuple[Phase, ...]" = ()
    rates: "RangeTest | None" = None


class Observer(Protocol):
    """A receiver of a run's events. All calls come from the thread that trains."""

    def on_report(self, report: RetrievalReport) -> None:
        """Receive the content of a data set for retrieval."""

    def on_start(self, plan: TrainingPlan) -> None:
        """Receive the plan of a run that is about to start."""

    def on_step(self, record: StepRecord) -> None:
        """Receive an update of the weights."""

    def on_epoch(self, record: EpochRecord) -> None:
        """Receive an epoch, once it was trained, evaluated and saved."""

    def on_end(self) -> None:
        """Take note that a run that was started has ended, in whichever way."""

    def on_note(self, text: str) -> None:
        """Receive a sentence that a user should read."""

    def track(self, iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
        """Show the progress of checks and evaluation; a `covtool.progress.Track`."""


class SilentObserver:
    """An `Observer` that ignores everything."""

    track = staticmethod(silent)

    def on_report(self, report: RetrievalReport) -> None: ...
    def on_start(self, plan: TrainingPlan) -> None: ...
    def on_step(self, record: StepRecord) -> None: ...
    def on_epoch(self, record: EpochRecord) -> None: ...
    def on_end(self) -> None: ...
    def on_note(self, text: str) -> None: ...


class Observers:
    """Several observers, each of which receives every event, in order.

    Args:
        first: Observer that shows the progress as well.
        *others: Observers of the events alone.
    """

    def __init__(self, first: Observer, *others: Observer) -> None:
        self._all = (first, *others)
        self.track = first.track  # one progress bar at a time

    def on_report(self, report: RetrievalReport) -> None:
        for observer in self._all:
            observer.on_report(report)

    def on_start(self, plan: TrainingPlan) -> None:
        for observer in self._all:
            observer.on_start(plan)

    def on_step(self, record: StepRecord) -> None:
        for observer in self._all:
            observer.on_step(record)

    def on_epoch(self, record: EpochRecord) -> None:
        for observer in self._all:
            observer.on_epoch(record)

    def on_end(self) -> None:
        for observer in self._all:
            observer.on_end()

    def on_note(self, text: str) -> None:
        for observer in self._all:
            observer.on_note(text)


def observer_for(observer: Observer | None, processes: Processes) -> Observer:
    """Return the observer in the first process, a silent one in the others."""
    return observer if observer is not None and processes.is_main else SilentObserver()
