"""The training images that are nearest to images of an evaluation."""

from collections.abc import Sequence
from pathlib import Path

import torch

from covtool.backbones.device import resolve_device
from covtool.data.datasets.checking import check_images
from covtool.data.datasets.reading import scan
from covtool.errors import ArgumentError
from covtool.evaluation.evaluate import EvaluationRequest
from covtool.ops.neighbors import normalized, sketch_for
from covtool.processes import ALONE
from covtool.progress import Track, silent
from covtool.reporting.subjects import NearestTraining, Subject
from covtool.specs import FeatureSpec

NEAREST = 3


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
    extractor = request.extractor(
        opened, FeatureSpec(), device=resolve_device(request.device, ALONE), processes=ALONE
    )
    queries = answers.directions[list(positions)].float()
    best = queries.new_empty(len(queries), 0)
    places = torch.empty(len(queries), 0, dtype=torch.long)
    start = 0
    for features in extractor(checked.good, track):
        own = normalized(features, sketch_for(features.shape[1])).half().float()
        numbers = torch.arange(start, start + len(own)).expand(len(queries), -1)
        best, places = torch.cat([best, queries @ own.mT], 1), torch.cat([places, numbers], 1)
        best, kept = best.topk(min(NEAREST, best.shape[1]), dim=1)
        places = places.gather(1, kept)
        start += len(own)
    found = [[checked.good[k] for k in row] for row in places.tolist()]
    return NearestTraining(
        data=f"{layout.name}, {split}",
        paths={p: [s.path for s in row] for p, row in zip(positions, found, strict=True)},
        classes={
            p: [layout.class_names[s.label] for s in row]
            for p, row in zip(positions, found, strict=True)
        },
        similarities=dict(zip(positions, best.tolist(), strict=True)),
    )
