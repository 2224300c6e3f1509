"""Labels in doubt, images unlike others and images that look alike, by a model."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from covtool.auditing.embeddings import (
    Nearest,
    alike_by_embedding,
    embed_images,
    nearest_others,
)
from covtool.auditing.images import NO_LABEL, Images
from covtool.auditing.label_scores import left_out_scores, margins, scores_bytes, worst_first
from covtool.auditing.looking import Looks
from covtool.auditing.outliers import (
    FAR,
    deviations_below,
    deviations_by_class,
    similarity_to_all,
    similarity_to_class,
)
from covtool.auditing.predictions_file import Predictions
from covtool.auditing.records import LabelSuspect, Outlier
from covtool.auditing.request import AuditRequest
from covtool.backbones.device import resolve_device
from covtool.errors import ArgumentError
from covtool.evaluation.model_request import ModelRequest
from covtool.free_memory import free_memory
from covtool.processes import ALONE
from covtool.progress import Track
from covtool.specs import FeatureSpec
from covtool.specs.byte_amounts import format_bytes

MOST_COMPARED = {"cpu": 100_000, "cuda": 1_000_000}
"""Images that are compared each with each, by kind of device: about half an hour."""

_SHARE = 0.8  # of the free memory that may be taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a model says about images; see `covtool.auditing.records.Audit`.

    Attributes:
        suspects: Labels in doubt, the worst first.
        unlike_class: Images unlike their class, the worst first.
        unlike_all: Images unlike all others, the worst first.
        alike: Pairs that look alike, by their places.
        notes: What was assumed, and what was not judged.
    """

    suspects: tuple[LabelSuspect, ...] = ()
    unlike_class: tuple[Outlier, ...] = ()
    unlike_all: tuple[Outlier, ...] = ()
    alike: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()


def judge_by_model(request: AuditRequest, images: Images, looks: Looks, track: Track) -> Judged:
    """Judge the images that can be read by the embeddings of a model."""
    places = np.flatnonzero(looks.readable)
    if len(places) < 3:
        return Judged(notes=("Too few images can be read for a model to judge them.",))
    device = resolve_device(request.device, ALONE)
    asked = ModelRequest(
        source=request.model,
        batch_size=request.batch_size,
        workers=request.workers,
        device=request.device,
    )
    opened = asked.open()
    extractor = asked.extractor(opened, FeatureSpec(), device=device, processes=ALONE)
    features = embed_images(extractor, [images.paths[at] for at in places], track)
    notes = [*opened.notes]
    if set(opened.recipe.class_names or ()) & set(images.class_names):
        notes.append(
            "The model knows classes of this data set: if it was trained on these images, it may "
            "have learned wrong labels by heart, and fewer are found."
        )
    judged = Judged()
    most = MOST_COMPARED.get(device.type, MOST_COMPARED["cpu"])
    if len(places) > most:
        notes.append(
            f"Pictures that look alike, and images unlike all others, were not looked for by "
            f"embedding: there are {len(places):,} images, more than {most:,}."
        )
    else:
        nearest = nearest_others(features, device=device, track=track)
        judged = _by_neighbors(request, images, places, nearest)
    judged, more = _by_labels(request, images, places, features, judged)
    return replace(judged, notes=(*notes, *more))


def judge_by_predictions(
    request: AuditRequest, images: Images, judged: Judged, read: Predictions
) -> Judged:
    """Replace the labels in doubt by those of a file of out-of-fold predictions."""
    places = sorted(read.margins, key=lambda at: (-read.margins[at][0], at))
    suspects = [
        _suspect(images, at, read.margins[at][1], read.margins[at][0])
        for at in places
        if read.margins[at][0] > request.spec.suspect_margin
    ]
    notes = list(read.notes)
    if rest := len(images) - read.predicted:
        notes.append(f"{rest:,} images have no prediction in {request.predictions}.")
    return replace(judged, suspects=tuple(suspects), notes=(*judged.notes, *notes))


def _by_neighbors(
    request: AuditRequest, images: Images, places: np.ndarray, nearest: Nearest
) -> Judged:
    similarity = similarity_to_all(nearest).double().numpy()
    deviations = deviations_below(similarity)
    alike = alike_by_embedding(nearest, request.spec.near_similarity) if request.spec.near else []
    return Judged(
        unlike_all=tuple(_outliers(images, places, similarity, deviations)),
        alike=tuple((int(places[i]), int(places[j])) for i, j in alike),
    )


def _by_labels(
    request: AuditRequest, images: Images, places: np.ndarray, features: Tensor, judged: Judged
) -> tuple[Judged, list[str]]:
    """Add labels in doubt and images unlike their class; return notes on what was not judged."""
    known = images.labels[places] != NO_LABEL
    places, features = places[known], features[torch.from_numpy(known)]
    names, labels = np.unique(images.labels[places], return_inverse=True)
    if len(names) < 2 or len(places) < 3:
        return judged, ["Labels were not judged: there are fewer than two classes."]
    targets = torch.from_numpy(labels.astype(np.int64))
    similarity = similarity_to_class(features, targets).double().numpy()
    deviations = deviations_by_class(similarity, labels)
    judged = replace(judged, unlike_class=tuple(_outliers(images, places, similarity, deviations)))
    needed = scores_bytes(len(places), features.shape[1], len(names))
    free = free_memory()
    if free is not None and needed > _SHARE * free:
        return judged, [
            f"Labels in doubt were not looked for: that takes {format_bytes(needed)} of memory, "
            f"and {format_bytes(free)} are free."
        ]
    try:
        scores = left_out_scores(features, targets, len(names))
    except ArgumentError as problem:
        return judged, [f"Labels in doubt were not looked for. {problem.message}"]
    margin, suggested = margins(scores, targets)
    alone = np.bincount(labels)[labels] < 2  # left out, nothing shows what its class is
    margin[torch.from_numpy(alone)] = -torch.inf
    notes = []
    if alone.any():
        notes.append(f"{int(alone.sum()):,} labels were not judged: of their class is one image.")
    values = margin.numpy()
    suspects = tuple(
        _suspect(images, int(places[at]), images.class_names[names[suggested[at]]], values[at])
        for at in worst_first(values)
        if values[at] > request.spec.suspect_margin
    )
    return replace(judged, suspects=suspects), notes


def _suspect(images: Images, at: int, suggested: str, margin: float) -> LabelSuspect:
    return LabelSuspect(
        at=at,
        path=images.name(at),
        split=images.split(at),
        label=images.label(at),
        suggested=suggested,
        margin=float(margin),
    )


def _outliers(
    images: Images, places: np.ndarray, similarity: np.ndarray, deviations: np.ndarray
) -> Iterator[Outlier]:
    for i in np.argsort(-np.nan_to_num(deviations, nan=-np.inf), kind="stable"):
        if not deviations[i] > FAR:
            return
        at = int(places[i])
        yield Outlier(
            at=at,
            path=images.name(at),
            split=images.split(at),
            label=images.label(at),
            similarity=float(similarity[i]),
            deviations=float(deviations[i]),
        )
