"""The page of a search: figures, curves, distances, cameras, queries with what was found."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.evaluation.retrieve import Retrieval
from covtool.pages import (
    Column,
    Command,
    Facts,
    Figure,
    Notes,
    Page,
    Picture,
    PictureGroup,
    Pictures,
    Section,
    Table,
    Tile,
    Tiles,
    write_page,
)
from covtool.pages.records import Block
from covtool.plotting.figure_file import house_style, svg_text
from covtool.plotting.retrieval_figures import (
    cmc_figure,
    distance_figure,
    precision_recall_figure,
    roc_figure,
)
from covtool.reporting.image_pictures import ImagePictures

QUERIES = 8
"""Queries shown of the worst, and of the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSubject:
    """A search that was measured.

    Attributes:
        done: What was measured, with the first images of each ranking
            that are to be shown; see `RetrievalRequest.keep`.
        model: Name of the model, or of the file of features.
        command: The command that was typed; empty without one.
        seconds: Time that it took; None where it is not known.
    """

    done: Retrieval
    model: str
    command: str = ""
    seconds: float | None = None

    @property
    def scored(self) -> list[int]:
        """Queries that count, those of the lowest average precision first."""
        precisions = self.done.result.average_precisions
        there = [row for row, precision in enumerate(precisions) if precision is not None]
        return sorted(there, key=lambda row: precisions[row])


def write_retrieval(
    subject: RetrievalSubject, folder: str | Path, *, overwrite: bool = False
) -> Path:
    """Write the page of a search; see `covtool.pages.write_page` for the errors.

    Args:
        subject: The search.
        folder: Folder to make.
        overwrite: Whether to replace the folder of a page.
    """
    return write_page(folder, retrieval_page(subject), overwrite=overwrite)


def retrieval_page(subject: RetrievalSubject) -> Page:
    """Return the page of a search.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    done = subject.done
    with house_style():
        curves = [*_curves(subject), *_distances(subject)]
    return Page(
        title=f"Search: {subject.model}",
        subtitle=f"{done.data}: {done.result.queries:,} queries in {done.result.gallery:,} images",
        head=_head(subject),
        sections=[
            Section(name="curves", title="What is found, and how early", blocks=curves),
            _queries(subject),
            _identities(subject),
            *_cameras(subject),
            _how(subject),
        ],
    )


def _head(subject: RetrievalSubject) -> list[Block]:
    done = subject.done
    result = done.result
    figures = [*result.figures(), *(result.verification.figures() if result.verification else ())]
    doubts = []
    if done.far_from_training:
        doubts.append("The images are far from those that the model was made for.")
    if result.left_out:
        doubts.append(f"{result.left_out:,} queries have no match and do not count.")
    if done.unreadable:
        doubts.append(f"{len(done.unreadable):,} unreadable images were left out.")
    return [
        Tiles(tiles=[Tile(name=name, value=f"{value:.2f} %") for name, value in figures]),
        Notes(sentences=[*doubts, *done.notes]),
    ]


def _curves(subject: RetrievalSubject) -> Iterator[Figure]:
    result = subject.done.result
    yield Figure(
        name="cmc",
        title="Queries with a match among the first k images (CMC)",
        svg=svg_text(cmc_figure(result.first_ranks), title="CMC"),
    )
    yield Figure(
        name="precision-recall",
        title="Precision over recall",
        svg=svg_text(precision_recall_figure(result.precision_at_recall), title="Precision"),
        caption="Interpolated: the largest precision where at least that share of a query's "
        "matches is found, averaged over the queries.",
    )


def _distances(subject: RetrievalSubject) -> Iterator[Figure]:
    result = subject.done.result
    found = result.verification
    if found is None:
        return
    yield Figure(
        name="distances",
        title="Distances of pairs of one identity and of two",
        svg=svg_text(distance_figure(result.pairs, found.equal_error_threshold), title="Distances"),
        caption=f"{found.same_pairs:,} pairs of one identity, {found.different_pairs:,} of two. At "
        "the dashed line, false accepts are as frequent as false rejects.",
    )
    if found.roc:
        yield Figure(
            name="roc",
            title="Verification by a threshold on the distance (ROC)",
            svg=svg_text(roc_figure(found), title="ROC"),
        )


def _queries(subject: RetrievalSubject) -> Section:
    rows = subject.scored
    worst = rows[:QUERIES]
    best = [row for row in reversed(rows) if row not in worst][:QUERIES]
    shown = _Shown(subject, [*worst, *best])
    blocks: list[Block] = []
    for title, chosen in (("Worst queries", worst), ("Best queries", best)):
        if chosen:
            groups = [shown.group(row) for row in chosen]
            blocks.append(Pictures(groups=groups, title=f"{title}, by average precision"))
    return Section(
        name="queries",
        title="Queries and what was found for them",
        blocks=[*blocks, _query_table(subject)],
    )


class _Shown:
    """Queries with pictures of their first images; each file is read once."""

    def __init__(self, subject: RetrievalSubject, rows: Sequence[int]) -> None:
        self._done = subject.done
        layout = self._done.layout
        files = [layout.query[row].path for row in rows]
        files += [sample.path for row in rows for sample in self._found(row)]
        input = self._done.input
        self._pictures = ImagePictures(files, exif=input is None or input.exif)

    def group(self, row: int) -> PictureGroup:
        """Return a query and the first images of its ranking."""
        query, result = self._done.layout.query[row], self._done.result
        first = result.first_ranks[row]
        found = [
            self._picture(
                sample, str(rank), mark="right" if sample.identity == query.identity else "wrong"
            )
            for rank, sample in enumerate(self._found(row), start=1)
        ]
        return PictureGroup(
            pictures=[self._picture(query, "query"), *found],
            title=query.identity,
            lines=[f"AP {result.average_precisions[row]:.1f} %, first match at rank {first:,}"],
        )

    def _found(self, row: int) -> list[RetrievalSample]:
        gallery = self._done.layout.gallery
        return [gallery[at] for at in self._done.result.matches[row].tolist() if at >= 0]

    def _picture(self, sample: RetrievalSample, place: str, *, mark: str = "") -> Picture:
        camera = [] if sample.camera is None else [f"camera {sample.camera}"]
        return self._pictures.of(sample.path, [place, sample.identity, *camera], mark=mark)


def _query_table(subject: RetrievalSubject) -> Table:
    result, query = subject.done.result, subject.done.layout.query
    return Table(
        name="queries",
        title="All queries, the worst first",
        columns=[
            Column(title="query"),
            Column(title="identity"),
            Column(title="camera"),
            Column(title="AP (%)", format=".1f", is_number=True),
            Column(title="first match at rank", format=",d", is_number=True),
        ],
        rows=[
            (
                str(query[row].path),
                query[row].identity,
                query[row].camera,
                result.average_precisions[row],
                result.first_ranks[row],
            )
            for row in subject.scored
        ],
        shown=50,
    )


def _identities(subject: RetrievalSubject) -> Section:
    grouped = _grouped(subject, lambda sample: sample.identity)
    table = Table(
        name="identities",
        columns=[Column(title="identity"), *_columns(subject)],
        rows=sorted(((name, *_figures(subject, rows)) for name, rows in grouped), key=_by_map),
        shown=200,
    )
    return Section(name="identities", title="Identities by average precision", blocks=[table])


def _columns(subject: RetrievalSubject) -> tuple[Column, ...]:
    first = next(name for name, _ in subject.done.result.figures())  # rank-1, or Recall@1
    return (
        Column(title="queries", format=",d", is_number=True),
        Column(title="mAP (%)", format=".1f", is_number=True),
        Column(title=f"{first} (%)", format=".1f", is_number=True),
    )


def _cameras(subject: RetrievalSubject) -> Iterator[Section]:
    """Yield the section on cameras, where the data set has any."""
    layout, result = subject.done.layout, subject.done.result
    if any(sample.camera is None for sample in layout.query):
        return
    by_camera = Table(
        name="cameras",
        title="Queries by their camera",
        columns=[Column(title="camera"), *_columns(subject)],
        rows=[
            (name, *_figures(subject, rows))
            for name, rows in _grouped(subject, lambda sample: sample.camera or "")
        ],
    )
    pairs: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in subject.scored:
        first = result.matches[row].tolist()[:1]
        if first and first[0] >= 0:
            query, found = layout.query[row], layout.gallery[first[0]]
            pair = (query.camera or "", found.camera or "")
            pairs[pair].append(found.identity == query.identity)
    first_images = Table(
        name="camera-pairs",
        title="First images, by the camera of the query and their own",
        columns=[
            Column(title="query's camera"),
            Column(title="first image's camera"),
            Column(title="queries", format=",d", is_number=True),
            Column(title="right (%)", format=".1f", is_number=True),
        ],
        rows=[(*pair, len(right), 100 * mean(right)) for pair, right in sorted(pairs.items())],
    )
    yield Section(name="cameras", title="Cameras", blocks=[by_camera, first_images])


def _grouped(subject: RetrievalSubject, key) -> list[tuple[str, list[int]]]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for row in subject.scored:
        groups[key(subject.done.layout.query[row])].append(row)
    return sorted(groups.items())


def _figures(subject: RetrievalSubject, rows: Sequence[int]) -> tuple[int, float, float]:
    result = subject.done.result
    precision = mean(result.average_precisions[row] for row in rows)
    return len(rows), precision, 100 * mean(result.first_ranks[row] == 1 for row in rows)


def _by_map(row: tuple[str, int, float, float]) -> float:
    return row[2]


def _how(subject: RetrievalSubject) -> Section:
    done = subject.done
    spec = done.spec
    rows = [
        ("model", subject.model),
        ("data", done.data),
        ("queries", f"{done.result.queries:,}"),
        ("gallery", f"{done.result.gallery:,}"),
        ("features", f"{done.num_features:,}"),
        ("distance", spec.metric),
        ("re-ranking", "k-reciprocal" if spec.rerank else "none"),
        ("own camera", "ignored" if done.result.has_cameras else "not known, or not ignored"),
        ("device", done.device),
        ("seconds", None if subject.seconds is None else f"{subject.seconds:.1f}"),
    ]
    command = [Command(text=subject.command)] if subject.command else []
    return Section(name="how", title="How it was measured", blocks=[Facts(rows=rows), *command])
