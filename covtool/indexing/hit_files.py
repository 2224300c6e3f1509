"""Files of what a search found: a table of rows, and a picture."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from io import TextIOBase
from pathlib import Path

from covtool.atomic import require_writable, written_whole
from covtool.atomic.formats import require_hits_name, require_picture_name
from covtool.evaluation.model_request import FAR
from covtool.evaluation.retrieval.rank_sheet import (
    MATCHES,
    NEUTRAL,
    QUERIES,
    RIGHT,
    WRONG,
    Head,
    SheetImage,
    SheetRow,
    save_sheet,
)
from covtool.indexing.search import Answer, Hit, SearchResult
from covtool.indexing.thresholds import is_known_identity

COLUMNS = ("query", "rank", "path", "identity", "camera", "distance", "similarity", "match")
Row = dict[str, object]

IN_WORDS = {True: "yes", False: "no", None: ""}
ABSENT = "not in the gallery"


def check_hit_outputs(output: Path | None, sheet: Path | None, *, overwrite: bool) -> None:
    """Refuse outputs that cannot be written, before anything is computed.

    Raises:
        ArgumentError: The suffix stands for no format, or the folder does not exist.
        OutputExistsError: There is such a file, and `overwrite` is False.
    """
    if output is not None:
        _writer_for(output)
        require_writable(output, overwrite=overwrite)
    if sheet is not None:
        require_picture_name(sheet)
        require_writable(sheet, overwrite=overwrite)


def rows_of(result: SearchResult) -> Iterator[Row]:
    """Yield a row for each image that was found, by `COLUMNS`; one without for no image."""
    for answer in result.answers:
        for hit in answer.hits:
            yield _row(answer, hit, result.metric)
        if not answer.hits:
            blank = dict.fromkeys(COLUMNS)
            yield {**blank, "query": str(answer.query), "match": answer.in_gallery}


def write_hits(path: Path, result: SearchResult, *, overwrite: bool = False) -> Path:
    """Write a row for each image that was found: ``.csv`` or ``.jsonl``.

    Raises:
        ArgumentError: The suffix stands for no format.
        OutputExistsError: There is such a file, and `overwrite` is False.
        SaveError: The file cannot be written.
    """
    write = _writer_for(path)
    with (
        written_whole(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        write(file, rows_of(result))
    return path


def draw_hits(path: Path, result: SearchResult, *, overwrite: bool = False) -> int:
    """Draw queries with their best matches, and return how many of the images cannot be found.

    Up to ten queries are drawn, at equal distances from all. The frame says whether the identity
    is the query's, where both are known.

    Raises:
        OutputExistsError: There is such a file, and `overwrite` is False.
        SaveError: The file cannot be written.
    """
    answers = _spread(result.answers)
    rows = [
        SheetRow(
            query=SheetImage(path=answer.query, color=NEUTRAL, captions=_query_captions(answer)),
            found=[_drawn(hit, answer, result) for hit in answer.hits[:MATCHES]],
        )
        for answer in answers
    ]
    knows = any(hit.identity for answer in answers for hit in answer.hits) and any(
        answer.identity for answer in answers
    )
    judged = ((RIGHT, "same identity"), (WRONG, "another")) if knows else ()
    legend = ((NEUTRAL, "query, or identity unknown" if knows else "query and found"), *judged)
    subtitle = f"{len(answers)} of {len(result.answers):,} queries, {result.metric} distance"
    head = Head(result.index.name, subtitle, legend, tuple(_notes(result)))
    save_sheet(path, rows, head, overwrite=overwrite)
    return sum(not image.path.is_file() for row in rows for image in row.found)


def _notes(result: SearchResult) -> Iterator[str]:
    """Yield what must be known about the images that were found."""
    if result.approximation:
        yield f"The search is approximate: {result.approximation}."
    if result.reranked:
        yield "The order is that of k-reciprocal neighbors (--rerank), not that of the distances."
    if result.far_from_training:
        yield FAR


def _row(answer: Answer, hit: Hit, metric: str) -> Row:
    return {
        "query": str(answer.query),
        "rank": hit.rank,
        "path": hit.path,
        "identity": hit.identity,
        "camera": hit.camera,
        "distance": hit.distance,
        # Of Euclidean distances there is no usual one.
        "similarity": 1 - hit.distance if metric == "cosine" else None,
        "match": hit.match,
    }


def _write_csv(file: TextIOBase, rows: Iterator[Row]) -> None:
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "match": IN_WORDS[row["match"]]})


def _write_jsonl(file: TextIOBase, rows: Iterator[Row]) -> None:
    for row in rows:
        file.write(json.dumps(row) + "\n")


FORMATS: dict[str, Callable[[TextIOBase, Iterator[Row]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
}
"""By the suffix of the file."""


def _writer_for(path: Path) -> Callable[[TextIOBase, Iterator[Row]], None]:
    require_hits_name(path)
    return FORMATS[path.suffix.lower()]


def _spread(answers: Sequence[Answer]) -> list[Answer]:
    """Return answers at equal distances, the first and the last included."""
    count = min(QUERIES, len(answers))
    last = len(answers) - 1
    return [answers[round(step * last / max(count - 1, 1))] for step in range(count)]


def _query_captions(answer: Answer) -> tuple[str, ...]:
    absent = ABSENT if answer.in_gallery is False else ""
    camera = f"camera {answer.camera}" if answer.camera else ""
    return (answer.identity or answer.query.name, camera, absent)


def _drawn(hit: Hit, answer: Answer, result: SearchResult) -> SheetImage:
    color = NEUTRAL
    sides = (hit, answer)
    if all(is_known_identity(side.identity, has_cameras=bool(side.camera)) for side in sides):
        color = RIGHT if hit.identity == answer.identity else WRONG
    beyond = " (no match)" if hit.match is False else ""
    camera = f"camera {hit.camera}" if hit.camera else ""
    name = hit.identity or hit.path.rpartition("/")[2]
    return SheetImage(
        path=result.folder / hit.path,
        color=color,
        captions=(name, camera, f"{hit.distance:.4f}{beyond}"),
    )
