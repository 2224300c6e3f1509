"""Requests for an average, and its result."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from covtool.data.datasets.checking import OnBadImage
from covtool.errors import ArgumentError
from covtool.specs import LayoutSpec, Recipe, ScoreSpec
from covtool.specs.provenance import MOST_SOURCES, AverageSource
from covtool.specs.record import Contradiction, refuse_contradictions

MOST_POINTS = 1_001
"""Points of a line that are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageRequest:
    """Models, how their weights are averaged, and the file for the result.

    Attributes:
        models: Models, as `covtool.open_model` takes them, and patterns of files.
        output: File to write.
        weights: A positive number for each model; None for equal ones.
        greedy: Whether models are added one by one, each only if it does not make things worse.
        between: Start and end of a line of weights, in place of `models`.
        alpha: Point of the line to take, 0 at the start and 1 at the end; None for the best one.
        steps: Number of points that are measured to find it, both ends included.
        data: Data set to measure on; see `covtool.data.datasets.reading.scan`.
        split: Name of its images to use; None for the validation images.
        bn_data: Data set whose training images give batch norms their statistics anew.
        layout: Choices in reading the data sets.
        batch_size: Images per batch.
        workers: Processes that load images.
        device: Device that models run on; ``auto`` for the best there is.
        on_bad_image: Whether an unreadable image is an error, or left out.
        overwrite: Whether `output` may replace another file.
    """

    models: tuple[str, ...] = ()
    output: Path
    weights: tuple[float, ...] | None = None
    greedy: bool = False
    between: tuple[str, str] | None = None
    alpha: float | None = None
    steps: int = 11
    data: Path | None = None
    split: str | None = None
    bn_data: Path | None = None
    layout: LayoutSpec = field(default_factory=LayoutSpec)
    batch_size: int = 32
    workers: int = 2
    device: str = "auto"
    on_bad_image: OnBadImage = "error"
    overwrite: bool = False

    def validate(self) -> None:
        """Check the fields against each other.

        Raises:
            ArgumentError: Two of them contradict each other, or one has no effect.
        """
        refuse_contradictions((*self._contradictions(), *self._of_numbers()))

    @property
    def chooses(self) -> bool:
        """Whether images decide what is averaged."""
        return self.greedy or (self.between is not None and self.alpha is None)

    def _contradictions(self) -> Iterator[Contradiction]:
        line = self.between is not None
        # Two words follow --between, whatever they are.
        option = next((end for end in self.between or () if str(end).startswith("-")), None)
        yield (
            option is not None,
            f"{option} stands where --between needs a model.",
            "Name both ends of the line: --between START END.",
        )
        yield (
            not line and not self.models,
            "There are no models to average.",
            "Name two or more, or --between START END.",
        )
        yield (
            line and bool(self.models),
            "--between names both models of its line; there are others as well.",
            "Leave the others out, or --between.",
        )
        yield (
            line and (self.greedy or self.weights is not None),
            "--between is a way to average of its own.",
            "Leave --greedy and --weights out; --alpha sets the weights of a line.",
        )
        yield (
            not line and self.alpha is not None,
            "--alpha is a point of a line, and there is none.",
            "Add --between START END, or use --weights.",
        )
        yield (
            self.greedy and self.weights is not None,
            "A greedy soup has equal weights.",
            "Leave --weights out, or --greedy.",
        )
        yield (
            self.chooses and self.data is None,
            "Nothing says which average is the best one.",
            "Add --data DIR with validation images"
            + (", or choose a point yourself: --alpha 0.5." if line else "."),
        )
        yield (
            self.split is not None and self.data is None,
            "--split is a part of a data set, and there is none.",
            "Add --data DIR.",
        )

    def _of_numbers(self) -> Iterator[Contradiction]:
        weights, alpha = self.weights or (), self.alpha
        yield (
            not all(isfinite(weight) and 0 < weight <= 1e9 for weight in weights),
            "Weights are positive numbers.",
            "Leave a model out that should not count.",
        )
        yield (
            alpha is not None and not 0 <= alpha <= 1,
            f"--alpha is between 0, the start, and 1, the end, but it is {alpha}.",
            "Beyond its ends, a line leads away from both models.",
        )
        yield (
            not 2 <= self.steps <= MOST_POINTS,
            f"--steps is between 2 and {MOST_POINTS:,}, but it is {self.steps:,}.",
            "11 measures 0, 0.1, ... 1.",
        )


def require_weights(weights: tuple[float, ...] | None, models: int) -> tuple[float, ...]:
    """Return the share of each model, which add up to 1.

    Args:
        weights: Positive numbers; None for equal shares.
        models: Number of models.

    Raises:
        ArgumentError: There are fewer or more weights than models, or not two models.
    """
    if not 2 <= models <= MOST_SOURCES:
        raise ArgumentError(
            f"An average needs two models, and at most {MOST_SOURCES:,}, but there "
            f"{'is 1' if models == 1 else f'are {models:,}'}.",
            hint="Of a run, name several epochs: RUN@epoch-3 RUN@epoch-4, or "
            "RUN/checkpoints/epoch-*.pt.",
        )
    given = weights or (1.0,) * models
    if len(given) != models:
        raise ArgumentError(
            f"There are {len(given)} weights for {models} models.",
            hint="Give one for each, in the order of the models: --weights 1,2,1.",
        )
    return tuple(weight / sum(given) for weight in given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A model or an average that was measured.

    Attributes:
        name: Name of the model, or the point of the line.
        top_1: Share of images whose class has the highest logit, in percent.
        loss: Mean cross entropy, in nats.
        alpha: Position on the line; None for a model of its own.
        with_it: `top_1` of the soup with this model in it; None where that was not tried.
        taken: Whether it is in the result, or of a line is the result.
    """

    name: str
    top_1: float
    loss: float
    alpha: float | None = None
    with_it: float | None = None
    taken: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Figures of the result.

    Attributes:
        top_1: Share of images whose class has the highest logit, in percent.
        loss: Mean cross entropy, in nats.
        images: Number of images.
        data: Name of the data set, and the split.
        scores: Temperature of predictions that these images give; None where they give none.
    """

    top_1: float
    loss: float
    images: int
    data: str
    scores: ScoreSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageResult:
    """The file that `average` wrote.

    Attributes:
        path: Path of the file.
        method: ``uniform``, ``weighted``, ``greedy`` or ``line``.
        sources: Models in it, with their shares.
        left_out: Names of models that were tried and are not in it.
        points: Models or averages that were measured on the way.
        measured: Figures of the result; None without data.
        statistics_of: Name of the data that batch norms were estimated on anew; None for averages.
        device: Device that models ran on.
        unreadable: File and reason of images that were left out.
        notes: Assumptions, and what is special about the result.
        recipe: Recipe in the file.
    """

    path: Path
    method: str
    sources: tuple[AverageSource, ...]
    left_out: tuple[str, ...]
    points: tuple[Point, ...]
    measured: Measured | None
    statistics_of: str | None
    device: str
    unreadable: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]
    recipe: Recipe
