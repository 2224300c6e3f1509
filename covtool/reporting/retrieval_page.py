"""The page of a search: figures, curves, distances, cameras, queries with what was found."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import torch

import covtool
from covtool.data.datasets.found_images import counted
from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.ops.resampling import Intervals, mean_intervals
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
    Text,
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
from covtool.reporting.camera_section import camera_sections
from covtool.reporting.head_section import range_of, recipe_rows
from covtool.reporting.image_pictures import ImagePictures
from covtool.reporting.retrieval_subject import RetrievalSubject, query_columns

QUERIES = 8
"""Queries shown of the worst, and of the best."""
INTERVALS = (
    "Ranges hold the true figure with 95 %, as far as these identities are a fair sample of those "
    "to come: they are from resampling the identities, each with all of its queries; the gallery "
    "stays as it is."
)


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
            *camera_sections(subject),
            _how(subject),
        ],
    )


def _head(subject: RetrievalSubject) -> list[Block]:
    done = subject.done
    result = done.result
    figures = [*result.figures(), *(result.verification.figures() if result.verification else ())]
    ranges = _ranges(subject)
    doubts = []
    if done.far_from_training:
        doubts.append("The images are far from those that the model was made for.")
    if result.left_out:
        have, do = ("have", "do") if result.left_out > 1 else ("has", "does")
        doubts.append(f"{counted(result.left_out, 'query')} {have} no match and {do} not count.")
    if done.unreadable:
        were = "were" if len(done.unreadable) > 1 else "was"
        doubts.append(f"{counted(len(done.unreadable), 'unreadable image')} {were} left out.")
    return [
        Tiles(
            tiles=[
                Tile(name=name, value=f"{value:.2f} %", detail=ranges.get(name, ""))
                for name, value in figures
            ]
        ),
        Notes(sentences=[*doubts, *done.notes]),
    ]


def _ranges(subject: RetrievalSubject) -> dict[str, str]:
    """Return the ranges of the figures that are means over queries: rank-k or Recall@k, and mAP."""
    result, query = subject.done.result, subject.done.layout.query
    rows = subject.scored
    first = torch.tensor([result.first_ranks[row] for row in rows])
    names, means = ["mAP"], [torch.tensor([result.average_precisions[row] for row in rows]) / 100]
    for k, (name, _) in zip(result.cmc, result.figures(), strict=False):
        names.append(name)
        means.append((first <= k).double())
    # Queries of one identity are not independent: identities are drawn.
    identities = {query[row].identity for row in rows}
    numbers = {name: number for number, name in enumerate(sorted(identities))}
    groups = torch.tensor([numbers[query[row].identity] for row in rows])
    found: Intervals = mean_intervals(torch.stack([m.double() for m in means]), groups=groups)
    return {
        name: range_of(found, row, too_few="too few identities for a range")
        for row, name in enumerate(names)
    }


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
    grouped = subject.grouped(lambda sample: sample.identity)
    rows = [(name, *subject.figures_of(queries)) for name, queries in grouped]
    table = Table(
        name="identities",
        columns=[Column(title="identity"), *query_columns(subject)],
        rows=sorted(rows, key=itemgetter(2)),  # by mAP
        shown=200,
    )
    return Section(name="identities", title="Identities by average precision", blocks=[table])


def _how(subject: RetrievalSubject) -> Section:
    done = subject.done
    spec = done.spec
    rows = [
        ("model", subject.model),
        *recipe_rows(done.recipe),
        ("data", done.data),
        ("queries", f"{done.result.queries:,}"),
        ("gallery", f"{done.result.gallery:,}"),
        ("features", f"{done.num_features:,}"),
        ("distance", spec.metric),
        ("re-ranking", "k-reciprocal" if spec.rerank else "none"),
        ("own camera", "ignored" if done.result.has_cameras else "not known, or not ignored"),
        ("device", done.device),
        ("seconds", f"{done.seconds:.1f}"),
        ("covtool", covtool.__version__),
    ]
    command = [Command(text=subject.command)] if subject.command else []
    return Section(
        name="how",
        title="How it was measured",
        blocks=[Facts(rows=rows), *command, Text(paragraphs=[INTERVALS])],
    )
