"""`covtool average`."""

from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covtool.atomic.formats import require_model_name
from covtool.errors import ArgumentError
from covtool.printable import printable
from covtool.specs import LayoutSpec
from covtool_cli import first_checks, loading, options

if TYPE_CHECKING:
    from covtool.averaging import AverageResult

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODELS]...",
        help="Two or more: covtool files, runs' folders, RUN@epoch-3, checkpoints/*.pt, "
        "checkpoints, names.",
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        callback=options.named_by(require_model_name),
        help="File to write, .safetensors.",
    ),
]
Shares = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="A positive number for each model: 1,2,1. Default: 1."),
]
Greedy = Annotated[
    bool,
    typer.Option(
        "--greedy",
        help="Start with the best model and add each other one, the better first, if the average "
        "does not get worse on --data.",
    ),
]
Between = Annotated[
    tuple[str, str] | None,
    typer.Option(
        metavar="START END",
        help="Take the best point on --data of the line from a model to what it was fine-tuned to.",
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(help="Point of the line to take, from 0, the start, to 1, the end."),
]
Steps = Annotated[int, typer.Option(help="Points of the line to measure, both ends included.")]
Data = Annotated[
    Path | None,
    typer.Option(help="Data to measure on, and to choose by: its validation images."),
]
Split = Annotated[str | None, typer.Option(help="Split to measure on in place of validation.")]
BnData = Annotated[
    Path | None,
    typer.Option(
        help="Data whose training images give batch norms their means and variances anew; default: "
        "averages of those of the models."
    ),
]


@options.takes(layout=LayoutSpec)
def command(
    ctx: typer.Context,
    output: Output,
    layout: LayoutSpec,
    models: Models = None,
    weights: Shares = None,
    greedy: Greedy = False,
    between: Between = None,
    alpha: Alpha = None,
    steps: Steps = 11,
    data: Data = None,
    split: Split = None,
    bn_data: BnData = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    on_bad_image: options.OnBadImage = "error",
    max_model_size: options.MaxModelSize = None,
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Average the weights of several models of one structure: soups, or a line.

    Example: covtool average runs/a runs/b runs/c -o soup.safetensors
    """
    shares = None if weights is None else _numbers(weights)
    if options.is_given(ctx, "steps") and (between is None or alpha is not None):
        raise ArgumentError(
            "--steps is for a line whose best point is looked for.",
            hint="Add --between START END without --alpha, or leave it out.",
        )
    first_checks.require_outputs(output, overwrite=overwrite)
    named = (*(models or ()), *(between or ()))
    first_checks.require_some_models(*(name for name in named if not has_magic(name)))
    first_checks.require_data(data, bn_data)
    with loading.libraries(as_json=as_json):
        from covtool.averaging import AverageRequest, average
        from covtool_cli import render

    asked = {"models": tuple(models or ()), "weights": shares, "layout": layout}
    request = options.request(ctx, AverageRequest, **asked)
    done = average(request, track=render.track)
    for path, reason in done.unreadable:
        render.warning(f"left out {printable(str(path))}: {reason}")
    for text in done.notes:
        render.note(f"note: {text}")
    render.json_object(done) if as_json else _show(done)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as problem:
        raise ArgumentError(
            f"--weights {printable(text)!r} is not valid: it should be numbers with commas between "
            "them, 1,2,1."
        ) from problem


def _show(done: "AverageResult") -> None:
    from covtool_cli import render

    if done.points:
        _show_points(done)
    measured = done.measured
    render.pairs(
        "Averaged",
        [
            ("method", done.method),
            *((f"share of {source.name}", source.weight) for source in done.sources),
            *(("left out", name) for name in done.left_out),
            *(
                [("batch norms", f"estimated on {done.statistics_of}")]
                if done.statistics_of
                else []
            ),
            *(
                [
                    (f"top-1, {measured.data}", f"{measured.top_1:.2f} %"),
                    (f"loss, {measured.data}", measured.loss),
                    ("images", measured.images),
                ]
                if measured is not None
                else []
            ),
            *(
                [("temperature of predictions", f"{scores.temperature:.4g}")]
                if (scores := done.recipe.scores) is not None
                else []
            ),
            ("file", done.path),
        ],
    )


def _show_points(done: "AverageResult") -> None:
    from covtool_cli import render

    is_line, is_greedy = done.method == "line", done.method == "greedy"
    columns = ["point" if is_line else "model", "top-1 (%)", "loss"]
    columns += ["top-1 of the soup with it (%)"] if is_greedy else []
    columns += ["taken"] if is_line or is_greedy else []
    rows = [
        [
            point.name,
            f"{point.top_1:.2f}",
            f"{point.loss:.4f}",
            *([f"{point.with_it:.2f}"] if is_greedy else []),
            *(["yes" if point.taken else ""] if is_line or is_greedy else []),
        ]
        for point in done.points
    ]
    title = "Points from the start, 0, to the end, 1" if is_line else "Models alone"
    render.table(f"{title}, {done.measured.data}", columns, rows)
