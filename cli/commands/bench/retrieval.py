"""`covtool bench retrieval`."""

from typing import TYPE_CHECKING, Annotated

import typer

from covtool.errors import UnknownVariantError
from covtool.specs import RetrievalSpec
from covtool.specs.byte_amounts import format_bytes
from covtool_cli import first_checks, loading, options, render
from covtool_cli.commands.bench import settings, tables

if TYPE_CHECKING:
    from covtool.benchmarking.retrieval import RetrievalBenchmark

SEARCHES = ("exact", "rerank")  # the library's, without loading torch for a usage error
COLUMNS = ("search", "s", "planned", "taken by the search", "by the whole process")


def command(
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="Numbers of queries, images of the gallery and features, QxGxD; may be repeated."
        ),
    ] = None,
    search: Annotated[
        list[str] | None, typer.Option(help="Search to measure: exact or rerank; default: both.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Distance between two images, cosine or euclidean; default: cosine."),
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Memory that a search may take; default: 4GB.")
    ] = None,
    repetitions: settings.Repetitions = 3,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure time and memory of searches, with and without re-ranking.

    On the CPU, in float32.

    Example: covtool bench retrieval --shape 3368x19281x2048 --max-memory 2GB
    """
    for name in search or ():
        if name not in SEARCHES:
            raise UnknownVariantError("search", name, SEARCHES)
    first_checks.require_forms(searches_of=shape or ())
    given = {"metric": metric, "max_memory": max_memory}
    spec = options.validated(RetrievalSpec, {k: v for k, v in given.items() if v is not None})
    with loading.libraries(as_json=as_json):
        from covtool.benchmarking.retrieval import SHAPE, benchmark_retrieval

    result = benchmark_retrieval(
        shape or [SHAPE],
        searches=search or SEARCHES,
        spec=spec,
        repetitions=repetitions,
        track=render.track,
    )
    render.json_object(result) if as_json else _show(result)


def _show(result: "RetrievalBenchmark") -> None:
    """Show a table for each size."""
    for shape in dict.fromkeys(row.shape for row in result.rows):
        rows = [
            (
                row.search,
                f"{row.seconds:.2f}",
                *map(format_bytes, (row.planned_bytes, row.search_bytes, row.process_bytes)),
            )
            for row in result.rows
            if row.shape == shape
        ]
        render.table(f"{shape}, {result.metric}, at most {result.max_memory}", COLUMNS, rows)
    tables.show_footer(result.machine, result.repetitions)
