"""Calibration of a converted network's new parts by images, and comparison with its source."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from covtool.backbones.device import resolve_device
from covtool.backbones.tracing import trace_calls
from covtool.conversion.records import Agreement, ConversionRequest, Job
from covtool.data.datasets.checking import CheckedSamples, check_images, check_splits
from covtool.data.datasets.layout import DataLayout, in_order_of
from covtool.data.datasets.retrieval.reading import read_classes
from covtool.data.datasets.samples import Sample, draw_evenly
from covtool.data.datasets.solved_classes import require_image_of_each_class
from covtool.data.loading.loaders import ImageLoader, evaluation_loader
from covtool.errors import ArgumentError, DataError
from covtool.evaluation.classification.accuracy import ClassificationResult, evaluate_classification
from covtool.evaluation.classification.class_matching import ClassMatch, match_classes
from covtool.specs import ConvertSpec, ConvolutionSpec, HeadSpec, InputSpec, Recipe
from covtool.surgery.calibrated import CalibrationResult
from covtool.surgery.calibration import calibrate_head_
from covtool.surgery.conv_calibration import ConvCalibration, calibrate_convolutions_
from covtool.surgery.convolutions import ConvolutionsPlan
from covtool.surgery.head import HeadPlan
from covtool.surgery.operations import of_kind

CONVOLUTION_IMAGES = 64  # by default: thousands of patches even at 7x7 positions
FEWEST_IMAGES = 4
LIVE_MAPS = 8  # as large as the largest feature map, while an operator on it is set
JUDGED_IMAGES = 1000  # at most, to compare a network with its source
_FLOAT32 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationImages:
    """The images of a calibration, checked.

    Attributes:
        layout: Data set that they are from.
        checked: The images to calibrate with, as they were looked at.
        good: Those that can be read.
        unreadable: File and reason of the others.
        judged: Images, of those that can be read, on which the result is compared with the source.
    """

    layout: DataLayout
    checked: CheckedSamples
    good: tuple[Sample, ...]
    unreadable: tuple[tuple[Path, str], ...]
    judged: tuple[Sample, ...] = ()


def calibration_images(layout: DataLayout, job: Job) -> CalibrationImages:
    """Return the training images that a request calibrates with.

    Args:
        layout: Data set that gives the classes.
        job: The request, which has `calibrate_with`, the processes and the progress.

    Raises:
        ArgumentError: The classes come from a data set with other classes.
        DataError: There are no such images, or one cannot be read.
    """
    source, request = layout, job.request
    if request.classes_from:
        source = read_classes(request.calibrate_with, choice=request.layout)
        source = in_order_of(source, layout.class_names)
    # The classifier is solved with the labels of one data set and named after the other.
    if source.class_names != layout.class_names:
        raise ArgumentError("--data and --calibrate have different classes.")
    limit, seed = request.spec.calibrate_images, request.spec.seed
    if of_kind(request.operations, HeadSpec):
        require_image_of_each_class(limit, source.class_names)
    else:
        # Operators see all images at once; a head takes them batch by batch, and so takes all.
        limit = limit or CONVOLUTION_IMAGES
    used = {"train": draw_evenly(source.samples("train"), limit, seed=seed)}
    if judged := _is_judged(request):
        used["judged"] = _to_judge(source, request)
    checked = check_splits(
        used, on_bad_image=request.on_bad_image, track=job.track, processes=job.processes
    )
    return CalibrationImages(
        layout=source,
        checked=checked["train"],
        good=checked["train"].good,
        judged=checked["judged"].good if judged else (),
        unreadable=checked["train"].bad,
    )


def _is_judged(request: ConversionRequest) -> bool:
    """Return whether the result is compared with the source: a new classifier knows nothing yet."""
    operators = of_kind(request.operations, ConvolutionSpec)
    return bool(operators) and not of_kind(request.operations, HeadSpec)


def _to_judge(layout: DataLayout, request: ConversionRequest) -> tuple[Sample, ...]:
    samples, _ = layout.evaluation_samples()
    return draw_evenly(samples, min(JUDGED_IMAGES, len(samples)), seed=request.spec.seed)


def notes_on_images(
    layout: DataLayout | None, images: CalibrationImages | None, *, exif: bool
) -> Iterator[str]:
    """Yield notes on the images that a conversion reads.

    Args:
        layout: Data set that gives the classes; None without one.
        images: Images to calibrate with; None without calibration.
        exif: Whether they are turned as their EXIF data say.
    """
    layouts = (layout, images.layout if images else None)
    yield from dict.fromkeys(note for one in layouts if one is not None for note in one.notes)
    if images:
        yield from images.checked.notes(exif=exif)


def calibrate_head(
    model: nn.Module,
    plan: HeadPlan,
    images: CalibrationImages,
    recipe: Recipe,
    job: Job,
) -> CalibrationResult:
    """Set a new head, in place; the model is on the CPU again afterwards."""
    request, processes = job.request, job.processes
    loader = _loader(images.good, recipe.input, request, processes.share_of)
    result = calibrate_head_(
        model.to(resolve_device(request.device, processes)),
        plan,
        loader,
        num_images=len(images.good),
        memory_gib=request.spec.calibrate_memory,
        track=job.track,
        processes=processes,
    )
    model.cpu()
    return result


def calibrate_convolutions(
    models: tuple[nn.Module, nn.Module],
    plan: ConvolutionsPlan,
    images: CalibrationImages,
    recipe: Recipe,
    job: Job,
) -> ConvCalibration:
    """Set new operators, in place.

    The inputs of all images are needed at once, layer by layer: of several processes the first
    one does the calibration, for all.

    Args:
        models: Before and after; on the CPU again afterwards.
        plan: Plan of the operators.
        images: Images to set them with.
        recipe: Recipe of the source.
        job: The request, the processes and the progress.
    """
    calibrate = partial(_calibrated, models, plan, images, recipe, job)
    calibration, state = job.processes.main(calibrate)
    # Only the first process computed it; the others take it over.
    models[1].load_state_dict(state)
    return calibration


def _calibrated(
    models: tuple[nn.Module, nn.Module],
    plan: ConvolutionsPlan,
    images: CalibrationImages,
    recipe: Recipe,
    job: Job,
) -> tuple[ConvCalibration, dict[str, Tensor]]:
    request = job.request
    device = resolve_device(request.device, job.processes)
    before, after = (model.to(device) for model in models)
    limit = request.spec.calibrate_images or CONVOLUTION_IMAGES
    count = min(limit, len(images.good), _most_images(before, recipe.input, request.spec))
    chosen = draw_evenly(images.good, count, seed=request.spec.seed)
    batches = job.track(_loader(chosen, recipe.input, request), "images for the operators", None)
    # A batch norm is corrected by the statistics of all images: they go through at once.
    together = torch.cat([batch for batch, _ in batches]).to(device)
    quantile = request.spec.radius_quantile
    calibration = calibrate_convolutions_(
        after, before, plan, together, radius_quantile=quantile, track=job.track
    )
    for model in models:
        model.cpu()
    return calibration, after.state_dict()


def _most_images(model: nn.Module, images: InputSpec, spec: ConvertSpec) -> int:
    """Return the number of images that may go through a network at once in bounded memory."""
    parameter = next(model.parameters())
    image = torch.zeros(1, images.channels, *images.size).to(parameter)
    # Of one image; what is kept for an operator grows with the number of images.
    largest = max(torch.Size(call.shape).numel() for call in trace_calls(model, image))
    limit = int(spec.calibrate_memory * 2**30)
    return max(FEWEST_IMAGES, limit // (LIVE_MAPS * _FLOAT32 * largest))


def measure_agreement(
    models: tuple[nn.Module, nn.Module],
    images: CalibrationImages,
    recipe: Recipe,
    job: Job,
) -> Agreement:
    """Compare the predictions of a network before and after, on evaluation images.

    Args:
        models: Before and after; on the CPU again afterwards.
        images: Images of the calibration, some of them to judge by.
        recipe: Recipe of the source, whose classes both networks have.
        job: The request, the processes and the progress.
    """
    layout, request, processes = images.layout, job.request, job.processes
    samples = (
        images.judged
        or check_images(
            _to_judge(layout, request),
            on_bad_image=request.on_bad_image,
            track=job.track,
            processes=processes,
        ).good
    )
    _, split = layout.evaluation_samples()
    match = _match(recipe, layout)
    # The labels do not matter where only the predictions are compared.
    label_map = match.label_map if match else (0,) * len(layout.class_names)

    def evaluate(model: nn.Module) -> ClassificationResult:
        return evaluate_classification(
            model,
            _loader(samples, recipe.input, request, processes.part_of),
            label_map=label_map,
            device=resolve_device(request.device, processes),
            track=job.track,
            processes=processes,
        )

    before, after = map(evaluate, models)
    for model in models:
        model.cpu()
    same = sum(a == b for a, b in zip(before.predictions, after.predictions, strict=True))
    return Agreement(
        data=f"{layout.name} {split}",
        images=before.images,
        agreement=100 * same / before.images,
        top_1_before=before.top_1 if match else None,
        top_1_after=after.top_1 if match else None,
        classes_guessed=match is not None and not match.is_certain,
    )


def _match(recipe: Recipe, layout: DataLayout) -> ClassMatch | None:
    """Return the network's output for each label; None where they do not mean the same."""
    if "classifier" in recipe.provenance.untrained:
        return None  # the predictions of a random classifier mean nothing
    try:
        return match_classes(recipe.class_names, layout.class_names, recipe.num_classes)
    except DataError:
        return None


def _loader(
    samples: Sequence[Sample],
    images: InputSpec,
    request: ConversionRequest,
    select_batches: Callable[[Sequence[range]], Sequence[range]] | None = None,
) -> ImageLoader:
    return evaluation_loader(
        samples,
        images,
        batch_size=request.batch_size,
        workers=request.workers,
        select_batches=select_batches,
    )
