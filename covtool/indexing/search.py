"""Search in an index: the images of a gallery that are the nearest to others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from covtool.backbones.device import resolve_device
from covtool.data.datasets.checking import check_images
from covtool.errors import ArgumentError, DataError
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.features.table import ImageLabels
from covtool.evaluation.model_request import ModelRequest
from covtool.evaluation.retrieval.exact_search import SearchFeatures, plan_exact
from covtool.evaluation.retrieval.reranking import plan_reranked
from covtool.indexing.fingerprint import open_for_index, require_same_model, spec_of
from covtool.indexing.gallery import FoundImages, collect_images
from covtool.indexing.index_file import Index, read_index, read_record
from covtool.indexing.index_record import IndexRecord
from covtool.indexing.inverted_file import InvertedFile, candidate_count, require_faiss
from covtool.indexing.nearest import (
    Nearest,
    UnknownRelevance,
    find_nearest,
    itself_first,
    nearest_of,
)
from covtool.processes import ALONE
from covtool.progress import Track, silent
from covtool.specs import ModelSource, RetrievalSpec
from covtool.specs.indexing import GallerySearchSpec

BLOCK = 256
"""Queries that an inverted file is searched with at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest(ModelRequest):
    """Queries, and an index to search in; see `ModelRequest` for the rest.

    Attributes:
        source: The model, or its name alone; None for the place that the index keeps.
        index: File of the index.
        queries: Data sets, folders, lists and images to search with.
        split: Their split; None for all.
        spec: Number of images to find, which of them count, and how.
    """

    source: ModelSource | None = None
    index: Path
    queries: tuple[Path, ...]
    split: str | None = None
    spec: GallerySearchSpec = field(default_factory=GallerySearchSpec)

    def __post_init__(self) -> None:
        if self.source is not None:
            ModelRequest.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An image that was found.

    Attributes:
        rank: Its rank, from 1 on.
        path: Its path, relative to the folder of the index.
        identity: Its identity; "" where it is unknown.
        camera: Its camera; "" where it is unknown.
        distance: Its distance from the query.
        match: Whether it is near enough for a match; None without a threshold.
    """

    rank: int
    path: str
    identity: str
    camera: str
    distance: float
    match: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was found for a query.

    Attributes:
        query: The query's file.
        identity: Its identity; "" where it is unknown.
        camera: Its camera; "" where it is unknown.
        hits: The nearest images, the nearest first.
        in_gallery: Whether one of them is a match; None without a threshold.
    """

    query: Path
    identity: str
    camera: str
    hits: tuple[Hit, ...]
    in_gallery: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Result of `search_index`.

    Attributes:
        index: File of the index.
        folder: Folder that paths in it are relative to.
        gallery: Number of its images.
        answers: Images that were found, by query.
        metric: Distance between two images.
        threshold: Largest distance of a match; None without a threshold.
        recall: Share of the nearest images that such a search finds, as it was measured when the
            inverted file was built; None for an exact search.
        recall_at: Number of nearest images that were looked for then.
        model: Name of the model.
        device: Device that it ran on.
        unreadable: File and reason of queries that were left out.
        notes: Assumptions about model and images.
        far_from_training: Whether the images are so far from what the model was made for that the
            features are others.
        reranked: Whether images are ordered by k-reciprocal neighbors, not by their distance.
    """

    index: Path
    folder: Path
    gallery: int
    answers: tuple[Answer, ...]
    metric: str
    threshold: float | None
    recall: float | None = None
    recall_at: int | None = None
    model: str
    device: str
    unreadable: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]
    far_from_training: bool = False
    reranked: bool = False

    @property
    def approximation(self) -> str:
        """How many of the nearest images such a search finds; "" for an exact one."""
        if self.recall is None:
            return ""
        return (
            f"{100 * self.recall:.1f} % of the nearest {self.recall_at} were found when the index "
            "was made"
        )

    @property
    def absent(self) -> int | None:
        """Number of queries that are not in the gallery; None without a threshold."""
        if self.threshold is None:
            return None
        return sum(answer.in_gallery is False for answer in self.answers)


def search_index(request: SearchRequest, *, track: Track = silent) -> SearchResult:
    """Find the images of an index that are the nearest to queries.

    Raises:
        ArgumentError: Settings contradict each other, faiss is missing, or the memory allowed is
            too little.
        DataError: The index is damaged or is none, a query cannot be read, or cameras are unknown.
        CheckpointError: The model cannot be opened, or is not the index's.
        NonFiniteError: A feature is not a finite number.
    """
    spec = request.spec
    spec.validate_fields()
    record = read_record(request.index)
    _require_inverted_file(request.index, record, spec)
    found = collect_images(request.queries, split=request.split, folder=record.root)
    checked = check_images(found.samples, on_bad_image=request.on_bad_image, track=track)
    labels = [found.labels[sample.label] for sample in checked.good]
    index = read_index(request.index, mapped=spec.backend == "faiss")
    if spec.cameras:
        _require_cameras(index, labels)
    opened, asked = open_for_index(record, _with_model(request, record), request.index)
    device = resolve_device(request.device, ALONE)
    extractor = asked.extractor(opened, spec_of(record), device=device, processes=ALONE)
    require_same_model(record, opened, extractor, asked.source.name, request.index)
    # Too little memory is refused now, not after the features are extracted.
    plan = plan_reranked if spec.rerank else plan_exact
    size = UnknownRelevance(len(labels), len(index)).size(extractor.num_features)
    plan(size, _retrieval_spec(record, spec))
    features = _extract(extractor, checked.good, track)
    nearest = find_in_index(index, features, labels, spec, track=track)
    threshold = spec.threshold_over(None if record.threshold is None else record.threshold.distance)
    queries = [sample.path for sample in checked.good]
    inverted = record.inverted_file if spec.backend == "faiss" else None
    return SearchResult(
        index=request.index,
        folder=record.root,
        gallery=len(index),
        answers=_answers(queries, labels, nearest, index, threshold),
        metric=record.metric,
        threshold=threshold,
        recall=inverted and inverted.recall,
        recall_at=inverted and inverted.recall_at,
        model=asked.source.name,
        device=str(device),
        unreadable=checked.bad,
        far_from_training=opened.is_far,
        reranked=spec.rerank,
        notes=(
            *opened.notes,
            *found.notes,
            *checked.notes(exif=opened.recipe.input.exif),
            *_notes(record, spec, threshold, found),
        ),
    )


def _require_inverted_file(path: Path, record: IndexRecord, spec: GallerySearchSpec) -> None:
    if spec.backend != "faiss":
        return
    require_faiss()
    if record.inverted_file is None:
        raise ArgumentError(
            f"{path} has no inverted file to search in.",
            hint=f"Make one: covtool index {path} --faiss, or search with --backend exact.",
        )


def _with_model(request: SearchRequest, record: IndexRecord) -> ModelRequest:
    return ModelRequest(
        source=record.model if request.source is None else request.source,
        batch_size=request.batch_size,
        workers=request.workers,
        device=request.device,
        on_bad_image=request.on_bad_image,
    )


def _require_cameras(index: Index, labels: Sequence[ImageLabels]) -> None:
    for what, side in (("queries", labels), ("images of the index", index.labels)):
        missing = sum(not label.camera for label in side)
        if missing:
            raise DataError(
                f"--cameras: of {missing:,} of {len(side):,} {what} the camera is unknown.",
                hint="Leave out --cameras, or give cameras: a CSV with the column camera, or a "
                "data set for re-identification.",
            )


def _extract(extractor: FeatureExtractor, samples: Sequence, track: Track) -> Tensor:
    features, at = torch.empty(len(samples), extractor.num_features), 0
    for batch in extractor(samples, track):
        features[at : at + len(batch)] = batch
        at += len(batch)
    return features


def find_in_index(
    index: Index,
    features: Tensor,
    labels: Sequence[ImageLabels],
    spec: GallerySearchSpec,
    *,
    track: Track = silent,
) -> Iterator[Nearest]:
    """Yield the images of an index that are the nearest to queries, query by query.

    Args:
        index: The index; read with `mapped` for an inverted file, if memory does not hold it.
        features: Features of the queries by the index's model, shape (Q, D).
        labels: Labels of the queries; paths are relative to the index's folder.
        spec: Number of images to find, which of them count, and how.
        track: Display of the progress.

    Raises:
        ArgumentError: The memory allowed is too little, or faiss is missing.
        DataError: The inverted file is missing or damaged.
    """
    excluded = _Excluded(index, labels, spec)
    if spec.backend == "faiss":
        found = _find_inverted(index, features, excluded, spec, track)
    else:
        relevance = UnknownRelevance(len(features), len(index))
        searched = SearchFeatures(query=features, gallery=index.features, relevance=relevance)
        how = _retrieval_spec(index.record, spec)
        found = find_nearest(searched, how, spec.k, excluded=excluded, track=track)
    for nearest, own, query in zip(found, excluded.own, features, strict=True):
        itself = None if excluded.is_needed or own < 0 else index.features[own]
        yield itself_first(nearest, own, query, index.record.metric, itself)


def _retrieval_spec(record: IndexRecord, spec: GallerySearchSpec) -> RetrievalSpec:
    return RetrievalSpec(metric=record.metric, rerank=spec.rerank, max_memory=spec.max_memory)


def _find_inverted(
    index: Index, features: Tensor, excluded: "_Excluded", spec: GallerySearchSpec, track: Track
) -> Iterator[Nearest]:
    record, metric = index.record.inverted_file, index.record.metric
    assert record is not None  # it was looked for first
    file = InvertedFile(index.path, record, index.features, metric)
    count = candidate_count(spec.k)
    # What is left out differs from query to query: then they are searched with one by one.
    blocks = torch.arange(len(features)).split(1 if excluded.is_needed else BLOCK)
    for rows in track(blocks, "searching", len(blocks)):
        left_out = excluded(rows)
        allowed = None if left_out is None else np.asarray(~left_out[0])
        places = file.candidates(features[rows], count, allowed)
        yield from nearest_of(features[rows], index.features, places, metric, spec.k)


class _Excluded:
    """Images that are left out for a query: those of its camera, and itself.

    Attributes:
        own: Place of each query in the gallery; -1 where it is none of its images.
    """

    def __init__(
        self, index: Index, labels: Sequence[ImageLabels], spec: GallerySearchSpec
    ) -> None:
        self._spec = spec
        self._columns = torch.arange(len(index))
        places = {label.path: place for place, label in enumerate(index.labels)}
        self.own = [places.get(label.path, -1) for label in labels]
        self._own = torch.tensor(self.own)
        names = dict.fromkeys(label.camera for label in (*index.labels, *labels))
        numbers = {name: number for number, name in enumerate(names)}
        self._gallery = torch.tensor([numbers[label.camera] for label in index.labels])
        self._query = torch.tensor([numbers[label.camera] for label in labels])

    @property
    def is_needed(self) -> bool:
        """Whether anything is left out."""
        return self._spec.cameras or self._spec.exclude_same

    def __call__(self, rows: Tensor) -> Tensor | None:
        left_out = None
        if self._spec.cameras:
            left_out = self._gallery == self._query[rows][:, None]
        if self._spec.exclude_same:
            itself = self._columns == self._own[rows][:, None]
            left_out = itself if left_out is None else left_out | itself
        return left_out


def _answers(
    queries: Sequence[Path],
    labels: Sequence[ImageLabels],
    nearest: Iterator[Nearest],
    index: Index,
    threshold: float | None,
) -> tuple[Answer, ...]:
    answers = []
    for query, label, found in zip(queries, labels, nearest, strict=True):
        pairs = zip(found.places.tolist(), found.distances.tolist(), strict=True)
        hits = tuple(
            Hit(
                rank=rank,
                path=index.labels[place].path,
                identity=index.labels[place].identity,
                camera=index.labels[place].camera,
                distance=distance,
                match=None if threshold is None else distance <= threshold,
            )
            for rank, (place, distance) in enumerate(pairs, start=1)
        )
        in_gallery = None if threshold is None else any(hit.match for hit in hits)
        answers.append(
            Answer(
                query=query,
                identity=label.identity,
                camera=label.camera,
                hits=hits,
                in_gallery=in_gallery,
            )
        )
    return tuple(answers)


def _notes(
    record: IndexRecord, spec: GallerySearchSpec, threshold: float | None, found: FoundImages
) -> Iterator[str]:
    if spec.rerank and threshold is not None:
        yield "The order is that of the re-ranking; the threshold goes by the plain distance."
    if spec.rerank and len(found.samples) > 1:
        yield "Re-ranking uses the queries too: others beside a query may change its order."
    if record.threshold is not None and spec.threshold is not None:
        yield f"The index's own threshold, {record.threshold.distance:.4g}, is not used."
