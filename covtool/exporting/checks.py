"""Checks of a request, before anything is opened."""

from covtool.atomic import require_writable
from covtool.errors import ArgumentError
from covtool.exporting.formats import FORMATS, Format, format_of
from covtool.exporting.onnx_model import require_opset
from covtool.exporting.records import NEWTON_SCHULZ, ExportRequest
from covtool.exporting.solvers import require_iterations
from covtool.specs import as_flag
from covtool.specs.record import refuse_contradictions

OPTIONS = sorted(frozenset().union(*(row.takes for row in FORMATS)))
"""Fields of a request that not every format takes."""


def checked_format(request: ExportRequest) -> Format:
    """Check a request, and return the format that it asks for.

    Raises:
        UnknownVariantError: There is no such format.
        ArgumentError: Options contradict each other or the format, have no effect, a package is
            missing, or the output cannot be written.
        OutputExistsError: It exists.
    """
    row = format_of(request.output, request.format)
    for name in OPTIONS:
        if name not in row.takes and getattr(request, name) not in (None, False):
            raise ArgumentError(
                f"{as_flag(name)} has no effect on --format {row.name}.",
                hint=f"Leave it out: {_takers(name)}.",
            )
    _refuse(request)
    row.require()
    _require_output(request, row)
    return row


def _takers(name: str) -> str:
    takers = " and ".join(row.name for row in FORMATS if name in row.takes)
    return f"it is for {takers}"


def _refuse(request: ExportRequest) -> None:
    refuse_contradictions(
        (
            (
                request.half and request.int8,
                "--half and --int8 are two precisions.",
                "Choose one of them.",
            ),
            (
                request.int8 and request.calibrate is None,
                "--int8 needs images that set its ranges.",
                "Add --calibrate DIR, with the images that the model was trained on.",
            ),
            (
                request.calibrate is not None and not request.int8,
                "--calibrate has no effect without --int8.",
                "Add --int8, or leave it out.",
            ),
            (
                request.root not in (None, NEWTON_SCHULZ),
                f"--root {request.root} is not valid: it should be {NEWTON_SCHULZ}.",
                "Leave it out for a model without a solver.",
            ),
            (
                request.images < 1,
                f"--images {request.images} is not valid: it should be at least 1.",
                "More images take longer and say more.",
            ),
            (
                request.tolerance is not None and not request.tolerance >= 0,
                f"--tolerance {request.tolerance} is not valid: it should be 0 or more.",
                "Leave it out for the precision's own.",
            ),
        )
    )
    require_iterations(request.root, request.iterations)
    require_opset(request.opset)


def _require_output(request: ExportRequest, row: Format) -> None:
    if row.suffix:
        require_writable(request.output, overwrite=request.overwrite)
    else:
        # Late: what it needs of timm is more than a program does.
        from covtool.exporting.timm_folder import require_replaceable

        require_replaceable(request.output, overwrite=request.overwrite)
