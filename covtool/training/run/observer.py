"""How a training run reports how far it is, without printing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from covtool.data.datasets.retrieval.report import RetrievalReport
from covtool.progress import silent
from covtool.training.parts.parameter_groups import ParameterGroup

if TYPE_CHECKING:
    from covtool.training.parts.phases import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """A run that is about to start, or to go on.

    Attributes:
        directory: Where everything is written; None for a dry run.
        device: Where it runs.
        epochs: All of them.
        first_epoch: The one that it starts with, counted from 1.
        first_update: The step of the optimizer that it starts with, counted from 1.
        updates_per_epoch: Steps of the optimizer.
        training_images: Per epoch.
        validation_images: Per epoch; of a run in phases, those of the search.
        num_classes: Outputs.
        groups: Parameters, with learning rate and weight decay.
        phases: Of SVDNet's training; empty for another.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One update of the weights.

    Attributes:
        epoch: Counted from 1.
        step: Within the epoch, counted from 1.
        steps: In the epoch.
        update: Within the run, counted from 1.
        loss: Of its images, in nats.
        lr: That it was done with, of a group with lr_scale 1.
        grad_norm: Norm of the gradient before clipping.
        images_per_s: Loading included.
        eta_s: Seconds to the end of the run, at this pace.
        losses: The terms of a sum of losses, each without its weight; empty for a single one.
        grad_norm_centralized: Norm of the gradient after clipping and gradient centralization,
            without weight decay; None without centralization.
    """

    epoch: int
    step: int
    steps: int
    update: int
    loss: float
    lr: float
    grad_norm: float
    images_per_s: float
    eta_s: float
    losses: dict[str, float] = field(default_factory=dict)
    grad_norm_centralized: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRecord:
    """Where an epoch stands in the phases of SVDNet's training.

    Attributes:
        name: As ``restraint 2``; ``start`` for the model as it came.
        correlation: S(W) at the epoch's end, of the weights that are evaluated.
        smallest_eigenvalue_ratio: Of the Gram matrix of W, over its smallest diagonal element.
    """

    name: str
    correlation: float
    smallest_eigenvalue_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: Counted from 1; 0 for the model as it came.
        epochs: All of them.
        train_loss: Mean over its training images, in nats; None where nothing was trained.
        figures: What was measured after it, under the names of `covtool.training.loop.validate`;
            empty where nothing was.
        lr: At its end; None where nothing was trained.
        is_best: Better than every epoch before.
        seconds: It took, evaluation included.
        is_chance: Whether the metric is no better than that of a guess.
        replaced: Training images that others took the place of, being unreadable.
        head: The covtool head in use, as `--head-schedule` writes it; empty without one.
        phase: Of SVDNet's training; None for another.
    """

    epoch: int
    epochs: int
    train_loss: float | None
    figures: Mapping[str, float]
    lr: float | None
    is_best: bool
    seconds: float
    is_chance: bool = False
    replaced: int = 0
    head: str = ""
    phase: PhaseRecord | None = None

    @property
    def eval_loss(self) -> float | None:
        """Cross entropy on the validation images, in nats."""
        return self.figures.get("loss")

    @property
    def top_1(self) -> float | None:
        """In percent."""
        return self.figures.get("top_1")

    @property
    def top_5(self) -> float | None:
        """In percent; None below six classes."""
        return self.figures.get("top_5")


class Observer(Protocol):
    """Somebody who is told about a run. All calls come from the thread that trains."""

    def on_report(self, report: RetrievalReport) -> None:
        """The data set is one for retrieval, and holds this."""

    def on_start(self, plan: TrainingPlan) -> None:
        """The run is about to start."""

    def on_step(self, record: StepRecord) -> None:
        """The weights were updated."""

    def on_epoch(self, record: EpochRecord) -> None:
        """An epoch was trained, evaluated and saved."""

    def on_end(self) -> None:
        """A run that was started has ended, in whichever way."""

    def on_note(self, text: str) -> None:
        """Something is worth knowing."""

    def track(self, iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
        """A `covtool.progress.Track` for what comes before and between: checks, evaluation."""


class SilentObserver:
    """An `Observer` that does not want to know."""

    track = staticmethod(silent)

    def on_report(self, report: RetrievalReport) -> None: ...
    def on_start(self, plan: TrainingPlan) -> None: ...
    def on_step(self, record: StepRecord) -> None: ...
    def on_epoch(self, record: EpochRecord) -> None: ...
    def on_end(self) -> None: ...
    def on_note(self, text: str) -> None: ...


class Observers:
    """Several observers, who are told one after the other.

    Args:
        first: The one who tracks.
        *others: Beside it.
    """

    def __init__(self, first: Observer, *others: Observer) -> None:
        self._all = (first, *others)
        self.track = first.track

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
