"""A model and a data set for retrieval, both as a user names them, become figures of a search."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from covtool.atomic import require_writable
from covtool.backbones.device import resolve_device
from covtool.data.datasets.checking import check_images
from covtool.data.datasets.duplicates import COMPARED_AT_MOST, notes_on_equal_matches
from covtool.data.datasets.retrieval.reading import read_retrieval
from covtool.data.datasets.retrieval.report import RetrievalReport, report_on, require_searchable
from covtool.data.datasets.retrieval.training import numbered
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.data.images.dim import note_on_dim
from covtool.data.images.orientation import note_on_turned
from covtool.errors import ArgumentError
from covtool.evaluation.features.files import check_feature_output, write_features
from covtool.evaluation.features.table import FeatureTable
from covtool.evaluation.model_request import ModelRequest
from covtool.evaluation.retrieval.rank_sheet import MATCHES, save_ranks
from covtool.evaluation.retrieval.ranking import RetrievalResult
from covtool.evaluation.retrieval.search import (
    describe_searched,
    labels_of,
    plan_search,
    read_searched,
    search,
)
from covtool.processes import Processes, joined
from covtool.progress import Track, silent
from covtool.specs import InputSpec, LayoutSpec, RetrievalSpec

OnReport = Callable[[RetrievalReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRequest(ModelRequest):
    """What to search for and in, and by which features; see `ModelRequest` for the rest.

    Attributes:
        source: The model; None where the features come from a file.
        data: A folder or a CSV file; see `read_retrieval`.
        split: Search for each image of this subset among its others; None for the data's own
            query and gallery, or test.
        test_classes: Share of the classes to search in, where the data has no split.
        spec: Features, metric, re-ranking, memory, files.
        layout: How the data set is read, where that leaves a choice.
        overwrite: Whether the files may replace others.
    """

    source: str | None = None
    data: Path
    split: str | None = None
    test_classes: float | None = None
    spec: RetrievalSpec = field(default_factory=RetrievalSpec)
    layout: LayoutSpec = field(default_factory=LayoutSpec)
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What `retrieve` measured, and how.

    Attributes:
        result: The figures.
        report: Sizes of the data set, without images that were left out.
        data: Name of the data set.
        num_features: Numbers that describe an image.
        device: Where the model ran; None where none did.
        input: How the images were prepared; None where none were.
        spec: How was searched.
        unreadable: File and reason of images that were left out.
        notes: What was assumed about the model and the data set.
        files: What was written.
        far_from_training: Whether the images are so far from what the file was made for that the
            figures say little about it.
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
    far_from_training: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """Images to search for and in, and their features, which of several processes one has."""

    layout: RetrievalLayout
    features: Tensor
    device: str | None = None
    input: InputSpec | None = None
    unreadable: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()
    is_far: bool = False


def retrieve(
    request: RetrievalRequest, *, track: Track = silent, on_report: OnReport | None = None
) -> Retrieval:
    """Measure how well images of the same identity are found by a model's features.

    The data set is looked at first. Under torchrun, each process describes a part of the images,
    the main one searches, and all return the same figures.

    Args:
        request: What to do.
        track: Shows the progress.
        on_report: Is told what the data set holds, before anything is refused or opened.

    Raises:
        DataError: See `read_retrieval`, `require_searchable` and `read_searched`.
        CheckpointError: The model cannot be opened.
        ArgumentError: There is no such device, settings contradict each other, a file cannot be
            written, or the memory allowed is too little.
        SurgeryError: The model has no linear classifier.
        NonFiniteError: A feature is not a finite number.
    """
    spec = request.spec
    spec.validate_fields()
    _check_outputs(request)
    with joined(timeout_s=request.launch.dist_timeout) as processes:
        track = track if processes.is_main else silent
        layout = read_retrieval(
            request.data, test_classes=request.test_classes, choice=request.layout
        )
        if request.split is not None:
            layout = layout.searching_in(request.split)
        report = report_on(layout, cameras=spec.cameras)
        if on_report is not None:
            on_report(report)
        require_searchable(layout, report)
        equal: tuple[str, ...] = ()
        if not report.by_camera:  # else files of the query's own camera are no matches
            equal = processes.main(
                lambda: notes_on_equal_matches(layout, at_most=COMPARED_AT_MOST, track=track)
            )
        described = _described(layout, request, processes, track)
        if described.unreadable:
            report = report_on(described.layout, cameras=spec.cameras)
        result, num_features = processes.main(lambda: _searched(described, request, track))
        return Retrieval(
            result=result,
            report=report,
            data=layout.name,
            num_features=num_features,
            device=described.device,
            input=described.input,
            spec=spec,
            unreadable=described.unreadable,
            notes=(*described.notes, *layout.notes, *equal),
            files=tuple(file for file in (spec.save_features, spec.save_ranks) if file),
            far_from_training=described.is_far,
        )


def _check_outputs(request: RetrievalRequest) -> None:
    spec = request.spec
    if request.source is not None and spec.distances_from is not None:
        raise ArgumentError(
            f"The features come from {spec.distances_from}: {request.source} would not be used.",
            hint="Leave out the model, or --distances-from.",
        )
    if request.source is None and spec.distances_from is None:
        raise ArgumentError("There is neither a model nor a file of features.")
    if spec.save_features is not None:
        check_feature_output(spec.save_features, overwrite=request.overwrite)
    if spec.save_ranks is not None:
        require_writable(spec.save_ranks, overwrite=request.overwrite)


def _described(
    layout: RetrievalLayout, request: RetrievalRequest, processes: Processes, track: Track
) -> _Described:
    file = request.spec.distances_from
    if file is not None:
        return _Described(layout=layout, features=read_searched(layout, file))
    device = resolve_device(request.device, processes)
    checked = check_images(
        numbered(layout.searched),
        on_bad_image=request.on_bad_image,
        track=track,
        processes=processes,
    )
    if checked.bad:
        layout = layout.without({path for path, _ in checked.bad})
        require_searchable(layout, report_on(layout, cameras=request.spec.cameras))
    opened = request.open()
    extractor = request.extractor(opened, request.spec, device=device, processes=processes)
    turned = note_on_turned(checked.turned, exif=opened.recipe.input.exif)
    of_images = filter(None, (turned, note_on_dim(checked.dim)))
    plan_search(layout, extractor.num_features, request.spec)  # too little memory is told now
    return _Described(
        layout=layout,
        features=describe_searched(layout, extractor, track=track),
        device=str(device),
        input=opened.recipe.input,
        unreadable=checked.bad,
        is_far=opened.is_far,
        notes=(*opened.notes, *of_images),
    )


def _searched(
    described: _Described, request: RetrievalRequest, track: Track
) -> tuple[RetrievalResult, int]:
    """Return the figures and the number of features; files are written on the way."""
    spec, layout, features = request.spec, described.layout, described.features
    if spec.save_features is not None:
        table = FeatureTable(features=features, labels=labels_of(layout))
        write_features(spec.save_features, table, overwrite=request.overwrite)
    keep = 0 if spec.save_ranks is None else MATCHES
    result = search(layout, features, spec, keep=keep, track=track)
    if spec.save_ranks is not None:
        save_ranks(
            spec.save_ranks,
            result,
            layout.query,
            layout.gallery,
            title=layout.name,
            overwrite=request.overwrite,
        )
    return result, features.shape[1]
