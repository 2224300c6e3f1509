"""`covtool list`."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import typer

from covtool.errors import ArgumentError
from covtool.specs import as_flag
from covtool_cli import loading, options, render

What = Literal["heads", "gradients", "convs", "angulars", "losses", "samplers", "presets", "data"]

TITLES = {
    "heads": "Heads (convert --head NAME)",
    "convs": "Operators in place of convolutions (convert --conv NAME)",
    "angulars": "Angular activations (convert --conv tanh --angular NAME)",
    "gradients": "Gradient rules of eigendecompositions (convert --head mpn --gradient NAME)",
    "losses": "Losses (finetune --loss NAME, or a sum like ce+0.5*triplet)",
    "samplers": "Orders of the training images (finetune --sampler NAME)",
    "presets": "Settings for a purpose (finetune --preset NAME)",
    "data": "Published layouts and other forms of data (--data PATH recognizes them)",
}

WIDE = ("reduction", "own options", "splits", "source")
"""Columns that --wide adds."""


def command(
    what: Annotated[What, typer.Argument(help="Table to list.")] = "heads",
    show: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Preset to print as YAML, ready to be edited for --config."
        ),
    ] = None,
    wide: options.Wide = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """List the heads and other variants that covtool knows by name.

    Example: covtool list gradients
    """
    if show is not None:
        _show(what, show, as_json=as_json)
        return
    tables = {
        "heads": _heads,
        "gradients": _gradients,
        "convs": _convs,
        "angulars": _angulars,
        "losses": _losses,
        "samplers": _samplers,
        "presets": _presets,
        "data": _data,
    }
    with loading.libraries(as_json=as_json):
        rows = list(tables[what]())
    if as_json:
        render.json_object({what: rows})
        return
    shown = [name for name in rows[0] if wide or name not in WIDE]
    render.table(TITLES[what], shown, [[_text(row[name]) for name in shown] for row in rows])
    if not wide and render.stdout().is_terminal:  # a hint for people, not for a file or a program
        render.note("note: --wide shows sources and options too.")


def _text(cell: Any) -> Any:
    if isinstance(cell, dict):
        return render.Lines(f"{name}: {_text(value)}" for name, value in cell.items())
    return ", ".join(map(str, cell)) if isinstance(cell, list) else cell


def _show(what: str, name: str, *, as_json: bool) -> None:
    from covtool.presets import PRESETS

    if what != "presets":
        raise ArgumentError("--show is for presets.", hint=f"covtool list presets --show {name}")
    preset = PRESETS[name]
    if as_json:
        render.json_object(preset)
    else:
        render.exact_text(preset.text)


def _heads() -> Iterable[dict[str, Any]]:
    from covtool.variants import AVERAGE, HEADS

    # Options that all heads take are no reason to choose one.
    for row in HEADS:
        own = sorted(row.options - AVERAGE - {"fuse"})
        yield {
            "name": row.name,
            "summary": row.summary,
            "reduction": row.reduction,
            "own options": " ".join(map(as_flag, own)),
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


def _convs() -> Iterable[dict[str, Any]]:
    from covtool.specs import ConvolutionSpec
    from covtool.variants import CHOSEN, CONVOLUTIONS

    shared = frozenset.intersection(*(row.options for row in CONVOLUTIONS)) | CHOSEN
    for row in CONVOLUTIONS:
        own = [name for name in ConvolutionSpec.model_fields if name in row.options - shared]
        yield {
            "name": row.name,
            "summary": row.summary,
            "own options": " ".join(map(as_flag, own)),
            "source": row.source,
        }


def _angulars() -> Iterable[dict[str, Any]]:
    from covtool.ops.angular import ANGULAR_ACTIVATIONS

    for row in ANGULAR_ACTIVATIONS:
        yield {"name": row.name, "summary": row.summary, "source": row.source}


def _losses() -> Iterable[dict[str, Any]]:
    from covtool.specs.losses import LOSSES

    for row in LOSSES:
        yield {
            "name": row.name,
            "summary": row.summary,
            "needs": row.needs,
            "source": row.source,
        }


def _samplers() -> Iterable[dict[str, Any]]:
    from covtool.data.loading.samplers import SAMPLERS

    for row in SAMPLERS:
        yield {"name": row.name, "summary": row.summary, "source": row.source}


def _data() -> Iterable[dict[str, Any]]:
    from covtool.data.datasets.published import PUBLISHED
    from covtool.data.datasets.retrieval.forms import FORMS

    for task, table in (("classification", PUBLISHED), ("retrieval", FORMS)):
        for row in table:
            yield {
                "name": row.name,
                "task": task,
                "summary": row.summary,
                "splits": row.splits,
                "options": " ".join(map(as_flag, row.options)),
                "source": row.source,
            }


def _presets() -> Iterable[dict[str, Any]]:
    from covtool.presets import PRESETS

    for row in PRESETS:
        yield {
            "name": row.name,
            "summary": row.summary,
            "settings": row.settings,
            "source": row.source,
        }
