"""Everything of a conversion but the head's calibration and the file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.opening import open_model
from covtool.conversion.calibrating import CalibrationImages, calibration_images, notes_on_images
from covtool.conversion.checks import checked_output
from covtool.conversion.importing import import_model, is_import
from covtool.conversion.notes import (
    notes_on,
    notes_on_eigenlayer,
    notes_on_scores,
    starts_at_random,
)
from covtool.conversion.operating import Operated, operate_on
from covtool.conversion.recipes import converted_recipe
from covtool.conversion.records import ConversionPlan, ConversionRequest, Job
from covtool.data.datasets.layout import DataLayout, in_order_of
from covtool.data.datasets.retrieval.reading import read_classes
from covtool.data.datasets.solved_classes import notes_on_solved_classes
from covtool.specs import HeadSpec, Recipe
from covtool.surgery.operations import of_kind
from covtool.surgery.report import compare_modules, compare_tensors, measure_size


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedConversion:
    """A conversion that is done in memory, but for what waits for a calibrated head.

    Attributes:
        output: File to write.
        opened: The source.
        operated: The operations that were done, and the model that came of them, on the CPU.
        recipe: Recipe of the file, without what will be measured.
        notes: Facts worth knowing about the source and the result, in sentences.
        layout: Data set that gives the classes; None without one.
        images: Images to calibrate with; None without calibration.
    """

    output: Path
    opened: OpenedModel
    operated: Operated
    recipe: Recipe
    notes: tuple[str, ...]
    layout: DataLayout | None = None
    images: CalibrationImages | None = None


def prepare(job: Job, *, writes: bool = True) -> PreparedConversion:
    """Open the source and operate on it.

    Args:
        job: The request, the processes and the progress.
        writes: Whether the output is to be written; a plan accepts an existing file.

    Raises:
        CovtoolError: As `covtool.conversion.convert`.
    """
    request = job.request
    output = checked_output(job, writes=writes)
    data = request.classes_from or request.calibrate_with
    layout = read_classes(data, choice=request.layout) if data else None
    opened = _open(request)
    # A head of another program is taken as it is: nothing is to be operated on.
    if opened.is_foreign and is_import(opened.recipe.operations, request):
        model, recipe, notes = import_model(opened, request)
        return PreparedConversion(
            output=output,
            opened=opened,
            operated=Operated(model=model),
            recipe=recipe,
            notes=notes,
        )
    # A network that knows these classes keeps their order: its classifier may stay.
    if layout is not None:
        layout = in_order_of(layout, opened.recipe.class_names or ())
    images = calibration_images(layout, job) if request.calibrate_with else None
    operated = operate_on(opened, layout, images, job)
    return PreparedConversion(
        output=output,
        opened=opened,
        operated=operated,
        recipe=converted_recipe(opened.recipe, operated, layout, request),
        notes=tuple(_notes(opened, operated, layout, images)),
        layout=layout,
        images=images,
    )


def describe(prepared: PreparedConversion, model: nn.Module, source: str) -> ConversionPlan:
    """Return what a conversion does to its source, as far as that is known without calibration.

    Args:
        prepared: The conversion.
        model: The finished model.
        source: Name of the source.
    """
    operated, before = prepared.operated, prepared.opened.model
    calibrated = prepared.images is not None
    # These hold other values as soon as they are calibrated, whether or not that was done yet: a
    # plan and its conversion say the same.
    written = (operated.head.sites.classifier,) if calibrated and operated.head else ()
    random = starts_at_random(operated.head, operated.eigenlayer, calibrated=calibrated)
    return ConversionPlan(
        source=source,
        output=prepared.output,
        recipe=prepared.recipe,
        head=operated.head,
        convolutions=operated.convolutions,
        eigenlayer=operated.eigenlayer,
        changes=compare_modules(before, model),
        keys=compare_tensors(before, model, written=written),
        before=measure_size(before, prepared.recipe.input),
        after=measure_size(model, prepared.recipe.input),
        notes=prepared.notes,
        unreadable=prepared.images.unreadable if prepared.images else (),
        random=tuple(dict.fromkeys(random)),
    )


def _open(request: ConversionRequest) -> OpenedModel:
    heads = of_kind(request.operations, HeadSpec)
    asked = heads[0].iterations if heads else None
    # None where the default stands: then it is a note that a published file's number is assumed.
    default = HeadSpec.model_fields["iterations"].default
    iterations = None if asked == default else asked
    return open_model(request.source, iterations=iterations or request.source.iterations)


def _notes(
    opened: OpenedModel,
    operated: Operated,
    layout: DataLayout | None,
    images: CalibrationImages | None,
) -> Iterator[str]:
    yield from opened.notes
    yield from notes_on(operated.head, operated.convolutions, calibrated=images is not None)
    yield from notes_on_eigenlayer(operated.eigenlayer)
    yield from notes_on_scores(opened.recipe)
    yield from notes_on_images(layout, images, exif=opened.recipe.input.exif)
    if images is not None and operated.head is not None:
        yield from notes_on_solved_classes(images.good, images.layout.class_names)
