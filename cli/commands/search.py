"""`covtool search`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covtool.atomic.formats import require_hits_name, require_picture_name
from covtool.indexing.places import require_index
from covtool.printable import printable
from covtool.specs import InputOverrides
from covtool.specs.indexing import GallerySearchSpec
from covtool_cli import first_checks, loading, options

if TYPE_CHECKING:
    from covtool.indexing.search import SearchResult

Index = Annotated[Path, typer.Argument(help="An index that covtool index made.")]
Queries = Annotated[
    list[Path], typer.Argument(help="Images to search with, data sets, folders, lists.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=options.named_by(require_hits_name),
        help="File to write, of what is found: .csv or .jsonl.",
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        callback=options.named_by(require_picture_name),
        help="Picture to draw of queries and what is found: .png.",
    ),
]
OwnModel = Annotated[
    str | None, typer.Option(help="Where the index's model is now; default: where it was.")
]
Split = Annotated[str | None, typer.Option(help="Split of the queries; default: all.")]


@options.takes(spec=GallerySearchSpec)
def command(
    ctx: typer.Context,
    index: Index,
    queries: Queries,
    spec: GallerySearchSpec,
    output: Output = None,
    sheet: Sheet = None,
    model: OwnModel = None,
    split: Split = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    on_bad_image: options.OnBadImage = "error",
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Find the images of an index that are the nearest to others.

    Example: covtool search gallery.index market1501/query -o hits.csv --sheet hits.png
    """
    first_checks.require_outputs(output, sheet, overwrite=overwrite)
    require_index(index)
    first_checks.require_models(model)
    first_checks.require_images(queries)
    with loading.libraries(as_json=as_json):
        from covtool.indexing.fingerprint import require_one_process
        from covtool.indexing.hit_files import check_hit_outputs, draw_hits, write_hits
        from covtool.indexing.search import SearchRequest, search_index
        from covtool_cli import render

    require_one_process()
    check_hit_outputs(output, sheet, overwrite=overwrite)
    source = None if model is None else options.model_source(ctx, model, InputOverrides())
    request = options.request(ctx, SearchRequest, source=source, queries=tuple(queries), spec=spec)
    done = search_index(request, track=render.track)
    _show_remarks(done)
    if output is not None:
        write_hits(output, done, overwrite=overwrite)
    if sheet is not None:
        missing = draw_hits(sheet, done, overwrite=overwrite)
        if missing:
            render.warning(
                f"{missing} images on the sheet are gray: they are not in {done.folder} any more."
            )
    files = [path for path in (output, sheet) if path is not None]
    if as_json:
        render.json_object(_as_object(done, files))
    else:
        _show(done, files, has_rows=output is None)


def _show_remarks(done: "SearchResult") -> None:
    from covtool_cli import render

    for path, reason in done.unreadable:
        render.warning(f"left out {printable(str(path))}: {reason}")
    for text in done.notes:
        render.note(f"note: {text}")


def _show(done: "SearchResult", files: list[Path], *, has_rows: bool) -> None:
    from covtool.indexing.hit_files import ABSENT, IN_WORDS, rows_of
    from covtool_cli import render

    if has_rows:
        rows = [
            (
                row["query"],
                row["rank"],
                row["path"],
                row["identity"],
                row["camera"],
                row["distance"] if row["distance"] is None else f"{row['distance']:.4f}",
                IN_WORDS[row["match"]],
            )
            for row in rows_of(done)
        ]
        columns = ("query", "rank", "path", "identity", "camera", "distance", "match")
        render.table("Found", columns, rows)
    absent = () if done.absent is None else ((ABSENT, f"{done.absent:,} of them"),)
    render.pairs(
        render.marked("Searched", far=done.far_from_training),
        [
            ("queries", len(done.answers)),
            *absent,
            ("gallery", f"{done.gallery:,} images of {done.index}"),
            ("paths relative to", done.folder),
            ("distance", done.metric + (", re-ranked" if done.reranked else "")),
            ("threshold", "none" if done.threshold is None else f"{done.threshold:.4g}"),
            ("search", _exactness(done)),
            ("left out, unreadable", len(done.unreadable)),
            ("model", done.model),
            ("device", done.device),
            *(("file", path) for path in files),
        ],
    )


def _exactness(done: "SearchResult") -> str:
    return f"APPROXIMATE: {done.approximation}" if done.approximation else "exact"


def _as_object(done: "SearchResult", files: list[Path]) -> dict[str, object]:
    from covtool_cli import render

    return {
        **render.plain(done),
        "not_in_gallery": done.absent,
        "is_exact": done.recall is None,
        "files": files,
    }
