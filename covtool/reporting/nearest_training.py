"""The training images that are nearest to images of an evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import torch

from covtool.backbones.device import resolve_device
from covtool.checkpoints.kept_images import KeptImages, kept_images_of
from covtool.checkpoints.kept_neighbors import neighbors_of
from covtool.checkpoints.opened import OpenedModel
from covtool.data.datasets.checking import (
    CheckedSamples,
    check_images,
    list_unreadable,
    notes_on_formats,
)
from covtool.data.datasets.found_images import counted
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.reading import scan
from covtool.errors import ArgumentError
from covtool.evaluation.evaluate import EvaluationRequest
from covtool.ops.neighbors import normalized, sketch_for
from covtool.pages import write_rows
from covtool.processes import ALONE
from covtool.progress import Track, silent
from covtool.reporting.subjects import NearestTraining, Subject, TrainingImage
from covtool.specs import FeatureSpec

NEAREST = 3

COLUMNS = (
    *("path", "right_class", "given_class"),
    *("training_path", "training_name", "training_class", "cosine"),
)
"""Columns of the file beside a page."""


def nearest_training(
    subject: Subject,
    data: Path,
    request: EvaluationRequest,
    positions: Sequence[int],
    *,
    track: Track = silent,
) -> NearestTraining:
    """Return the training images nearest to images, by the cosine of the classifier's inputs.

    Args:
        subject: The evaluation, with its model.
        data: Data set whose training images are searched; all of its images without splits.
        request: How the evaluation read images.
        positions: Images whose nearest ones are wanted.
        track: Display of the progress.

    Raises:
        DataError: The data set cannot be read.
        ArgumentError: The model has no linear classifier.
    """
    answers, opened = subject.answers, subject.done.opened
    if answers.directions is None or opened is None:
        raise ArgumentError(
            f"{subject.model} has no linear classifier, whose input images are compared by.",
            hint="Leave out --train-data.",
        )
    layout = scan(data, choice=request.layout)
    split = "train" if "train" in layout.splits else layout.evaluation_samples()[1]
    checked = check_images(layout.samples(split), on_bad_image=request.on_bad_image, track=track)
    device = resolve_device(request.device, ALONE)
    extractor = request.extractor(opened, FeatureSpec(), device=device, processes=ALONE)
    queries = answers.directions[list(positions)].float()
    best = queries.new_empty(len(queries), 0)
    places = torch.empty(len(queries), 0, dtype=torch.long)
    start = 0
    for features in request.in_autocast(extractor(checked.good, track), device):
        own = normalized(features, sketch_for(features.shape[1])).half().float()
        numbers = torch.arange(start, start + len(own)).expand(len(queries), -1)
        best, places = torch.cat([best, queries @ own.mT], 1), torch.cat([places, numbers], 1)
        best, kept = best.topk(min(NEAREST, best.shape[1]), dim=1)
        places = places.gather(1, kept)
        start += len(own)
    return NearestTraining(
        data=f"{layout.name}, {split}",
        images={
            position: [
                TrainingImage(
                    path=checked.good[place].path,
                    name=checked.good[place].path.name,
                    class_name=layout.class_names[checked.good[place].label],
                    similarity=cosine,
                )
                for place, cosine in zip(row, cosines, strict=True)
            ]
            for position, row, cosines in zip(
                positions, places.tolist(), best.tolist(), strict=True
            )
        },
        notes=tuple(_notes_on_data(f"{layout.name}, {split}", layout, checked, opened)),
    )


def nearest_kept(subject: Subject, positions: Sequence[int]) -> NearestTraining | None:
    """Return the nearest of the training images whose embeddings the model's file keeps.

    A picture is shown only where the image's file is found in the folder of the evaluated data
    set, with the bytes that it had.

    Args:
        subject: The evaluation, with its model.
        positions: Images whose nearest ones are wanted.

    Returns:
        None where the file keeps no embeddings, or they cannot be compared with; see
        `why_not_kept`.
    """
    if not positions or why_not_kept(subject) is not None:
        return None
    opened, answers, folder = subject.done.opened, subject.answers, subject.done.folder
    neighbors = None if opened is None else neighbors_of(opened.model)
    images = None if opened is None else kept_images_of(opened.model)
    if neighbors is None or images is None:
        return None
    distances, places = neighbors.nearest(answers.directions[list(positions)].float(), NEAREST)
    cosines = (1 - distances.square() / 2).tolist()  # both have length 1
    rows = places.tolist()
    wanted = sorted({place for row in rows for place in row})
    files = {k: None if folder is None else images.file(k, folder) for k in wanted}
    return NearestTraining(
        data=opened.recipe.neighbors.data,
        images={
            position: [
                TrainingImage(
                    path=files[place],
                    name=PurePosixPath(images.paths[place]).name,
                    class_name=images.classes[place],
                    similarity=cosine,
                )
                for place, cosine in zip(row, of_row, strict=True)
            ]
            for position, row, of_row in zip(positions, rows, cosines, strict=True)
        },
        notes=_notes_on_files(files, images, folder),
    )


def write_nearest(subject: Subject, path: Path) -> None:
    """Write a row for each of the nearest training images, nearest first.

    The file of a training image is empty where it is not certain to be the same image.
    """
    paths, names, answers = subject.done.paths, subject.names, subject.answers
    found = {} if subject.nearest is None else subject.nearest.images
    rows = (
        (
            *(str(paths[position]), names[answers.right[position]], names[answers.given[position]]),
            *(str(image.path or ""), image.name, image.class_name, image.similarity),
        )
        for position, images in found.items()
        for image in images
    )
    write_rows(path, COLUMNS, rows)


def why_not_kept(subject: Subject) -> str | None:
    """Say why kept embeddings do not lead to training images; None where they do, or are none."""
    opened = subject.done.opened
    kept = opened.recipe.neighbors if opened else None
    if kept is None:
        return None
    start = f"The file keeps embeddings of {kept.images:,} training images ({kept.data}), but"
    neighbors = neighbors_of(opened.model)
    if kept_images_of(opened.model) is None:
        return f"{start} not what they are of: the nearest ones cannot be shown."
    own = sketch_for(neighbors.num_features)
    has_same = (own is None) == (neighbors.sketch is None) and (
        own is None
        or (
            torch.equal(own.buckets.long(), neighbors.sketch.buckets)
            and torch.equal(own.signs.to(torch.int8), neighbors.sketch.signs)
        )
    )
    directions = subject.answers.directions
    if directions is None or directions.shape[1] != len(neighbors.mean) or not has_same:
        return f"{start} they are not comparable with what this evaluation has of its images."
    return None


def _notes_on_data(
    name: str, layout: DataLayout, checked: CheckedSamples, opened: OpenedModel
) -> Iterator[str]:
    """Yield what was left out of the training images, and what was assumed about them."""
    if count := len(checked.bad):
        were = "were" if count > 1 else "was"
        yield (
            f"{counted(count, 'unreadable image')} of {name} {were} left out, and cannot be among "
            f"the nearest: {list_unreadable(checked.bad)}."
        )
    notes = (*layout.notes, *checked.notes(exif=opened.recipe.input.exif))
    yield from (f"{name}: {note}" for note in (*notes, *notes_on_formats([checked])))


def _notes_on_files(
    files: Mapping[int, Path | None], images: KeptImages, folder: Path | None
) -> tuple[str, ...]:
    lost = [k for k, path in files.items() if path is None]
    if not lost:
        return ()
    apart = sum(not images.paths[k] for k in lost)
    reasons = [f"{apart:,} were no files in their data set's folder"] * bool(apart)
    if len(lost) > apart:
        where = f"not in {folder}" if folder else "not found"
        reasons.append(f"{len(lost) - apart:,} are {where} any more, or have changed")
    return (
        f"{len(lost):,} of the {counted(len(files), 'nearest training image')} have no picture: "
        f"{'; '.join(reasons)}. --train-data DIR compares with the images in another folder.",
    )
