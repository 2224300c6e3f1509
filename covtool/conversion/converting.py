"""Plan a conversion, or do it."""

from covtool.atomic import require_room
from covtool.backbones.device import resolve_device
from covtool.checkpoints.model_file import save, size_in_file
from covtool.conversion.calibrating import calibrate_head
from covtool.conversion.preparing import Prepared, prepare, with_eigenlayer
from covtool.conversion.records import ConversionPlan, ConversionRequest, ConversionResult
from covtool.conversion.verifying import verify
from covtool.evaluation.classification.class_matching import GUESSED
from covtool.processes import Processes, joined
from covtool.progress import Track, silent
from covtool.specs import ConvolutionSpec, Metric, Recipe
from covtool.surgery.calibration import CalibrationResult


def plan_conversion(request: ConversionRequest, *, track: Track = silent) -> ConversionPlan:
    """Return what `convert` would do; writes nothing.

    Operators in place of convolutions are calibrated, where asked for: how close they come is part
    of the plan. A new head is not.

    Raises:
        CovtoolError: As `convert`.
    """
    with joined(timeout_s=request.launch.dist_timeout) as processes:
        return prepare(request, track if processes.is_main else silent, writes=False).plan


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
        return _converted(request, processes, track if processes.is_main else silent)


def _converted(request: ConversionRequest, processes: Processes, track: Track) -> ConversionResult:
    resolve_device(request.device, processes)  # refused before anything is opened
    prepared = prepare(request, track)
    plan, model, images = prepared.plan, prepared.model, prepared.images
    processes.main(lambda: require_room(plan.output, size_in_file(model)))
    calibration = None
    if images is not None and plan.head is not None:
        calibration = calibrate_head(model, plan.head, images, plan.recipe, request, track)
    model = with_eigenlayer(model, plan.eigenlayer, request.spec.seed)
    model.recipe = _with_metrics(plan.recipe, calibration, prepared)
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
        plan=plan, path=plan.output, calibration=calibration, untouched=len(names)
    )


def _with_metrics(
    recipe: Recipe, calibration: CalibrationResult | None, prepared: Prepared
) -> Recipe:
    """The recipe with what was measured on the way; of a replaced head, only what holds for it."""
    metrics = []
    if calibration is not None:
        metrics.append(
            Metric(
                name="left_out_top_1",
                value=calibration.left_out_top_1,
                data=f"{prepared.layout.name} train",
                images=calibration.images,
            )
        )
    kept = [report.kept for report in prepared.plan.convolutions if report.kept]
    if kept and isinstance(recipe.operations[-1], ConvolutionSpec):  # nothing changed it since
        last = kept[-1]
        guess = f"; {GUESSED}" if last.classes_guessed else ""
        figures = [
            ("agreement_with_source", last.agreement, last.data),
            ("top_1", last.top_1_after, f"{last.data}{guess}"),
        ]
        metrics += [
            Metric(name=name, value=value, data=data, images=last.images)
            for name, value, data in figures
            if value is not None
        ]
    provenance = recipe.provenance.model_copy(update={"metrics": tuple(metrics)})
    return recipe.model_copy(update={"provenance": provenance})
