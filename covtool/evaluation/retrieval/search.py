"""Search in a data set for retrieval: its relevance, its features, its figures."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from covtool.data.datasets.retrieval.training import numbered
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.data.datasets.samples import Sample
from covtool.errors import DataError
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.features.feature_set import refuse_non_finite
from covtool.evaluation.features.files import read_features
from covtool.evaluation.features.table import FeatureTable, ImageLabels, identity_labels
from covtool.evaluation.retrieval.exact_search import SearchFeatures, plan_exact
from covtool.evaluation.retrieval.memory_plan import BlockPlan
from covtool.evaluation.retrieval.ranking import RetrievalResult, rank_gallery
from covtool.evaluation.retrieval.relevance import Relevance
from covtool.evaluation.retrieval.reranking import plan_reranked
from covtool.printable import printable
from covtool.progress import Track, silent
from covtool.specs import RetrievalSpec


def relevance_of(layout: RetrievalLayout, *, cameras: bool = True) -> Relevance:
    """Return the matches and ignored images of a data set's queries.

    Args:
        layout: The data set.
        cameras: Whether images of the query's own camera are ignored, where cameras are known.

    Raises:
        DataError: No query has a match, an identity is missing, or some cameras are.
    """
    labels, num_queries = search_labels(layout), len(layout.query)
    if not cameras:
        labels = tuple(label._replace(camera="") for label in labels)
    gallery = None if layout.shared else labels[num_queries:]
    return Relevance(*identity_labels(labels[:num_queries], gallery))


def plan_search(relevance: Relevance, num_features: int, spec: RetrievalSpec) -> BlockPlan:
    """Return the blocks of a search, before there are features.

    Args:
        relevance: Relevance of the data set's images.
        num_features: Features of an image.
        spec: Re-ranking and memory.

    Raises:
        ArgumentError: The memory allowed is too little.
    """
    plan = plan_reranked if spec.rerank else plan_exact
    return plan(relevance.size(num_features), spec)


def search(
    features: Tensor,
    relevance: Relevance,
    spec: RetrievalSpec,
    *,
    keep: int = 0,
    by_camera: bool = False,
    track: Track = silent,
) -> RetrievalResult:
    """Search for the queries of a data set in its gallery.

    Args:
        features: Features of `RetrievalLayout.searched`, (N, D).
        relevance: Relevance of the same images; see `relevance_of`.
        spec: Metric, re-ranking and memory.
        keep: Number of images of each ranking to return.
        by_camera: Whether to rank the images of each camera apart as well.
        track: Display of the progress.

    Raises:
        ArgumentError: The memory allowed is too little.
        DataError: A feature is not finite.
    """
    refuse_non_finite(features)
    query = features[: relevance.num_queries]
    gallery = query if relevance.is_shared else features[relevance.num_queries :]
    data = SearchFeatures(query=query, gallery=gallery, relevance=relevance)
    return rank_gallery(data, spec, keep=keep, by_camera=by_camera, track=track)


def extract_search_features(
    layout: RetrievalLayout,
    extractor: FeatureExtractor,
    *,
    images: Sequence[Sample] | None = None,
    track: Track = silent,
) -> Tensor:
    """Return the features of `layout.searched`, (N, D); of several processes, in the main one only.

    Args:
        layout: The data set.
        extractor: Extractor of the features.
        images: A cache of `layout.searched`; None to read the files.
        track: Display of the progress.

    Raises:
        DataError: An image cannot be read.
        NonFiniteError: A feature is not a finite number.
    """
    images = numbered(layout.searched) if images is None else images
    # Filled batch by batch: joining batches at the end would need the memory twice.
    features, at = torch.empty(len(images), extractor.num_features), 0
    for batch in extractor(images, track):
        features[at : at + len(batch)] = batch
        at += len(batch)
    return features[:at]  # nothing, in processes that only take part


def read_search_features(layout: RetrievalLayout, file: Path) -> Tensor:
    """Return the features of `layout.searched`, (N, D), from a file.

    Images are found by their paths, relative to the data set's folder. In a file without paths
    they must be in order: the queries, then the gallery.

    Raises:
        ArgumentError: The suffix of the file stands for no format.
        DataError: The file cannot be read, lacks an image, names one twice, has another number of
            them, or says of a row that it is another identity, camera or split.
    """
    table = read_features(file)
    # By path, not by order: a file may hold more images than a search needs, in any order.
    rows = {path: row for row, path in enumerate(table.column("path")) if path}
    if not rows:
        if len(table.labels) != len(layout.searched):
            raise DataError(
                f"{file} has features of {len(table.labels)} images, but {layout.root} has "
                f"{len(layout.searched)} to search with and in.",
                reason="It has no paths: the rows should be the queries, then the gallery.",
            )
        _require_same_labels(file, table, search_labels(layout))
        return table.features
    if len(rows) < len(table.labels):
        raise DataError(
            f"{file} names {len(table.labels) - len(rows)} images twice, or without a path.",
            hint="Write the features of each image once.",
        )
    wanted = [label.path for label in search_labels(layout)]
    missing = [path for path in wanted if path not in rows]
    if missing:
        raise DataError(
            f"{file} has no features of {len(missing)} of the {len(wanted)} images to search with "
            f"and in of {layout.root}.",
            reason=f"The first: {printable(missing[0])}.",
            hint=f"The paths in it should be relative to {layout.folder}, as covtool embed writes "
            "them.",
        )
    chosen = [rows[path] for path in wanted]
    # Files that covtool wrote are in order: no copy of the features then.
    return table.features if chosen == list(range(len(rows))) else table.features[chosen]


def _require_same_labels(file: Path, table: FeatureTable, wanted: Sequence[ImageLabels]) -> None:
    """Refuse rows in another order, as far as the file's labels show it."""
    for name in ("identity", "camera", "split"):
        for row, (name_in_file, label) in enumerate(
            zip(table.column(name), wanted, strict=True), start=1
        ):
            own = getattr(label, name)
            if name_in_file and own and name_in_file != own:
                raise DataError(
                    f"Row {row} of {file} is of {name} {printable(name_in_file)}, that of the data "
                    f"set of {printable(own)}.",
                    reason="It has no paths: the rows should be the queries, then the gallery.",
                )


def search_labels(layout: RetrievalLayout) -> tuple[ImageLabels, ...]:
    """Return the labels of `layout.searched`, in its order."""
    names = {"test": layout.query} if layout.shared else layout.subsets
    return tuple(
        image_label(sample, split, layout.folder)
        for split in ("query", "gallery", "test")
        for sample in names.get(split, ())
    )


def image_label(sample: RetrievalSample, split: str, folder: Path) -> ImageLabels:
    """Return the labels of an image; its path relative to `folder`."""
    # Relative, so that a file of features goes on fitting when the data set is moved; an image of
    # a list may lie outside of the folder, where `Path.relative_to` would fail.
    relative = Path(os.path.relpath(sample.path, folder)).as_posix()
    return ImageLabels(relative, sample.identity, sample.camera or "", split)
