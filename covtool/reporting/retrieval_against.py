"""Two searches for the same queries in the same images: what one finds first and the other not."""

from dataclasses import dataclass

import torch

from covtool.errors import DataError
from covtool.ops.mcnemar import McNemar, mcnemar
from covtool.ops.resampling import difference_intervals
from covtool.pages import Column, Notes, PictureGroup, Pictures, Section, Table, Text, Tile
from covtool.pages.records import Block
from covtool.reporting.doubts import other_doubts, search_doubts
from covtool.reporting.model_names import distinct_names
from covtool.reporting.paired_words import chance_of, likely_range
from covtool.reporting.ranked_pictures import RankedPictures
from covtool.reporting.retrieval_subject import RetrievalSubject

SHOWN = 6
"""Queries that are shown for each model."""
FIRST = 5
"""First images of a ranking that are shown."""


@dataclass(frozen=True, kw_only=True)
class ComparedSearches:
    """Two searches.

    Attributes:
        first: The search that the page is about.
        second: The other one.
        test: McNemar's test of the queries whose first image is right.
        gain: mAP of the first minus that of the second in percent, its least and its largest likely
            value.
    """

    first: RetrievalSubject
    second: RetrievalSubject
    test: McNemar
    gain: tuple[float, float, float]

    @property
    def gain_range(self) -> str:
        """The range of the gain in points of percent, or why there is none."""
        _, low, high = self.gain
        return likely_range(low, high, too_few="identities")

    @property
    def doubts(self) -> list[str]:
        """What must be known about the figures of the second search."""
        return search_doubts(self.second.done)

    @property
    def names(self) -> tuple[str, str]:
        """Both models' names, as short as they can be told apart."""
        return distinct_names(self.first.model, self.second.model)

    def only(self, *, first: bool) -> list[int]:
        """Return queries whose first image one alone has right, the other's latest match first."""
        one, other = (self.first, self.second) if first else (self.second, self.first)
        ranks, others = (subject.done.result.first_ranks for subject in (one, other))
        found = [row for row in one.scored if ranks[row] == 1 and others[row] != 1]
        return sorted(found, key=lambda row: -others[row])


def compare_searches(first: RetrievalSubject, second: RetrievalSubject) -> ComparedSearches:
    """Return the comparison of two searches.

    Raises:
        DataError: They were not of the same queries in the same images.
    """
    own, other = (subject.done.layout for subject in (first, second))
    rows = sorted(first.scored)
    same = own.query == other.query and own.gallery == other.gallery
    if not same or rows != sorted(second.scored):
        raise DataError(
            f"{first.model} and {second.model} did not search for the same images.",
            reason="Images that one of them cannot read are left out.",
            hint="Remove the unreadable images from the data set first.",
        )
    results = [subject.done.result for subject in (first, second)]
    values = [torch.tensor([r.average_precisions[k] for k in rows]).double() / 100 for r in results]
    found = difference_intervals(*values, groups=first.identities_of(rows))
    right = [[result.first_ranks[k] == 1 for k in rows] for result in results]
    pairs = list(zip(*right, strict=True))
    return ComparedSearches(
        first=first,
        second=second,
        test=mcnemar(pairs.count((True, False)), pairs.count((False, True))),
        gain=(100 * float(found.estimate), 100 * float(found.low), 100 * float(found.high)),
    )


def searches_tile(compared: ComparedSearches) -> Tile:
    """Return the difference of mAP for the head of the page."""
    name, value = f"mAP against {compared.names[1]}", f"{compared.gain[0]:+.2f}"
    return Tile(name=name, value=value, detail=f"points, {compared.gain_range}")


def searches_section(compared: ComparedSearches) -> Section:
    """Return both searches side by side."""
    (first, second), test = compared.names, compared.test
    known = search_doubts(compared.first.done)
    sentence = (
        f"{first} has {compared.gain[0]:+.2f} points of mAP against {second} (95 %: "
        f"{compared.gain_range}). The first image is right with it alone for {test.only_first:,} "
        f"queries, with the other alone for {test.only_second:,}; {chance_of(test)} (McNemar's "
        "exact test, which takes queries as independent: those of one identity are not quite)."
    )
    blocks: list[Block] = [
        Notes(sentences=other_doubts(second, compared.doubts, known)),
        Text(paragraphs=[sentence]),
        _figures(compared),
        _differences(compared),
    ]
    for is_first, name in ((True, first), (False, second)):
        if rows := compared.only(first=is_first):
            blocks.append(
                Pictures(
                    title=f"First image right with {name} alone",
                    caption=f"{min(SHOWN, len(rows))} of {len(rows):,}, the other's latest match "
                    "first; both rankings of each.",
                    groups=_rankings(compared, rows[:SHOWN]),
                )
            )
    return Section(name="against", title=f"Against {second}", blocks=blocks)


def _rankings(compared: ComparedSearches, rows: list[int]) -> list[PictureGroup]:
    shown = [
        (name, RankedPictures(subject, rows, most=FIRST))
        for name, subject in zip(compared.names, (compared.first, compared.second), strict=True)
    ]
    query = compared.first.done.layout.query
    return [
        pictures.group(row, title=f"{query[row].identity}: {name}")
        for row in rows
        for name, pictures in shown
    ]


def _figures(compared: ComparedSearches) -> Table:
    rows: dict[str, list[float | None]] = {}
    in_bins = []
    for place, subject in enumerate((compared.first, compared.second)):
        result = subject.done.result
        found = result.verification.figures() if result.verification else ()
        for name, value in (*result.figures(), *found):
            rows.setdefault(name, [None, None])[place] = value
        if result.verification and not result.verification.is_exact:
            in_bins.append(f"{compared.names[place]}: {result.verification.inexactness}.")
    return Table(
        name="two-models",
        columns=[
            Column(title="figure (%)"),
            *(Column(title=name, format=".2f") for name in compared.names),
        ],
        rows=[(name, *values) for name, values in rows.items()],
        caption=" ".join(in_bins),
    )


def _differences(compared: ComparedSearches) -> Table:
    """Return each query's average precision and first match with both."""
    query = compared.first.done.layout.query
    results = [subject.done.result for subject in (compared.first, compared.second)]
    rows = []
    for row in compared.first.scored:
        precisions = [result.average_precisions[row] for result in results]
        ranks = [result.first_ranks[row] for result in results]
        gain = precisions[0] - precisions[1]
        rows.append((str(query[row].path), query[row].identity, *precisions, gain, *ranks))
    return Table(
        name="differences",
        title="All queries, those that differ most first",
        columns=[
            Column(title="query"),
            Column(title="identity"),
            *(Column(title=f"AP (%), {name}", format=".1f") for name in compared.names),
            Column(title="difference", format="+.1f"),
            *(Column(title=f"first match, {name}", format=",d") for name in compared.names),
        ],
        rows=sorted(rows, key=lambda row: -abs(row[4])),
        shown=20,
    )
