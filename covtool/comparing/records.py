"""Records of a comparison: a row for each head that could be built, a reason for each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from covtool.data.datasets.found_images import counted
from covtool.specs import HeadSpec

TOP_1 = "left-out top-1"
MEAN_AVERAGE_PRECISION = "mAP"

Interval = tuple[float, float]
"""Lower and upper end, percent or points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRow:
    """One head of one checkpoint for one image size, calibrated in closed form.

    Attributes:
        checkpoint: Name of the model, as it was given.
        img_size: Height and width of the images, in pixels.
        taps: Modules whose outputs are pooled: one, or two for a pair.
        head: Head with every choice made.
        label: Short name of the row, which tells it from the others.
        figure: Left-out top-1, or mAP for retrieval, percent.
        interval: Of the figure, the images resampled; NaN where they are too few.
        difference: Of the figure to that of the best row, points; 0 or less.
        difference_interval: Of the difference, the same images in both rows; NaN likewise.
        rank_1: For retrieval, percent; None for classification.
        left_out_loss: Mean negative log-likelihood of the left-out images in nats, at the
            temperature that a calibration keeps; None for retrieval.
        projected_to: Directions that the classifier's inputs were projected to, since no exact
            solution fits the bound on memory: the figure is approximate. None where it is exact.
        features: Inputs of the classifier.
        parameters: Trained numbers of the whole model.
        gflops: Floating point operations of one image, in 1e9.
        ms_per_image: Median duration of a forward pass of one image, in milliseconds.
        memory_mib: Largest memory of that forward pass beside the images, in MiB.
        near_best: Whether the interval of the difference contains 0, within the noise of the best,
            or there is none, which tells no row from the best.
        on_front: Whether no other row has a higher figure at the same or lower cost.
        recommended: Whether it is the cheapest of those within one standard error of the best.
        command: Arguments of the command that makes this model, ``covtool`` first; empty where
            no command does.
    """

    checkpoint: str
    img_size: tuple[int, int]
    taps: tuple[str, ...]
    head: HeadSpec
    label: str
    figure: float
    interval: Interval
    difference: float
    difference_interval: Interval
    rank_1: float | None = None
    left_out_loss: float | None = None
    projected_to: int | None = None
    features: int
    parameters: int
    gflops: float
    ms_per_image: float
    memory_mib: float
    near_best: bool
    on_front: bool
    recommended: bool
    command: tuple[str, ...]

    @property
    def has_interval(self) -> bool:
        """Whether the images, or identities, are enough to tell rows apart."""
        return all(map(isfinite, self.interval))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutRow:
    """A head that could not be compared, and the reason.

    Attributes:
        checkpoint: Name of the model, as it was given.
        img_size: Height and width of the images, in pixels.
        taps: Modules whose outputs would have been pooled.
        head: Head that was asked for.
        label: Short name of the row.
        reason: What prevents it, in a sentence.
    """

    checkpoint: str
    img_size: tuple[int, int]
    taps: tuple[str, ...]
    head: HeadSpec
    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Seconds of the parts of a comparison.

    Attributes:
        passes: Forward passes of the networks over the images.
        heads: Reduction, features and classifier of all heads.
        speed: Measured durations and memory of an image.
        intervals: Resampling.
    """

    passes: float
    heads: float
    speed: float
    intervals: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Heads, taps, checkpoints and image sizes side by side.

    Attributes:
        rows: Best figure first.
        left_out: What could not be compared.
        data: Name of the data set.
        images: Training images that the figures are of.
        classes: Classes, or identities.
        queries: Images that are searched for, whose figures they are; None for classification.
        metric: `TOP_1` or `MEAN_AVERAGE_PRECISION`.
        notes: Facts worth knowing, in sentences.
        unreadable: Images that could not be read, with the reason.
        seconds: Duration of each part.
    """

    rows: tuple[ComparedRow, ...]
    left_out: tuple[LeftOutRow, ...]
    data: str
    images: int
    classes: int
    metric: str
    notes: tuple[str, ...]
    unreadable: tuple[tuple[Path, str], ...]
    seconds: Durations
    queries: int | None = None

    @property
    def recommended(self) -> ComparedRow | None:
        """The row to convert; None without rows."""
        return next((row for row in self.rows if row.recommended), None)

    @property
    def likeliest(self) -> ComparedRow | None:
        """The row with the smallest left-out loss; None where there is no loss."""
        rows = (row for row in self.rows if row.left_out_loss is not None)
        return min(rows, key=lambda row: row.left_out_loss, default=None)

    @property
    def cheapest(self) -> ComparedRow | None:
        """The row near the best with the fewest operations, features where equal; None without."""
        near = (row for row in self.rows if row.near_best)
        return min(near, key=lambda row: (row.gflops, row.features), default=None)


def on_approximate(rows: Sequence[ComparedRow]) -> str | None:
    """Return what ``~`` before a figure means, and of how many rows; None where all are exact."""
    found = [row.projected_to for row in rows if row.projected_to is not None]
    if not found:
        return None
    return (
        f"~ approximate, {len(found):,} of {counted(len(rows), 'row')}: no exact solution fits "
        f"--calibrate-memory, features were projected to {min(found):,} directions or more"
    )
