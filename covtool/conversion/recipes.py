"""The recipe of a converted file: structure, classes, history, metrics."""

from pathlib import Path

from covtool import __version__
from covtool.conversion.operating import Operated
from covtool.conversion.records import ConversionRequest, ConvolutionsReport
from covtool.data.datasets.layout import DataLayout
from covtool.evaluation.classification.class_matching import GUESSED
from covtool.full_paths import in_full
from covtool.specs import ConvolutionSpec, HeadSpec, Metric, Operation, Recipe, Untrained
from covtool.specs.provenance import ConversionStep
from covtool.surgery.calibrated import CalibrationResult
from covtool.surgery.head import HeadPlan
from covtool.surgery.operations import of_kind, operation_record


def converted_recipe(
    source: Recipe, done: Operated, layout: DataLayout | None, request: ConversionRequest
) -> Recipe:
    """Return the recipe of a source after the operations, without what will be measured.

    Args:
        source: Recipe of the source.
        done: The operations.
        layout: Data set whose classes a new classifier gets; None without one.
        request: The request.
    """
    names, head = source.class_names, done.head
    # Names belong to outputs: new outputs without a data set have none.
    if head is not None and not head.keeps_classifier:
        names = layout.class_names if layout else None
    calibrated = request.calibrate_with
    # In full first: `.` and `..` have no name of their own.
    data = in_full(calibrated).name if calibrated else None
    # Names alone, without folders: the file travels, and a home folder is a private matter.
    step = ConversionStep(
        source=Path(request.source.name).name,
        operations=tuple(map(operation_record, done.operations)),
        layout=request.layout,
        data=data,
    )
    provenance = source.provenance.with_step(
        step,
        covtool_version=__version__,
        data=data if calibrated else source.provenance.data,
        metrics=(),  # measured on the source: they do not hold for what comes of it
        untrained=_untrained(source, done, calibrated=bool(calibrated)),
    )
    return source.model_copy(
        update={
            "operations": (*_lasting(source, head), *done.operations),
            "num_classes": head.num_classes if head else source.num_classes,
            "class_names": names,
            "provenance": provenance,
            # Of the weights as they were: what an operation leaves of them has other logits.
            "scores": None,
            "neighbors": None,
        }
    )


def with_metrics(
    recipe: Recipe,
    calibration: CalibrationResult | None,
    layout: DataLayout | None,
    convolutions: tuple[ConvolutionsReport, ...],
) -> Recipe:
    """Return a recipe with what was measured on the way.

    Args:
        recipe: The recipe as it was planned.
        calibration: Calibration of the head; None without one.
        layout: Data set that calibrated it.
        convolutions: Reports on the operators. What the network kept is noted only where no later
            operation changed it.
    """
    metrics = []
    if calibration is not None:
        metrics.append(
            Metric(
                name="left_out_top_1",
                value=calibration.left_out_top_1,
                data=f"{layout.name} train",
                images=calibration.images,
            )
        )
    kept = [report.kept for report in convolutions if report.kept]
    if kept and of_kind(recipe.operations[-1:], ConvolutionSpec):
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


def _untrained(source: Recipe, done: Operated, *, calibrated: bool) -> tuple[Untrained, ...]:
    """Return the parts that are random after the operations."""
    untrained = set(source.provenance.untrained)
    if done.head is not None and not done.head.keeps_classifier:
        # Random or not, the old classifier is gone; calibration sets the new one.
        untrained.discard("classifier")
        untrained |= set() if calibrated else {"classifier"}
    if done.eigenlayer is not None and done.eigenlayer.spec.init == "random":
        untrained.add("classifier")
    return tuple(sorted(untrained))


def _lasting(source: Recipe, head: HeadPlan | None) -> tuple[Operation, ...]:
    """Return the operations of a source, without an own average that a new head replaces."""
    if head is None:
        return source.operations
    # It changed nothing but the classifier, which the new head replaces.
    gone = [head for head in of_kind(source.operations, HeadSpec) if head.own_average]
    return tuple(operation for operation in source.operations if operation not in gone)
