"""Evaluation of a model by searches in a data set, both as a user names them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from covtool.atomic import require_writable
from covtool.backbones.device import resolve_device
from covtool.data.datasets.checking import check_images, notes_on_formats
from covtool.data.datasets.duplicates import COMPARED_AT_MOST, notes_on_equal_matches
from covtool.data.datasets.retrieval.reading import read_retrieval
from covtool.data.datasets.retrieval.report import RetrievalReport, report_on, require_searchable
from covtool.data.datasets.retrieval.training import numbered
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.errors import ArgumentError
from covtool.evaluation.features.files import check_feature_output, write_features
from covtool.evaluation.features.table import FeatureTable
from covtool.evaluation.model_request import FAR, ModelRequest
from covtool.evaluation.retrieval.rank_sheet import MATCHES, save_ranks
from covtool.evaluation.retrieval.ranking import RetrievalResult
from covtool.evaluation.retrieval.relevance import Relevance
from covtool.evaluation.retrieval.search import (
    extract_search_features,
    plan_search,
    read_search_features,
    relevance_of,
    search,
    search_labels,
)
from covtool.processes import Processes, joined
from covtool.progress import Track, main_only, silent
from covtool.specs import InputSpec, LayoutSpec, ModelSource, Recipe, RetrievalSpec

OnReport = Callable[[RetrievalReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRequest(ModelRequest):
    """A data set to search in, and the features to search by; see `ModelRequest` for the rest.

    Attributes:
        source: The model, or its name alone; None where the features come from a file.
        data: A folder or a CSV file; see `read_retrieval`.
        split: Subset whose images are each searched for among its others; None for the data's own
            query and gallery, or test.
        test_classes: Share of the classes to search in, where the data has no split.
        spec: Features, metric, re-ranking, memory, files.
        layout: Choices in reading the data set.
        overwrite: Whether the files may replace others.
        keep: First images of each ranking that the result has, at least.
        by_camera: Whether the images of each camera are ranked apart as well.
    """

    source: ModelSource | None = None
    data: Path
    split: str | None = None
    test_classes: float | None = None
    spec: RetrievalSpec = field(default_factory=RetrievalSpec)
    layout: LayoutSpec = field(default_factory=LayoutSpec)
    overwrite: bool = False
    keep: int = 0
    by_camera: bool = False

    def __post_init__(self) -> None:
        if self.source is not None:
            ModelRequest.__post_init__(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """The figures that `retrieve` measured, and how.

    Attributes:
        result: The figures.
        report: Sizes of the data set, without images that were left out.
        data: Name of the data set.
        num_features: Features of an image.
        device: Device that the model ran on; None where none did.
        input: Preparation of the images; None where none were prepared.
        spec: Settings of the search.
        unreadable: File and reason of images that were left out.
        notes: Assumptions about the model and the data set.
        files: Files that were written.
        layout: The images that were searched with and in, without those left out.
        far_from_training: Whether the images are so far from what the file was made for that the
            figures say little about it.
        recipe: Recipe of the model; None where none ran.
        seconds: Time that features and search took.
    """

    result: RetrievalResult
    report: RetrievalReport
    data: str
    num_features: int
    device: str | None
    input: InputSpec | None
    spec: RetrievalSpec
    unreadable: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    layout: RetrievalLayout
    far_from_training: bool = False
    recipe: Recipe | None = None
    seconds: float = 0.0

    @property
    def features_in_words(self) -> str:
        """Number of features, and which ones they are where a model gave them."""
        parts = [f"{self.num_features:,}"]
        if self.input is not None:
            parts.append(self.spec.feature)
        if self.spec.flip_test:
            parts.append("mean with the mirror image")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extracted:
    """Images of a search and their features, which only the main process has."""

    layout: RetrievalLayout
    report: RetrievalReport
    relevance: Relevance
    features: Tensor
    device: str | None = None
    input: InputSpec | None = None
    unreadable: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()
    is_far: bool = False
    recipe: Recipe | None = None


def retrieve(
    request: RetrievalRequest,
    *,
    layout: RetrievalLayout | None = None,
    track: Track = silent,
    on_report: OnReport | None = None,
) -> Retrieval:
    """Measure how well images of the same identity are found by a model's features.

    The data set is looked at first. Under torchrun, each process works on a part of the images,
    the main one searches, and all return the same figures.

    Args:
        request: Model, data set and search.
        layout: Images to search with and in, where they are known; None to read `request.data`.
        track: Display of the progress.
        on_report: Called with the data set's contents, before anything is refused or opened.

    Raises:
        DataError: See `read_retrieval`, `require_searchable` and `read_search_features`.
        CheckpointError: The model cannot be opened.
        ArgumentError: There is no such device, settings contradict each other, a file cannot be
            written, or the memory allowed is too little.
        SurgeryError: The model has no linear classifier.
        NonFiniteError: A feature is not a finite number.
    """
    spec = request.spec
    # Outputs first: a search can take hours before it writes anything.
    spec.validate_fields()
    _check_outputs(request)
    with joined(timeout_s=request.launch.dist_timeout) as processes:
        track = main_only(track, is_main=processes.is_main)
        if layout is None:
            layout = _read(request)
        report = report_on(layout, cameras=spec.cameras)
        if on_report is not None:
            on_report(report)
        require_searchable(layout, report)
        equal: tuple[str, ...] = ()
        # A copy of the query is found first; with cameras it is ignored, having the query's own.
        if not report.by_camera:
            equal = processes.main(
                lambda: notes_on_equal_matches(layout, at_most=COMPARED_AT_MOST, track=track)
            )
        start = time.perf_counter()
        extracted = _extract(layout, report, request, processes, track)
        result, num_features = processes.main(lambda: _search(extracted, request, track))
        return Retrieval(
            result=result,
            report=extracted.report,
            data=layout.name,
            num_features=num_features,
            device=extracted.device,
            input=extracted.input,
            spec=spec,
            unreadable=extracted.unreadable,
            notes=(*extracted.notes, *layout.notes, *equal),
            layout=extracted.layout,
            files=tuple(file for file in (spec.save_features, spec.save_ranks) if file),
            far_from_training=extracted.is_far,
            recipe=extracted.recipe,
            seconds=time.perf_counter() - start,
        )


def _read(request: RetrievalRequest) -> RetrievalLayout:
    layout = read_retrieval(request.data, test_classes=request.test_classes, choice=request.layout)
    return layout if request.split is None else layout.searching_in(request.split)


def _check_outputs(request: RetrievalRequest) -> None:
    spec = request.spec
    if request.source is not None and spec.distances_from is not None:
        raise ArgumentError(
            f"The features come from {spec.distances_from}: {request.source.name} would not be "
            "used.",
            hint="Leave out the model, or --distances-from.",
        )
    if request.amp and spec.distances_from is not None:
        raise ArgumentError(
            f"The features come from {spec.distances_from}: no model runs, and --amp would have no "
            "effect.",
            hint="Leave out --amp. covtool embed --amp writes features of mixed precision.",
        )
    if request.source is None and spec.distances_from is None:
        raise ArgumentError("There is neither a model nor a file of features.")
    if spec.save_features is not None:
        check_feature_output(spec.save_features, overwrite=request.overwrite)
    if spec.save_ranks is not None:
        require_writable(spec.save_ranks, overwrite=request.overwrite)


def _extract(
    layout: RetrievalLayout,
    report: RetrievalReport,
    request: RetrievalRequest,
    processes: Processes,
    track: Track,
) -> _Extracted:
    spec = request.spec
    if spec.distances_from is not None:
        return _Extracted(
            layout=layout,
            report=report,
            relevance=relevance_of(layout, cameras=spec.cameras),
            features=read_search_features(layout, spec.distances_from),
        )
    device = resolve_device(request.device, processes)
    checked = check_images(
        numbered(layout.searched),
        on_bad_image=request.on_bad_image,
        track=track,
        processes=processes,
    )
    if checked.bad:
        layout = layout.without({path for path, _ in checked.bad})
        report = report_on(layout, cameras=spec.cameras)
        require_searchable(layout, report)
    opened = request.open()
    extractor = request.extractor(opened, spec, device=device, processes=processes)
    of_images = (*checked.notes(exif=opened.recipe.input.exif), *notes_on_formats([checked]))
    relevance = relevance_of(layout, cameras=spec.cameras)
    # Too little memory is refused now, not after the features are extracted.
    plan_search(relevance, extractor.num_features, spec)
    with request.autocast(device):
        features = extract_search_features(layout, extractor, track=track)
    return _Extracted(
        layout=layout,
        report=report,
        relevance=relevance,
        features=features,
        device=str(device),
        input=opened.recipe.input,
        unreadable=checked.bad,
        is_far=opened.is_far,
        recipe=opened.recipe,
        notes=(*opened.notes, *of_images),
    )


def _search(
    extracted: _Extracted, request: RetrievalRequest, track: Track
) -> tuple[RetrievalResult, int]:
    """Return the figures and the number of features; files are written on the way."""
    spec, layout, features = request.spec, extracted.layout, extracted.features
    if spec.save_features is not None:
        table = FeatureTable(features=features, labels=search_labels(layout))
        write_features(spec.save_features, table, overwrite=request.overwrite)
    keep = max(request.keep, 0 if spec.save_ranks is None else MATCHES)
    asked = {"keep": keep, "by_camera": request.by_camera, "track": track}
    result = search(features, extracted.relevance, spec, **asked)
    if spec.save_ranks is not None:
        save_ranks(
            spec.save_ranks,
            result,
            layout.query,
            layout.gallery,
            title=layout.name,
            notes=_notes_on_ranks(extracted, spec),
            overwrite=request.overwrite,
        )
    return result, features.shape[1]


def _notes_on_ranks(extracted: _Extracted, spec: RetrievalSpec) -> tuple[str, ...]:
    """Return what must be known about rankings that are drawn."""
    reranked = f"Ranked by {spec.metric} distance, then re-ranked ({spec.reranking})."
    return (*([reranked] if spec.rerank else []), *([FAR] if extracted.is_far else []))
