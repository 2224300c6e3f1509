"""`covtool card`."""

from pathlib import Path
from typing import Annotated

import typer

from covtool.atomic.formats import require_card_name
from covtool.specs import InputOverrides
from covtool_cli import first_checks, loading, options, render

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=options.named_by(require_card_name),
        help="Markdown file to write: README.md.",
    ),
]


def command(
    ctx: typer.Context,
    model: options.Model,
    output: Output = None,
    arch: options.Arch = None,
    iterations: options.Iterations = None,
    weights: options.Weights = "auto",
    classifier_layer: options.ClassifierLayer = None,
    max_model_size: options.MaxModelSize = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Print a model card, written from the recipe in a model's file.

    Example: covtool card net.safetensors -o README.md
    """
    first_checks.require_outputs(output, overwrite=overwrite)
    first_checks.require_models(model)
    with loading.libraries(as_json=as_json):
        from covtool.sharing.writing import write_card

    source = options.model_source(ctx, model, InputOverrides())
    done = write_card(source, output, overwrite=overwrite)
    for text in done.notes:
        render.note(f"note: {text}")
    if as_json:
        render.json_object(done)
    elif done.path is None:
        render.exact_text(done.text)
    else:
        render.pairs("Model card written", [("file", done.path)])
