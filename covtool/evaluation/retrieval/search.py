"""The images of a data set for retrieval with their features, and a search among them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from covtool.data.datasets.retrieval.training import numbered
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.data.datasets.samples import Sample
from covtool.errors import DataError
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.features.feature_set import FeatureSet
from covtool.evaluation.features.files import read_features
from covtool.evaluation.features.table import FeatureTable, ImageLabels, feature_sets
from covtool.evaluation.retrieval.exact_search import plan_exact
from covtool.evaluation.retrieval.memory_plan import BlockPlan
from covtool.evaluation.retrieval.ranking import RetrievalResult, evaluate_retrieval, searched_by
from covtool.evaluation.retrieval.relevance import Relevance
from covtool.evaluation.retrieval.reranking import plan_reranked
from covtool.printable import printable
from covtool.progress import Track, silent
from covtool.specs import RetrievalSpec


def search(
    layout: RetrievalLayout,
    features: Tensor,
    spec: RetrievalSpec,
    *,
    keep: int = 0,
    track: Track = silent,
) -> RetrievalResult:
    """Search for the queries of a data set in its gallery.

    Args:
        layout: The data set.
        features: Of `layout.searched`, (N, D).
        spec: How.
        keep: How many images of each ranking come along.
        track: Shows the progress.

    Raises:
        ArgumentError: The memory allowed is too little.
        DataError: No query has a match.
    """
    query, gallery = _feature_sets(layout, features, spec)
    return evaluate_retrieval(query, gallery, spec, keep=keep, track=track)


def plan_search(layout: RetrievalLayout, num_features: int, spec: RetrievalSpec) -> BlockPlan:
    """Return the blocks of a search, before there are features.

    Args:
        layout: The data set.
        num_features: Numbers that describe an image.
        spec: How to search.

    Raises:
        ArgumentError: The memory allowed is too little.
        DataError: No query has a match.
    """
    query, gallery = _feature_sets(layout, torch.zeros(len(layout.searched), 1), spec)
    searched = searched_by(query, gallery, Relevance(query, gallery))
    query, gallery = (x.expand(-1, num_features) for x in (searched.query, searched.gallery))
    plan = plan_reranked if spec.rerank else plan_exact
    return plan(replace(searched, query=query, gallery=gallery), spec)


def describe_searched(
    layout: RetrievalLayout,
    extractor: FeatureExtractor,
    *,
    images: Sequence[Sample] | None = None,
    track: Track = silent,
) -> Tensor:
    """Return the features of `layout.searched`, (N, D); of several processes, in the main one only.

    Args:
        layout: The data set.
        extractor: Describes the images.
        images: A cache of `layout.searched`; None to read the files.
        track: Shows the progress.

    Raises:
        DataError: An image cannot be read.
        NonFiniteError: A feature is not a finite number.
    """
    images = numbered(layout.searched) if images is None else images
    features, at = torch.empty(len(images), extractor.num_features), 0
    for batch in extractor(images, track):
        features[at : at + len(batch)] = batch
        at += len(batch)
    return features[:at]


def read_searched(layout: RetrievalLayout, file: Path) -> Tensor:
    """Return the features of `layout.searched`, (N, D), from a file.

    Images are found by their paths, relative to the data set's folder. In a file without paths
    they must be in order: the queries, then the gallery.

    Raises:
        ArgumentError: The suffix of the file stands for no format.
        DataError: The file cannot be read, lacks an image, names one twice, has another number of
            them, or says of a row that it is another identity, camera or split.
    """
    table = read_features(file)
    rows = {path: row for row, path in enumerate(table.column("path")) if path}
    if not rows:
        if len(table.labels) != len(layout.searched):
            raise DataError(
                f"{file} has features of {len(table.labels)} images, but {layout.root} has "
                f"{len(layout.searched)} to search with and in.",
                reason="It has no paths: the rows should be the queries, then the gallery.",
            )
        _require_same_labels(file, table, labels_of(layout))
        return table.features
    if len(rows) < len(table.labels):
        raise DataError(
            f"{file} names {len(table.labels) - len(rows)} images twice, or without a path.",
            hint="Write the features of each image once.",
        )
    wanted = [label.path for label in labels_of(layout)]
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
    return table.features if chosen == list(range(len(rows))) else table.features[chosen]


def _require_same_labels(file: Path, table: FeatureTable, wanted: Sequence[ImageLabels]) -> None:
    """Refuse rows in another order, as far as the file says what they are."""
    for name in ("identity", "camera", "split"):
        for row, (said, label) in enumerate(zip(table.column(name), wanted, strict=True), start=1):
            own = getattr(label, name)
            if said and own and said != own:
                raise DataError(
                    f"Row {row} of {file} is of {name} {printable(said)}, that of the data set of "
                    f"{printable(own)}.",
                    reason="It has no paths: the rows should be the queries, then the gallery.",
                )


def labels_of(layout: RetrievalLayout) -> tuple[ImageLabels, ...]:
    """Return what is known about `layout.searched`."""
    names = {"test": layout.query} if layout.shared else layout.subsets
    return tuple(
        image_label(sample, split, layout.folder)
        for split in ("query", "gallery", "test")
        for sample in names.get(split, ())
    )


def image_label(sample: RetrievalSample, split: str, folder: Path) -> ImageLabels:
    """Return what is known about an image; its path relative to `folder`."""
    relative = Path(os.path.relpath(sample.path, folder)).as_posix()
    return ImageLabels(relative, sample.identity, sample.camera or "", split)


def _feature_sets(
    layout: RetrievalLayout, features: Tensor, spec: RetrievalSpec
) -> tuple[FeatureSet, FeatureSet | None]:
    labels, at = labels_of(layout), len(layout.query)
    if not spec.cameras:
        labels = tuple(label._replace(camera="") for label in labels)
    query = FeatureTable(features=features[:at], labels=labels[:at])
    if layout.shared:
        return feature_sets(query)
    return feature_sets(query, FeatureTable(features=features[at:], labels=labels[at:]))
