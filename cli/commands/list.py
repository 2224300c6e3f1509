"""`covtool list`."""

from typing import Annotated, Literal

import typer

from covtool_cli import options, render


def command(
    what: Annotated[Literal["heads"], typer.Argument(help="What to list.")] = "heads",
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """List the heads and other variants that covtool knows by name.

    Example: covtool list heads
    """
    from covtool.variants import HEADS

    rows = [
        {
            "name": row.name,
            "summary": row.summary,
            "reduction": row.reduction,
            "source": row.source,
        }
        for row in HEADS
    ]
    if as_json:
        render.json_object({what: rows})
        return
    render.table("Heads (convert --head NAME)", tuple(rows[0]), [tuple(r.values()) for r in rows])
