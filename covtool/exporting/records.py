"""Records of an export: request, what was compared, result."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from covtool.data.datasets.checking import OnBadImage
from covtool.specs import InputSpec, ModelSource

Precision = Literal["float32", "float16", "int8"]

NEWTON_SCHULZ = "newton-schulz"
ITERATIONS = 15
"""Newton-Schulz steps in the place of a solver, where none are asked for."""

OPSET = 18
"""ONNX operator set, where none is asked for: the exporter's own, which most runtimes have."""

IMAGES = 200
"""Images taken of a data set, where no number is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """A model to export, and where it goes.

    Attributes:
        source: The model, or its name alone.
        output: File to write, or folder to make; its suffix says the format.
        format: Name of a row of `covtool.exporting.formats.FORMATS`; None for the suffix's.
        preprocess: Whether scaling and normalization of pixels become part of the program.
        half: Whether weights and activations become float16.
        int8: Whether convolutions and linear layers compute in int8.
        calibrate: Data set whose training images set the ranges of int8.
        data: Data set that the program is compared on; None for random images.
        images: Images to take of a data set, at most.
        root: ``newton-schulz`` in the place of heads that need a solver; None for none.
        iterations: Steps of it; None for `ITERATIONS`.
        opset: ONNX operator set; None for `OPSET`.
        tolerance: Bound of the difference that replaces the precision's own.
        on_bad_image: Whether an unreadable image is an error, or left out.
        overwrite: Whether `output` may replace what is there.
    """

    source: ModelSource
    output: Path
    format: str | None = None
    preprocess: bool = False
    half: bool = False
    int8: bool = False
    calibrate: Path | None = None
    data: Path | None = None
    images: int = IMAGES
    root: str | None = None
    iterations: int | None = None
    opset: int | None = None
    tolerance: float | None = None
    on_bad_image: OnBadImage = "error"
    overwrite: bool = False

    def __post_init__(self) -> None:
        # The record is frozen; a name alone is what a library's user writes.
        object.__setattr__(self, "source", ModelSource.of(self.source))

    @property
    def precision(self) -> Precision:
        """Precision that the program computes in."""
        return "int8" if self.int8 else "float16" if self.half else "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What goes into an exported program, and what comes out.

    Attributes:
        input: Name of the input.
        dtype: Its type: ``float32``, or ``uint8`` for pixels.
        shape: Its axes, the first one of any length.
        output: Name of the output, (batch, classes) in float32.
        images: Preparation of images.
        normalizes: Whether the program itself scales and normalizes.
    """

    input: str
    dtype: str
    shape: tuple[str | int, ...]
    output: str
    images: InputSpec
    normalizes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How far two programs are apart on the same images.

    Attributes:
        data: Name of the images' data set; None for random images.
        images: Number of images.
        batch_sizes: Sizes of the batches that they were run in.
        largest_difference: Largest absolute difference of a logit.
        spread: Standard deviation of an image's logits over the classes, on average.
        relative_difference: Largest difference over the spread.
        agreement: Images with the same first class, in percent; None for random images.
    """

    data: str | None
    images: int
    batch_sizes: tuple[int, ...]
    largest_difference: float
    spread: float
    relative_difference: float
    agreement: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Time of a batch on the CPU, median over repetitions.

    Attributes:
        batch_size: Images of the batch.
        torch_ms: Milliseconds of the model in torch, in float32.
        exported_ms: Milliseconds of the exported program.
        ratio: Time in torch over that of the program.
    """

    batch_size: int
    torch_ms: float
    exported_ms: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RootReplacement:
    """Newton-Schulz in the place of a solver, and what that changes.

    Attributes:
        heads: Names of the functions that needed a solver, by the pooling layer's path.
        iterations: Newton-Schulz steps.
        loss: The model with the solver against the model without it.
    """

    heads: dict[str, str]
    iterations: int
    loss: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """A program that was written and proven.

    Attributes:
        path: The file, or the folder.
        format: Name of the format.
        precision: Precision that it computes in.
        num_bytes: Size of the file, or of all files of the folder.
        num_classes: Outputs.
        proof: The model in torch against the program, or against what timm opens.
        tolerance: Bound that the proof has kept.
        interface: Input and output; None for a folder, which is timm's to run.
        opset: ONNX operator set; None for other formats.
        root: Newton-Schulz in the place of a solver; None without.
        speed: Times of both, for each batch size; none for a folder, which is the same network.
        threads: Threads that both ran on.
        quantized: Layers in int8; 0 in other precisions.
        temperature: Number to divide logits by before they become probabilities; None where none
            was chosen.
        unreadable: File and reason of images that were left out.
        notes: Assumptions and doubts, in sentences.
    """

    path: Path
    format: str
    precision: Precision
    num_bytes: int
    num_classes: int
    proof: Comparison
    tolerance: float
    interface: Interface | None = None
    opset: int | None = None
    root: RootReplacement | None = None
    speed: tuple[Speed, ...] = ()
    threads: int = 1
    quantized: int = 0
    temperature: float | None = None
    unreadable: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = field(default=())
