"""The page of a search: figures, curves, distances, cameras, queries with what was found."""

import re
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import covtool
from covtool.evaluation.retrieval.verification import VerificationResult
from covtool.pages import (
    Column,
    Command,
    Facts,
    Figure,
    Notes,
    Page,
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
from covtool.reporting.doubts import search_doubts
from covtool.reporting.head_section import recipe_rows
from covtool.reporting.ranked_pictures import RankedPictures
from covtool.reporting.retrieval_against import (
    ComparedSearches,
    searches_section,
    searches_tile,
)
from covtool.reporting.retrieval_subject import RetrievalSubject, query_columns

QUERIES = 8
"""Queries shown of the worst, and of the best."""
INTERVALS = (
    "Ranges hold the true figure with 95 %, as far as these identities are a fair sample of those "
    "to come: they are from resampling the identities, each with all of its queries; the gallery "
    "stays as it is."
)

_MEANINGS = (
    (r"rank-\d+", "Rank-k is the share of queries with a match among the first k images."),
    (r"Recall@\d+", "Recall@k is the share of queries with a match among the first k images."),
    (
        "mAP",
        "mAP is the mean over the queries of their average precision (AP), which is the mean "
        "of the precision at each of a query's matches.",
    ),
    ("mINP", "mINP is the mean of the number of a query's matches over the rank of the last one."),
    (
        "R-precision",
        "R-precision is the share of matches among the first R images, R being the "
        "number of a query's matches; mAP@R is the mean of the precision at those of them.",
    ),
    (
        "ROC AUC",
        "ROC AUC is how often a pair of one identity is closer than a pair of two; 50 % is "
        "a guess.",
    ),
    (
        "EER",
        "EER, the equal error rate, is where as large a share of the pairs of two identities "
        "is accepted as of the pairs of one is refused.",
    ),
    (
        r"TPR@FAR=.*",
        "TPR@FAR=x is the share of the pairs of one identity that is accepted where at most the "
        "share x of the pairs of two is: 0.01 is 1 %.",
    ),
)
"""Kinds of names of figures, and what they mean."""
_RANKING = (
    "A query, then what was found, by rank and identity: framed whole where it is of the query's "
    "identity, dashed where it is not."
)


def write_retrieval(
    subject: RetrievalSubject,
    folder: str | Path,
    compared: ComparedSearches | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the page of a search; see `covtool.pages.write_page` for the errors.

    Args:
        subject: The search.
        folder: Folder to make.
        compared: Comparison with another model's search; None without one.
        overwrite: Whether to replace the folder of a page.
    """
    return write_page(folder, retrieval_page(subject, compared), overwrite=overwrite)


def retrieval_page(subject: RetrievalSubject, compared: ComparedSearches | None = None) -> Page:
    """Return the page of a search.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    return Page(
        title=f"Search: {subject.model}",
        subtitle=searched_in(subject),
        head=search_head(subject, compared),
        sections=search_sections(subject, compared),
    )


def searched_in(subject: RetrievalSubject) -> str:
    """Return what was searched for, and in what."""
    result = subject.done.result
    return f"{subject.done.data}: {result.queries:,} queries in {result.gallery:,} images"


def search_sections(
    subject: RetrievalSubject, compared: ComparedSearches | None = None
) -> list[Section]:
    """Return the sections of a search.

    Their names, and those of their tables and figures, are once in a page.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    with house_style():
        found = [*_curves(subject), *_distances(subject)]
    return [
        Section(name="found", title="What is found, and how early", blocks=found),
        _queries(subject),
        _identities(subject),
        *camera_sections(subject),
        *([] if compared is None else [searches_section(compared)]),
        _how(subject, compared),
    ]


def search_head(subject: RetrievalSubject, compared: ComparedSearches | None = None) -> list[Block]:
    """Return the head line of a search, what makes it doubtful, and what its figures are."""
    done = subject.done
    result = done.result
    figures = [*result.figures(), *(result.verification.figures() if result.verification else ())]
    details = _details(subject)
    return [
        Tiles(
            tiles=[
                Tile(name=name, value=f"{value:.2f} %", detail=details.get(name, ""))
                for name, value in figures
            ]
            + ([] if compared is None else [searches_tile(compared)])
        ),
        Notes(sentences=search_doubts(done)),
        Text(paragraphs=[INTERVALS, _meanings([name for name, _ in figures])]),
    ]


def _meanings(names: Sequence[str]) -> str:
    """Return what the figures are, in a sentence for each kind of name that is there."""
    return " ".join(
        meaning for kind, meaning in _MEANINGS if any(re.fullmatch(kind, name) for name in names)
    )


def _details(subject: RetrievalSubject) -> dict[str, str]:
    """Return the line below each figure: its range, or how exact it is."""
    found = {
        name: figure.range_in_words(of="identities") for name, figure in subject.ranged.items()
    }
    verification = subject.done.result.verification
    if verification is not None and not verification.is_exact:
        low, high = verification.equal_error_bounds
        found["ROC AUC"] = f"in bins: within {verification.auc_error:.2g} %"
        found["EER"] = f"in bins: between {low:.2f} and {high:.2f}"
    return found


def _curves(subject: RetrievalSubject) -> Iterator[Figure]:
    result = subject.done.result
    yield Figure(
        name="cmc",
        title="Queries with a match among the first k images (CMC)",
        svg=svg_text(cmc_figure(result.first_ranks), title="CMC"),
        caption="Cumulative match characteristic: how many queries have a match among the first k "
        f"images. At k = 1 it is {subject.rank_1}.",
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
        caption=f"{found.same_pairs:,} pairs of a query and an image are of one identity, "
        f"{found.different_pairs:,} of two. At the dashed line, false accepts are as frequent as "
        f"false rejects.{_on_bins(found)}",
    )
    if found.roc:
        yield Figure(
            name="roc",
            title="Verification by a threshold on the distance (ROC)",
            svg=svg_text(roc_figure(found), title="ROC"),
            caption="Receiver operating characteristic: what a threshold on the distance accepts. "
            "The nearer to the upper left, the better; EER is the equal error rate.",
        )


def _on_bins(found: VerificationResult) -> str:
    """Say that distances were counted in bins, and what that makes of the figures; "" if not."""
    if found.is_exact:
        return ""
    low, high = found.equal_error_bounds
    return (
        " There are too many pairs to sort their distances: they were counted in bins, each 1/2048 "
        f"of its distance wide. The area under ROC is within {found.auc_error:.2g} % of what is "
        f"said, and the EER is between {low:.2f} and {high:.2f} %."
    )


def _queries(subject: RetrievalSubject) -> Section:
    rows = subject.scored
    worst = rows[:QUERIES]
    best = [row for row in reversed(rows) if row not in worst][:QUERIES]
    shown = RankedPictures(subject, [*worst, *best])
    blocks: list[Block] = []
    for title, chosen in (("Worst queries", worst), ("Best queries", best)):
        if chosen:
            groups = [shown.group(row) for row in chosen]
            blocks.append(
                Pictures(
                    groups=groups, title=f"{title}, by average precision (AP)", caption=_RANKING
                )
            )
    return Section(
        name="queries",
        title="Queries and what was found for them",
        blocks=[*blocks, _query_table(subject)],
    )


def _query_table(subject: RetrievalSubject) -> Table:
    result, query = subject.done.result, subject.done.layout.query
    return Table(
        name="queries",
        title="All queries, the worst first",
        columns=[
            Column(title="query"),
            Column(title="identity"),
            Column(title="camera", is_optional=True),
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


def _how(subject: RetrievalSubject, compared: ComparedSearches | None) -> Section:
    done = subject.done
    spec, pairs = done.spec, done.result.verification
    rows = [
        ("model", subject.model),
        *recipe_rows(done.recipe),
        ("against", None if compared is None else compared.second.model),
        ("data", done.data),
        ("queries", f"{done.result.queries:,}"),
        ("gallery", f"{done.result.gallery:,}"),
        ("pairs", None if pairs is None else pairs.pairs_in_words),
        ("features", done.features_in_words),
        ("distance", spec.metric),
        ("re-ranking", f"k-reciprocal, {spec.reranking}" if spec.rerank else "none"),
        ("own camera", "ignored" if done.result.has_cameras else "not known, or not ignored"),
        ("device", done.device),
        ("seconds", f"{done.seconds:.1f}"),
        ("covtool", covtool.__version__),
    ]
    command = [Command(text=subject.command)] if subject.command else []
    return Section(
        name="how",
        title="How it was measured",
        blocks=[Facts(rows=rows), *command],
    )
