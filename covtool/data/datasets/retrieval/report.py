"""A report of a data set for retrieval, and the refusal of one whose figures would be wrong."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from covtool.data.datasets.found_images import shown
from covtool.data.datasets.retrieval_layout import (
    JUNK_IDENTITY,
    RetrievalLayout,
    RetrievalSample,
    Subset,
)
from covtool.errors import DataError

SHOWN = 12
NAMED_BY_IDENTITY = ("market1501", "veri", "query-gallery")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetCount:
    """The images, identities and cameras of a subset.

    Attributes:
        name: Name of the subset.
        images: Number of images.
        identities: Number of different identities, without junk.
        cameras: Number of different cameras; None if unknown.
    """

    name: Subset
    images: int
    identities: int
    cameras: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalReport:
    """Counts of the images to search with and to search in.

    Attributes:
        subsets: Their sizes.
        junk: Images of the gallery that count neither as right nor as wrong.
        distractors: Other images of the gallery whose identity no query has.
        shared_identities: Identities in training and test images both, by mistake.
        by_camera: Whether matches by the query's own camera do not count.
        queries: Images to search with.
        queries_left: Those of them that have a match in the gallery.
    """

    subsets: tuple[SubsetCount, ...]
    junk: int
    distractors: int
    shared_identities: tuple[str, ...]
    by_camera: bool
    queries: int
    queries_left: int


def report_on(layout: RetrievalLayout, *, cameras: bool = True) -> RetrievalReport:
    """Count what a data set for retrieval holds.

    Args:
        layout: The data set.
        cameras: Whether to leave out matches by the query's own camera, where cameras are known.
    """
    by_camera = cameras and any(sample.camera is not None for sample in layout.searched)
    searched = {sample.identity for sample in layout.query} | {JUNK_IDENTITY}
    return RetrievalReport(
        subsets=tuple(_count(name, samples) for name, samples in layout.subsets.items()),
        junk=sum(sample.identity == JUNK_IDENTITY for sample in layout.gallery),
        distractors=sum(sample.identity not in searched for sample in layout.gallery),
        shared_identities=_shared_identities(layout),
        by_camera=by_camera,
        queries=len(layout.query),
        queries_left=_queries_left(layout, by_camera=by_camera),
    )


def require_searchable(layout: RetrievalLayout, report: RetrievalReport) -> None:
    """Refuse a data set in which the figures of a search would be wrong or say nothing.

    Raises:
        DataError: It has nothing to search with or in; training identities are searched for; some
            images have a camera and others none; an image is listed twice; all show one identity;
            no query has a match.
    """
    _require_subsets(layout)
    if report.shared_identities:
        raise DataError(
            f"{len(report.shared_identities)} identities are in the training and in the test "
            f"images of {layout.root}: {shown(report.shared_identities, SHOWN)}.",
            reason="What a network was trained on is easy to find again.",
            hint="Take them out of one of the two.",
        )
    if report.by_camera:
        _require_cameras(layout)
    _require_distinct(layout, report)
    if not report.queries_left:
        raise _no_query_left(layout, report)
    _require_identities(layout)


def _count(name: Subset, samples: Sequence[RetrievalSample]) -> SubsetCount:
    cameras = {sample.camera for sample in samples} - {None}
    return SubsetCount(
        name=name,
        images=len(samples),
        identities=len({sample.identity for sample in samples} - {JUNK_IDENTITY}),
        cameras=len(cameras) or None,  # no camera is known
    )


def _shared_identities(layout: RetrievalLayout) -> tuple[str, ...]:
    if layout.numbers_apart:  # equal numbers are different people there
        return ()
    test = {sample.identity for sample in layout.searched}
    return tuple(sorted({sample.identity for sample in layout.train} & test - {JUNK_IDENTITY}))


def _queries_left(layout: RetrievalLayout, *, by_camera: bool) -> int:
    """Count the queries that have an image of the same identity to be found."""
    seen_by = defaultdict(list)
    for sample in layout.gallery:
        seen_by[sample.identity].append(sample.camera)

    def has_match(query: RetrievalSample) -> bool:
        cameras = seen_by[query.identity]
        if query.identity == JUNK_IDENTITY:
            return False
        if by_camera:
            # The standard protocol: images of the query by its own camera do not count.
            return any(camera != query.camera for camera in set(cameras))
        return len(cameras) > layout.shared  # a shared query is in the gallery itself

    return sum(map(has_match, layout.query))


def _require_subsets(layout: RetrievalLayout) -> None:
    for name, preposition in (("query", "with"), ("gallery", "in")):
        if not getattr(layout, name):
            raise DataError(
                f"{layout.root} has nothing to search {preposition}: no split called "
                f"{'test' if layout.shared else name!r}.",
                reason=f"It has: {', '.join(layout.subsets) or 'nothing'}.",
            )


def _require_cameras(layout: RetrievalLayout) -> None:
    searched = layout.searched
    without = [sample.path for sample in searched if sample.camera is None]
    if without and len(without) < len(searched):
        raise DataError(
            f"{len(without)} of {len(searched)} images to search with or in have no camera.",
            reason=f"The first: {without[0]}.",
            hint="Give the cameras of all images, or of none.",
        )


def _require_distinct(layout: RetrievalLayout, report: RetrievalReport) -> None:
    """Refuse images that are there twice: they find themselves, unless cameras rule that out."""
    named = layout.kind in NAMED_BY_IDENTITY  # VeRi's queries are in its gallery, as other files
    queries = [sample.path.name if named else sample.path for sample in layout.query]
    others = [sample.path.name if named else sample.path for sample in layout.gallery]
    listed = queries if layout.shared or report.by_camera else queries + others
    seen, twice = set(), []
    for path in listed:
        (twice.append if path in seen else seen.add)(path)
    if twice:
        raise DataError(
            f"{len(twice)} images of {layout.root} are there twice: {twice[0]}.",
            reason="It would find itself.",
            hint="List it once; to search for every image among the others, name the split 'test'.",
        )


def _require_identities(layout: RetrievalLayout) -> None:
    """Refuse a gallery of one identity: every match is right, and all figures are 100 %."""
    identities = {sample.identity for sample in layout.searched} - {JUNK_IDENTITY}
    if len(identities) == 1:
        raise DataError(
            f"All images to search in show one identity, {identities.pop()!r}, in {layout.root}.",
            reason="Every match is right then.",
            hint="A search needs images of two identities at least. Is it the name of a folder "
            "that is not a class?",
        )


def _no_query_left(layout: RetrievalLayout, report: RetrievalReport) -> DataError:
    message = f"None of the {report.queries:,} queries of {layout.root} has a match in the gallery."
    if not report.by_camera:
        return DataError(
            message,
            reason="Every identity has one image only."
            if layout.shared
            else "No identity of a query is in the gallery.",
            hint="An identity needs two images at least, one to search with and one to find.",
        )
    unfiltered = _queries_left(layout, by_camera=False)
    if not unfiltered:
        return DataError(message, reason="No identity of a query has another image.")
    return DataError(
        message,
        reason=f"{unfiltered:,} have matches by their own camera, which do not count.",
        hint="Add --no-cameras to count them, or give the images different cameras.",
    )
