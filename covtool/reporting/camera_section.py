"""Cameras on a search's page: by the query's, and by pairs of the query's and the gallery's."""

from collections import defaultdict
from collections.abc import Iterator
from statistics import mean

import numpy as np

from covtool.evaluation.retrieval.camera_pairs import CameraFigures
from covtool.pages import Column, Figure, Section, Table
from covtool.pages.records import Block
from covtool.plotting.figure_file import house_style, svg_text
from covtool.plotting.retrieval_figures import camera_figure
from covtool.reporting.retrieval_subject import RetrievalSubject, query_columns


def camera_sections(subject: RetrievalSubject) -> Iterator[Section]:
    """Yield the section on cameras, where the data set has any."""
    layout = subject.done.layout
    if any(sample.camera is None for sample in layout.query):
        return
    by_camera = Table(
        name="cameras",
        title="Queries by their camera",
        columns=[Column(title="camera"), *query_columns(subject)],
        rows=[
            (name, *subject.figures_of(rows))
            for name, rows in subject.grouped(lambda sample: sample.camera or "")
        ],
    )
    blocks = [by_camera, *_pairs(subject), _first_images(subject)]
    yield Section(name="cameras", title="Cameras", blocks=blocks)


def _pairs(subject: RetrievalSubject) -> Iterator[Block]:
    """Yield figures by the query's camera and the one whose images are searched alone."""
    layout, found = subject.done.layout, subject.done.result.by_camera
    if found is None:
        return
    gallery = [layout.gallery[at].camera or "" for at in found.images.tolist()]
    queries = sorted({layout.query[row].camera or "" for row in subject.scored})
    camera_of = np.array([sample.camera or "" for sample in layout.query])
    rows, precisions = [], np.full((len(queries), len(gallery)), np.nan)
    for one, name in enumerate(queries):
        for other in np.argsort(gallery):
            figures = _pair(found, camera_of == name, int(other))
            if figures is not None:
                rows.append((name, gallery[other], *figures))
                precisions[one, other] = figures[1]
    order = np.argsort(gallery)
    with house_style():
        drawn = camera_figure(precisions[:, order], queries, [gallery[k] for k in order])
        svg = svg_text(drawn, title="mAP by pairs of cameras")
    yield Figure(
        name="camera-pairs",
        svg=svg,
        title="mAP by the query's camera and the camera searched in",
        caption="Each query is looked for among the images of one camera at a time. Empty where no "
        "query has a match there, as among images of its own camera, which are ignored. A smaller "
        "gallery is easier: figures are comparable with each other, not with those of the head.",
    )
    yield Table(
        name="camera-pairs",
        title="Pairs of cameras",
        columns=[
            Column(title="query's camera"),
            Column(title="searched camera"),
            *query_columns(subject),
        ],
        rows=rows,
        shown=60,
    )


def _pair(found: CameraFigures, queries: np.ndarray, camera: int) -> tuple | None:
    """Return number of queries, mAP and rank-1 of a pair of cameras; None without a match."""
    precisions = found.average_precision[:, camera].numpy()[queries]
    there = ~np.isnan(precisions)
    if not there.any():
        return None
    first = found.first_rank[:, camera].numpy()[queries][there]
    return int(there.sum()), float(precisions[there].mean()), 100 * float((first == 1).mean())


def _first_images(subject: RetrievalSubject) -> Table:
    layout, result = subject.done.layout, subject.done.result
    pairs: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in subject.scored:
        first = result.matches[row].tolist()[:1]
        if first and first[0] >= 0:
            query, found = layout.query[row], layout.gallery[first[0]]
            pair = (query.camera or "", found.camera or "")
            pairs[pair].append(found.identity == query.identity)
    return Table(
        name="first-images",
        title="First images of all cameras, by the camera of the query and their own",
        columns=[
            Column(title="query's camera"),
            Column(title="first image's camera"),
            Column(title="queries", format=",d", is_number=True),
            Column(title="right (%)", format=".1f", is_number=True),
        ],
        rows=[(*pair, len(right), 100 * mean(right)) for pair, right in sorted(pairs.items())],
        shown=60,
    )
