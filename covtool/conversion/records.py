"""Records of a conversion: request, plan, result."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from covtool.processes import Processes
from covtool.progress import Track
from covtool.specs import (
    ConvertSpec,
    LaunchSpec,
    LayoutSpec,
    ModelSource,
    NeighborSpec,
    Operation,
    Recipe,
    ScoreSpec,
)
from covtool.surgery.calibrated import CalibrationResult
from covtool.surgery.conv_calibration import ConvCalibration
from covtool.surgery.convolutions import ConvolutionsPlan
from covtool.surgery.eigenlayer import EigenlayerPlan
from covtool.surgery.head import HeadPlan
from covtool.surgery.report import Change, KeyChanges, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest:
    """A source to convert, the operations, and where the result goes.

    Attributes:
        source: The model, or its name alone.
        operations: Operations to do, in order.
        spec: Number of classes, calibration, seed.
        output: File to write; None for ``<stem>-<what>.safetensors`` in the current folder.
        overwrite: Whether to replace an existing output.
        classes_from: Data set whose classes the new classifier gets; None for those of
            `calibrate_with`, or none.
        calibrate_with: Data set whose training images calibrate head and operators; None for no
            calibration.
        layout: Choices in reading the data sets.
        batch_size: Images per batch.
        workers: Processes that load them.
        device: Device to compute on: ``auto``, ``cpu``, ``cuda``.
        on_bad_image: ``error`` or ``skip``.
        launch: Settings of several processes that calibrate together.
    """

    source: ModelSource
    operations: Sequence[Operation]
    spec: ConvertSpec = field(default_factory=ConvertSpec)
    output: Path | None = None
    overwrite: bool = False
    classes_from: Path | None = None
    calibrate_with: Path | None = None
    layout: LayoutSpec = field(default_factory=LayoutSpec)
    batch_size: int = 32
    workers: int = 2
    device: str = "auto"
    on_bad_image: str = "error"
    launch: LaunchSpec = field(default_factory=LaunchSpec)

    def __post_init__(self) -> None:
        # A name alone becomes a source here; the record is frozen.
        object.__setattr__(self, "source", ModelSource.of(self.source))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A conversion that is under way.

    Attributes:
        request: The request.
        processes: Processes that calibrate together.
        track: Function that shows the progress.
    """

    request: ConversionRequest
    processes: Processes
    track: Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of a network's predictions before and after its convolutions were converted.

    Attributes:
        data: Name of the data set, and of the split.
        images: Number of images that both networks classified.
        agreement: Share of them that get the same class as before, percent.
        top_1_before: Accuracy of the source, percent; None where the data has other classes.
        top_1_after: Accuracy after; None likewise.
        classes_guessed: Whether the two accuracies rest on a guess at the order of the classes.
    """

    data: str
    images: int
    agreement: float
    top_1_before: float | None
    top_1_after: float | None
    classes_guessed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionsReport:
    """Convolutions that become operators.

    Attributes:
        plan: Layers, and the operator that they become.
        calibration: Fit to the images; None without calibration.
        kept: Agreement of the whole network with its source; None without calibration, or with a
            new head.
    """

    plan: ConvolutionsPlan
    calibration: ConvCalibration | None = None
    kept: Agreement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionPlan:
    """Everything that a conversion will do, or did.

    Attributes:
        source: File or name that was read.
        output: The file to write.
        recipe: Recipe of that file.
        head: Plan of the head; None where it stays.
        convolutions: Those that become operators, for each such operation.
        eigenlayer: Plan of the Eigenlayer; None without one.
        random: Paths of the modules whose weights start at random.
        changes: Modules that differ.
        keys: Tensors that stay, come and go.
        before: Cost of the source model.
        after: Cost of the new one.
        notes: Facts worth knowing about the source and the result, in sentences.
        unreadable: Images that were left out, with the reason.
    """

    source: str
    output: Path
    recipe: Recipe
    head: HeadPlan | None
    convolutions: tuple[ConvolutionsReport, ...] = ()
    changes: tuple[Change, ...]
    keys: KeyChanges
    before: Size
    after: Size
    notes: tuple[str, ...]
    unreadable: tuple[tuple[Path, str], ...] = ()
    eigenlayer: EigenlayerPlan | None = None
    random: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionResult:
    """A file that was written.

    Attributes:
        plan: Everything that was done, but for what a calibration found out.
        path: The file.
        calibration: Calibration of the head; None without one.
        untouched: Tensors that were verified to be byte for byte those of the source.
        scores: Temperature of predictions; None without a sound one.
        neighbors: Training embeddings in the file; None without any.
        notes: Facts worth knowing about the temperature, in sentences.
    """

    plan: ConversionPlan
    path: Path
    calibration: CalibrationResult | None
    untouched: int
    scores: ScoreSpec | None = None
    neighbors: NeighborSpec | None = None
    notes: tuple[str, ...] = ()

    @property
    def unreadable(self) -> tuple[tuple[Path, str], ...]:
        """Images that were left out, with the reason."""
        return self.plan.unreadable
