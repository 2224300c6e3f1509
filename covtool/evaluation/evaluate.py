"""Evaluation of a classifier on a data set, both as a user names them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from covtool.backbones.classifier import find_classifier
from covtool.backbones.device import resolve_device
from covtool.checkpoints.metadata.class_lists import read_class_names
from covtool.checkpoints.opened import OpenedModel, require_trained_classifier
from covtool.data.datasets.checking import (
    DECODED_AT_MOST,
    CheckedSamples,
    check_images,
    notes_on_formats,
)
from covtool.data.datasets.class_findings import notes_on_classes
from covtool.data.datasets.duplicates import COMPARED_AT_MOST, notes_on_equal_files
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import FileSamples, Sample
from covtool.data.loading.loaders import ImageLoader, evaluation_loader
from covtool.data.loading.worker_death import translate_worker_death
from covtool.errors import ArgumentError, DataError, SurgeryError
from covtool.evaluation.classification.accuracy import ClassificationResult, evaluate_classification
from covtool.evaluation.classification.answers import (
    AnswerKeeper,
    ImageAnswers,
)
from covtool.evaluation.classification.attacks import resolve_attack
from covtool.evaluation.classification.boxes import note_on_boxes
from covtool.evaluation.classification.class_matching import ClassOrder, match_classes
from covtool.evaluation.classification.held_out import note_on_chosen
from covtool.evaluation.classification.measuring import Measured, measure_classifier
from covtool.evaluation.classification.neighbor_scorer import NeighborScorer
from covtool.evaluation.classification.unknown import (
    ImageScores,
    UnknownResult,
    UnknownScores,
    compare_scores,
    score_images,
)
from covtool.evaluation.classification.unknown_images import find_unknown
from covtool.evaluation.model_request import ModelRequest, half_precision_of
from covtool.printable import printable
from covtool.processes import Processes, joined
from covtool.progress import Track, main_only, silent
from covtool.specs import AttackSpec, InputSpec, LayoutSpec, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest(ModelRequest):
    """A classifier and a data set to evaluate it on; see `ModelRequest` for the rest.

    Attributes:
        data: A folder or a CSV file; see `covtool.data.datasets.reading.scan`.
        split: Name of the images to use; None for ``val``, else ``test``, else all there are.
        attack: Attack to measure the model under as well.
        class_names: A file that names the model's outputs in their order; see `read_class_names`.
        unknown: Images of other classes, in a folder or a list, whose scores are compared with
            those of the data set; see `find_images`.
        layout: Choices in reading the data set.
        keep_answers: Whether the answer for each image, and the model itself, are handed out.
        keep_directions: Whether the answers have what images are compared by, the larger part of
            them.
        keep_inputs: Whether the answers have the classifier's inputs, as far as memory allows; by a
            single process.
    """

    data: Path
    split: str | None = None
    class_names: Path | None = None
    unknown: Path | None = None
    attack: AttackSpec = field(default_factory=AttackSpec)
    layout: LayoutSpec = field(default_factory=LayoutSpec)
    keep_answers: bool = False
    keep_directions: bool = True
    keep_inputs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The figures that `evaluate` measured, and how.

    Attributes:
        result: The figures.
        data: Name of the data set.
        split: The data set's own name of the images that were used; ``all`` without splits.
        device: Device that the model ran on.
        input: Preparation of the images.
        unreadable: File and reason of images that were left out.
        notes: Assumptions about model and data, and doubts about the attack.
        class_order: Evidence for which output is which class; a guess makes every figure one.
        attacked: The figures under attack, on the same images; None without one.
        attack: The attack, its defaults filled in; None without one.
        far_from_training: Whether the images are so far from what the file was made for that the
            figures say little about it.
        unknown: Comparison with images of other classes; None without any.
        unknown_scores: The scores that were compared; None where no answers are kept, or without
            images of other classes.
        paths: File of each image, in the order of the figures' ``targets``.
        answers: Answer for each image; None where none are kept.
        attacked_answers: Answer for each image under attack; None likewise, or without an attack.
        opened: The model; None where no answers are kept.
        seconds: Time that the images took, reading and attack included.
        folder: Folder that paths of the data set are relative to; None where it is not known.
    """

    result: ClassificationResult
    data: str
    split: str
    device: str
    input: InputSpec
    unreadable: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]
    class_order: ClassOrder
    attacked: ClassificationResult | None = None
    attack: AttackSpec | None = None
    far_from_training: bool = False
    unknown: UnknownResult | None = None
    unknown_scores: UnknownScores | None = None
    paths: Sequence[Path] = ()
    answers: ImageAnswers | None = None
    attacked_answers: ImageAnswers | None = None
    opened: OpenedModel | None = None
    seconds: float = 0.0
    folder: Path | None = None


def evaluate(
    request: EvaluationRequest, *, layout: DataLayout | None = None, track: Track = silent
) -> Evaluation:
    """Measure a classifier on labeled images.

    The attack and the data set are looked at first: they are quicker to refuse than a model. Under
    torchrun, each process works on a part of the images, and all return the same figures.

    Args:
        request: The model, the data set and how they are run.
        layout: The data set where it is read already, as a run's images are; None to read it.
        track: Display of the progress.

    Raises:
        DataError: See `scan`, `check_images` and `match_classes`.
        CheckpointError: The model cannot be opened, or its classifier is random.
        ArgumentError: There is no such device, the input does not fit the model, or the options of
            the attack do not fit each other.
        NonFiniteError: The model's logits, or under attack their gradient, are not numbers.
    """
    attack = resolve_attack(request.attack)  # refused before other processes are waited for
    if attack is not None and request.amp:
        raise ArgumentError(
            "An attack follows gradients, which vanish in lower precision.",
            hint="Leave out --amp, or --attack.",
        )
    with joined(timeout_s=request.launch.dist_timeout) as processes:
        shown = main_only(track, is_main=processes.is_main)
        return _evaluate(request, layout, attack, processes, shown)


def _evaluate(
    request: EvaluationRequest,
    layout: DataLayout | None,
    attack: AttackSpec | None,
    processes: Processes,
    track: Track,
) -> Evaluation:
    device = resolve_device(request.device, processes)
    layout = layout or scan(request.data, choice=request.layout)
    checked, split = _images(layout, request, processes, track)
    # Images of the training set among those that are measured: the figures would be too good.
    equal = processes.main(
        lambda: notes_on_equal_files(layout, at_most=COMPARED_AT_MOST, track=track)
    )
    unknown = find_unknown(request.unknown) if request.unknown else None
    opened = request.open()
    recipe = opened.recipe
    require_trained_classifier(request.source.name, recipe)  # else the figures say nothing
    if attack is not None:
        _require_full_precision(opened.model, request.source.name)
    names = output_names(recipe, request.class_names)
    if unknown is not None:
        unknown = unknown.checked(names, request.on_bad_image, processes, track)
    temperature = recipe.scores.temperature if recipe.scores else 1.0
    match = match_classes(names, layout.class_names, recipe.num_classes)
    loader = _loader(checked.good, recipe.input, request, device, processes)
    measure = partial(
        evaluate_classification,
        opened.model,
        loader,
        class_names=match.names,
        label_map=match.label_map,
        device=device,
        track=track,
        temperature=temperature,
        processes=processes,
    )
    scorer = None if unknown is None else NeighborScorer.of(opened.model)
    inputs = request.keep_inputs and processes.world == 1
    keeper = None
    if request.keep_answers:
        keeper = _keeper(opened, temperature, inputs, directions=request.keep_directions)
    start = time.perf_counter()
    with translate_worker_death(request.workers), request.autocast(device):
        measured = measure_classifier(
            measure, loader, attack, recipe.input, processes, scorer, keeper
        )
        seconds = time.perf_counter() - start
        scores = None
        if unknown is not None:
            other = score_images(
                opened.model,
                _loader(unknown.samples, recipe.input, request, device, processes),
                temperature=temperature,
                device=device,
                track=track,
                processes=processes,
            )
            known = ImageScores(
                doubt=torch.tensor(measured.result.doubts, dtype=torch.float64),
                distance=measured.distances,
            )
            paths = tuple(sample.path for sample in unknown.samples)
            certain = paths if len(paths) == len(other.doubt) else ()
            scores = UnknownScores(known=known, unknown=other, paths=certain)
    notes = (
        *opened.notes,
        *layout.notes,
        note_on_boxes(recipe.provenance.steps, request.layout),
        *notes_on_classes(layout),
        *equal,
        *checked.notes(exif=recipe.input.exif),
        *notes_on_formats([checked]),
        match.note,
        note_on_chosen(recipe.scores),
        measured.attack_note,
        *(() if unknown is None else unknown.notes(has_neighbors=scorer is not None)),
    )
    return Evaluation(
        result=measured.result,
        attacked=measured.attacked,
        attack=attack,
        data=layout.name,
        split=split,
        device=str(device),
        input=recipe.input,
        unreadable=(*checked.bad, *measured.unreadable, *(unknown.bad if unknown else ())),
        unknown=compare_scores(scores, unknown.name) if scores and unknown else None,
        unknown_scores=scores if request.keep_answers else None,
        class_order=match.order,
        far_from_training=opened.is_far,
        paths=_paths(checked.good, measured),
        answers=measured.answers,
        attacked_answers=measured.attacked_answers,
        opened=opened if request.keep_answers else None,
        seconds=seconds,
        folder=layout.folder,
        notes=tuple(filter(None, notes)),
    )


def _keeper(
    opened: OpenedModel, temperature: float, inputs: bool, *, directions: bool
) -> Callable[..., AnswerKeeper]:
    """Return what makes a keeper of answers."""
    if not directions:
        return partial(AnswerKeeper, opened.model, temperature, None)
    size, channels = opened.recipe.input.size, opened.recipe.input.channels
    try:
        layer = find_classifier(opened.model, size, channels)
    except SurgeryError:  # no linear classifier: nothing that an image is compared by
        layer = None
    return partial(AnswerKeeper, opened.model, temperature, layer, inputs=inputs)


def _paths(samples: Sequence[Sample], measured: Measured) -> Sequence[Path]:
    """Return the files of the images that were measured; none where that is not certain."""
    left_out = {str(path) for path, _ in measured.unreadable}
    if not left_out and isinstance(samples, FileSamples):
        paths: Sequence[Path] = samples.paths
    else:
        paths = tuple(sample.path for sample in samples if str(sample.path) not in left_out)
    return paths if len(paths) == measured.result.images else ()


def _require_full_precision(model: nn.Module, name: str) -> None:
    if half := half_precision_of(model):
        raise ArgumentError(
            f"The weights of {printable(name)} are {half}. An attack follows gradients, "
            "which vanish in lower precision.",
            hint="Leave out --attack, or save the model in float32 first, in Python: "
            "model = covtool.load(FILE).float(); covtool.save(model, OTHER).",
        )


def _loader(
    samples: Sequence[Sample],
    input: InputSpec,
    request: EvaluationRequest,
    device: torch.device,
    processes: Processes,
) -> ImageLoader:
    return evaluation_loader(
        samples,
        input,
        batch_size=request.batch_size,
        workers=request.workers,
        device=device,
        select_batches=processes.part_of,
        on_bad_image=request.on_bad_image,
    )


def _images(
    layout: DataLayout, request: EvaluationRequest, processes: Processes, track: Track
) -> tuple[CheckedSamples, str]:
    if request.split is None:
        samples, split = layout.evaluation_samples()
    else:
        samples, split = layout.samples(request.split), request.split
    checked = check_images(
        samples,
        on_bad_image=request.on_bad_image,
        track=track,
        processes=processes,
        at_most=DECODED_AT_MOST,  # another one that cannot be read comes up on the way
    )
    return checked, split


def output_names(recipe: Recipe, file: Path | None) -> tuple[str, ...] | None:
    """Return the names of a model's outputs: the user's own, else the model's; None without any.

    Raises:
        DataError: The user's are not as many as there are outputs.
    """
    if file is None:
        return recipe.class_names
    names = read_class_names(file)
    if len(names) != recipe.num_classes:
        raise DataError(
            f"{file} names {len(names)} classes, but the model has {recipe.num_classes} outputs.",
            hint="Name each output once, in the order of the outputs.",
        )
    return names
