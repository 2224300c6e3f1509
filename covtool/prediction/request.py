"""The request for a prediction: a model, images, and files for the answers."""

from dataclasses import dataclass, field
from pathlib import Path

from covtool.atomic import require_writable
from covtool.errors import ArgumentError
from covtool.evaluation.features.files import check_feature_output
from covtool.evaluation.model_request import ModelRequest
from covtool.explaining.overlays import require_colors
from covtool.prediction.row_file import check_row_output
from covtool.specs import PredictionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRequest(ModelRequest):
    """A model, images, and what becomes of its answers; see `ModelRequest` for the rest.

    Attributes:
        images: Arguments that name images; see `covtool.prediction.image_inputs.find_inputs`.
        spec: Choice of the answers.
        output: File to write: ``.csv``, ``.jsonl`` or ``.parquet``; None for none.
        class_names: A file that names the model's outputs in their order.
        embeddings: File for the classifier's inputs; see `FeatureWriter`.
        sheet: PNG file with the first images and their answers.
        maps: PNG file with the first images and maps of what speaks for their classes.
        resume: Whether to go on with an output that was interrupted.
        overwrite: Whether the files may replace others.
    """

    images: tuple[str, ...]
    spec: PredictionSpec = field(default_factory=PredictionSpec)
    output: Path | None = None
    class_names: Path | None = None
    embeddings: Path | None = None
    sheet: Path | None = None
    maps: Path | None = None
    resume: bool = False
    overwrite: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are written."""
        return tuple(file for file in self._outputs if file)

    @property
    def _outputs(self) -> tuple[Path | None, ...]:
        return (self.output, self.embeddings, self.sheet, self.maps)

    @property
    def leaves_out(self) -> bool:
        """Whether an unreadable image gets no row."""
        return self.on_bad_image == "skip"


def check_request(request: PredictionRequest) -> None:
    """Refuse what contradicts itself or cannot be written, before anything is read.

    Raises:
        ArgumentError: Options contradict each other, or a file cannot be written.
        OutputExistsError: A file is there, and may not be replaced.
    """
    request.spec.validate_fields()
    if request.resume and request.output is None:
        raise ArgumentError("--resume goes on with a file: name it with -o.")
    if request.resume and request.embeddings is not None:
        raise ArgumentError(
            "Embeddings are written at the end, in one go: they cannot be resumed.",
            hint="Begin anew with --overwrite, or leave --embeddings out.",
        )
    if len({file.absolute() for file in request.files}) < len(request.files):
        raise ArgumentError("Two outputs have the same name.")
    if request.output is not None:
        check_row_output(request.output, overwrite=request.overwrite, resume=request.resume)
    if request.embeddings is not None:
        check_feature_output(request.embeddings, overwrite=request.overwrite)
    for picture in filter(None, (request.sheet, request.maps)):
        if picture.suffix.lower() != ".png":
            raise ArgumentError(
                f"{picture} does not end in .png, which is what a sheet is written as."
            )
        require_writable(picture, overwrite=request.overwrite)
    if request.maps is not None:
        require_colors()
