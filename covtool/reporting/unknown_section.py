"""Images of classes that the model does not know, on an evaluation's page."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from covtool.data.datasets.found_images import counted
from covtool.evaluation.classification.unknown import UnknownResult, UnknownScores
from covtool.figure_names import figure_name, figure_title
from covtool.pages import (
    Column,
    Figure,
    PictureGroup,
    Pictures,
    Section,
    Table,
    Text,
    write_rows,
)
from covtool.plotting.compared_histograms import compared_histograms
from covtool.plotting.figure_file import house_style, svg_text
from covtool.reporting.image_pictures import ImagePictures
from covtool.reporting.subjects import Subject

SUREST = 24
"""Unknown images that are shown, those that the model is surest of."""
_BINS = 40
_FIGURES = {"auroc": ".2f", "fpr_at_95": ".2f", "threshold": ".6g"}
"""Figures of a score, and their formats."""


def surest(scores: UnknownScores) -> list[int]:
    """Return positions of the unknown images, the most probable answer first."""
    order = np.argsort(scores.unknown.doubt.numpy(), kind="stable")
    return order[:SUREST].tolist() if scores.paths else []


def unknown_section(subject: Subject, pictures: ImagePictures) -> Section:
    """Return how well known and unknown images are told apart; the evaluation had both.

    Args:
        subject: The evaluation, its answers kept.
        pictures: Pictures of images, those of `surest` among them.
    """
    result, scores = subject.done.unknown, subject.done.unknown_scores
    sentence = (
        f"{counted(result.images, 'image')} of {result.data}, whose classes the model does not "
        f"know, beside {counted(len(scores.known.doubt), 'image')} of classes that it does. The "
        "higher a score, the less an image is of a known class: one above the dashed line is "
        "turned away, and 95 % of the known ones are not."
    )
    rows = [
        (figure_name(name), *(getattr(found, figure) for figure in _FIGURES))
        for name, found in result.scores.items()
    ]
    columns = [Column(title=figure_title(name), format=digits) for name, digits in _FIGURES.items()]
    return Section(
        name="unknown",
        title="Images of other classes",
        blocks=[
            Text(paragraphs=[sentence]),
            Table(name="unknown", columns=(Column(title="score"), *columns), rows=rows),
            *_histograms(scores, result),
            *_pictures(subject, scores, pictures),
        ],
    )


def write_unknown(subject: Subject, path: Path) -> None:
    """Write a row for each unknown image: its answer and its scores; empty without embeddings."""
    scores, names = subject.done.unknown_scores, subject.names
    unknown, count = scores.unknown, len(scores.unknown.doubt)
    distance = [None] * count if unknown.distance is None else unknown.distance.tolist()
    rows = zip(
        map(str, scores.paths or [""] * count),
        (names[given] for given in unknown.given.tolist()),
        (1 - unknown.doubt).tolist(),
        distance,
        strict=True,
    )
    write_rows(path, ("path", "given_class", "probability", "distance"), rows)


def _histograms(scores: UnknownScores, result: UnknownResult) -> Iterator[Figure]:
    with house_style():
        for name, (known, unknown) in scores.by_name.items():
            title = f"{figure_name(name)[0].upper()}{figure_name(name)[1:]}"
            edges = np.histogram_bin_edges(np.concatenate([known, unknown]), bins=_BINS)
            drawn = compared_histograms(
                {"known": _counts(known, edges), "unknown": _counts(unknown, edges)},
                edges,
                threshold=("95 % of the known", result.scores[name].threshold),
                xlabel=figure_title(name),
                ylabel="images of a kind (%)",
            )
            yield Figure(
                name=f"unknown-{name}",
                svg=svg_text(drawn, title=title),
                title=title,
                caption=f"{title}, of known and of unknown images.",
            )


def _counts(values: Tensor, edges: np.ndarray) -> list[int]:
    return np.histogram(values.numpy(), edges)[0].tolist()


def _pictures(
    subject: Subject, scores: UnknownScores, pictures: ImagePictures
) -> Iterator[Pictures]:
    given, doubt = scores.unknown.given.tolist(), scores.unknown.doubt.tolist()
    groups = [
        PictureGroup(
            pictures=[
                pictures.of(
                    scores.paths[at],
                    (
                        f"{subject.names[given[at]]}, {100 * (1 - doubt[at]):.1f} %",
                        scores.paths[at].name,
                    ),
                    mark="wrong",
                )
            ]
        )
        for at in surest(scores)
    ]
    if groups:
        yield Pictures(
            title="Taken for a known class",
            groups=groups,
            caption=f"{len(groups)} of {len(doubt):,}, the surest answers first; unknown.csv has "
            "all of them.",
        )
