"""Plan a conversion, or do it."""

from covtool.atomic import require_room
from covtool.backbones.device import resolve_device
from covtool.checkpoints.model_file import save, size_in_file
from covtool.conversion.calibrating import calibrate_head
from covtool.conversion.notes import notes_on_calibration
from covtool.conversion.operating import finished
from covtool.conversion.preparing import describe, prepare
from covtool.conversion.recipes import with_metrics
from covtool.conversion.records import ConversionPlan, ConversionRequest, ConversionResult, Job
from covtool.conversion.scores import keep_neighbors_of_calibration_, with_scores
from covtool.conversion.verifying import verify
from covtool.processes import Processes, joined
from covtool.progress import Track, main_only, silent


def plan_conversion(request: ConversionRequest, *, track: Track = silent) -> ConversionPlan:
    """Return what `convert` would do; writes nothing.

    Operators in place of convolutions are calibrated, where asked for: how close they come is part
    of the plan. A new head is not.

    Raises:
        CovtoolError: As `convert`.
    """
    with joined(timeout_s=request.launch.dist_timeout) as processes:
        prepared = prepare(_job(request, processes, track), writes=False)
        model = finished(prepared.operated, request.spec.seed)
        return describe(prepared, model, request.source.name)


def convert(request: ConversionRequest, *, track: Track = silent) -> ConversionResult:
    """Replace parts of a model, keep its weights, write one self-describing file.

    The file is read back before it gets its name: tensors that no operation touches must be byte
    for byte those of the source, and the reloaded model must answer like the one in memory.
    Under torchrun several processes calibrate together; the first one writes.

    Raises:
        CheckpointError: The source cannot be read or recognized.
        SurgeryError: The model cannot be operated on like that.
        DataError: The data cannot be used.
        OutputExistsError: The output exists.
        VerificationError: The file does not hold what it should; it is removed.
    """
    with joined(timeout_s=request.launch.dist_timeout) as processes:
        return _converted(_job(request, processes, track))


def _job(request: ConversionRequest, processes: Processes, track: Track) -> Job:
    shown = main_only(track, is_main=processes.is_main)
    return Job(request=request, processes=processes, track=shown)


def _converted(job: Job) -> ConversionResult:
    request, processes = job.request, job.processes
    resolve_device(request.device, processes)  # refused before anything is opened
    prepared = prepare(job)
    operated, images = prepared.operated, prepared.images
    # Before the calibration, which may take an hour.
    processes.main(lambda: require_room(prepared.output, size_in_file(operated.model)))
    calibration = None
    if images is not None and operated.head is not None:
        calibration = calibrate_head(operated.model, operated.head, images, prepared.recipe, job)
    model = finished(operated, request.spec.seed)
    plan = describe(prepared, model, request.source.name)
    measured = with_metrics(plan.recipe, calibration, prepared.layout, plan.convolutions)
    model.recipe, notes = with_scores(measured, calibration, operated)
    if request.spec.keep_neighbors:
        keep_neighbors_of_calibration_(model, images, job)
    # Not those that a calibration has set, even if it left one as it was.
    names = plan.keys.kept
    processes.main(
        lambda: save(
            model,
            plan.output,
            overwrite=request.overwrite,
            verify=lambda path: verify(path, model, prepared.opened.model, names),
        )
    )
    return ConversionResult(
        plan=plan,
        path=plan.output,
        calibration=calibration,
        untouched=len(names),
        scores=model.recipe.scores,
        neighbors=model.recipe.neighbors,
        notes=notes if calibration is None else (*notes_on_calibration(calibration), *notes),
    )
