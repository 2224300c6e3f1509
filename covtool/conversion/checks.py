"""Checks of a request, before anything is opened."""

from pathlib import Path

from covtool.atomic import require_model_name, require_writable
from covtool.checkpoints.naming import converted_name
from covtool.conversion.records import ConversionRequest, Job
from covtool.errors import ArgumentError
from covtool.specs import HeadSpec
from covtool.surgery.operations import OPERATIONS, of_kind, require_order


def checked_output(job: Job, *, writes: bool) -> Path:
    """Check a request, and return the file that it writes.

    Args:
        job: The request, and the processes that carry it out.
        writes: Whether the output is to be written; a plan accepts an existing file.

    Raises:
        ArgumentError: There is nothing to do, an option has no effect, the order of the
            operations is not valid, or the output cannot be a model.
        OutputExistsError: The output exists.
    """
    request = job.request
    output = request.output or converted_name(request.source.name, request.operations)
    _refuse(request)
    require_model_name(output)
    if writes:  # checked before the first process writes
        job.processes.main(lambda: require_writable(output, overwrite=request.overwrite))
    return output


def _refuse(request: ConversionRequest) -> None:
    if not request.operations:
        raise ArgumentError(
            "There is nothing to do.",
            hint="Choose a head, --head isqrt, operators, --conv tanh, or --eigenlayer 1024.",
        )
    if request.calibrate_with and not any(
        OPERATIONS[o.operation].calibration for o in request.operations
    ):
        raise ArgumentError(
            "Only a new head and operators can be calibrated.",
            hint="Add --head isqrt or --conv tanh.",
        )
    if request.spec.keep_neighbors and (not request.calibrate_with or not _has_head(request)):
        raise ArgumentError(
            "--keep-neighbors keeps embeddings of the images that calibrate a new head, and there "
            "are none.",
            hint="Add --head isqrt --calibrate DIR; or covtool finetune --keep-neighbors.",
        )
    # Without a head there is no new classifier: the options would be ignored in silence.
    if not _has_head(request) and (request.classes_from or request.spec.num_classes):
        raise ArgumentError(
            "--data and --num-classes are for a new classifier, and the head stays.",
            hint="Add --head gap for a new one, or leave them out.",
        )
    require_order(request.operations)


def _has_head(request: ConversionRequest) -> bool:
    return bool(of_kind(request.operations, HeadSpec))
