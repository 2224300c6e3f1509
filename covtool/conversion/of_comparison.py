"""The conversion that a row of a comparison stands for."""

from pathlib import Path

from covtool.comparing import CompareRequest
from covtool.comparing.records import TOP_1, ComparedRow
from covtool.conversion.converting import convert
from covtool.conversion.records import ConversionRequest, ConversionResult
from covtool.errors import VerificationError
from covtool.progress import Track, silent
from covtool.specs import ConvertSpec


def conversion_of(
    request: CompareRequest, row: ComparedRow, *, output: Path | None, overwrite: bool
) -> ConversionRequest:
    """Return the request that makes the model of a row.

    Args:
        request: The comparison that the row is of.
        row: The row.
        output: File to write; None for the default name.
        overwrite: Whether to replace an existing file.
    """
    source = next(source for source in request.sources if source.name == row.checkpoint)
    if request.img_sizes:
        source = source.model_copy(update={"input": {**source.input, "size": row.img_size}})
    return ConversionRequest(
        source=source,
        operations=[row.head],
        spec=ConvertSpec(
            calibrate_images=request.spec.calibrate_images,
            calibrate_memory=request.spec.calibrate_memory,
        ),
        output=output,
        overwrite=overwrite,
        calibrate_with=request.data,
        layout=request.layout,
        batch_size=request.batch_size,
        workers=request.workers,
        device=request.device,
        on_bad_image=request.on_bad_image,
    )


def convert_row(
    request: ConversionRequest, row: ComparedRow, *, metric: str, track: Track = silent
) -> ConversionResult:
    """Make the model of a row, whose figure must be the one that was estimated.

    Raises:
        VerificationError: It is another one; the file is written all the same.
        CovtoolError: As `covtool.conversion.convert`.
    """
    result = convert(request, track=track)
    found = result.calibration.left_out_top_1 if result.calibration else None
    if metric == TOP_1 and found != row.figure:
        raise VerificationError(
            f"{result.path} has {found} % left-out top-1, and the comparison said {row.figure} %.",
            reason="The images, the model or the machine changed in between.",
            hint=f"{result.path} is whole, and its own figure is right: compare again to choose.",
        )
    return result
