"""`covtool list`."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import typer

from covtool_cli import options, render

TITLES = {
    "heads": "Heads (convert --head NAME)",
    "gradients": "Gradient rules of eigendecompositions (convert --head mpn --gradient NAME)",
}


def command(
    what: Annotated[Literal["heads", "gradients"], typer.Argument(help="What to list.")] = "heads",
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """List the heads and other variants that covtool knows by name.

    Example: covtool list gradients
    """
    rows = list({"heads": _heads, "gradients": _gradients}[what]())
    if as_json:
        render.json_object({what: rows})
        return
    render.table(TITLES[what], tuple(rows[0]), [tuple(row.values()) for row in rows])


def _heads() -> Iterable[dict[str, Any]]:
    from covtool.variants import AVERAGE, HEADS

    for row in HEADS:
        own = sorted(row.options - AVERAGE - {"fuse"})
        yield {
            "name": row.name,
            "summary": row.summary,
            "reduction": row.reduction,
            "own options": " ".join(f"--{name.replace('_', '-')}" for name in own),
            "source": row.source,
        }


def _gradients() -> Iterable[dict[str, Any]]:
    from covtool.ops.eigen_gradients import GRADIENTS

    for row in GRADIENTS:
        yield {
            "name": row.name,
            "summary": row.summary,
            "order": row.order,
            "source": row.source,
        }
