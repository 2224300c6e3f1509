"""`covtool predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from covtool.atomic.formats import (
    require_feature_name,
    require_picture_name,
    require_prediction_name,
)
from covtool.errors import ArgumentError, DataError
from covtool.printable import first_few, printable
from covtool.specs import InputOverrides, LaunchSpec, PredictionSpec
from covtool_cli import first_checks, launching, loading, options

if TYPE_CHECKING:
    from covtool.prediction import Prediction
    from covtool.prediction.predicting import PredictionResult
    from covtool.prediction.request import PredictionRequest

MOST_IN_A_TABLE = 100
"""Images up to which answers are shown as a table; those of more are lines that come at once."""

SHOWN = 5
"""Unreadable images that an error names."""

Images = Annotated[
    list[str],
    typer.Argument(
        help="Images, folders, a .txt or .csv with paths, a quoted pattern like 'photos/**/*.jpg', "
        "wds/FOLDER, or - for paths on the standard input."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        callback=options.named_by(require_prediction_name),
        help="File to write: .csv, .jsonl or .parquet. Default: the terminal.",
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Names of the model's outputs: a text file with one a line, in order, or JSON.",
    ),
]
Embeddings = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=options.named_by(require_feature_name),
        help="Another file to write, of the classifier's inputs: .safetensors, .npz or .csv.",
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=options.named_by(require_picture_name),
        help="Picture to draw of the first images with their answers: .png.",
    ),
]
Explain = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=options.named_by(require_picture_name),
        help="Picture to draw of the first images, each beside a map of where the network looks: "
        ".png.",
    ),
]
OnBadImage = Annotated[
    Literal["error", "skip"],
    typer.Option(
        help="Images that cannot be read: a row with the reason, and exit code 4 when the others "
        "are done; or leave them out."
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with an output that was interrupted.")
]


@options.takes(spec=PredictionSpec, input=InputOverrides, launch=LaunchSpec)
def command(
    ctx: typer.Context,
    model: options.Model,
    images: Images,
    spec: PredictionSpec,
    input: InputOverrides,
    launch: LaunchSpec,
    output: Output = None,
    class_names: ClassNames = None,
    embeddings: Embeddings = None,
    sheet: Sheet = None,
    explain: Explain = None,
    resume: Resume = False,
    arch: options.Arch = None,
    iterations: options.Iterations = None,
    weights: options.Weights = "auto",
    classifier_layer: options.ClassifierLayer = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    amp: options.Amp = False,
    amp_dtype: options.AmpDtype = "float16",
    on_bad_image: OnBadImage = "error",
    max_model_size: options.MaxModelSize = None,
    max_image_pixels: options.MaxImagePixels = None,
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Say what is on images: the most probable classes, to a file or the terminal.

    Images are prepared as `covtool evaluate` prepares them; no labels are needed, and none used.

    Example: covtool predict net.safetensors photos/ -o answers.csv
    """
    spec.validate_fields()  # before torch is imported
    if spec.logits and output is None and not as_json:
        raise ArgumentError(
            "--logits are for a file or for --json: a table has no room for them.",
            hint="Name a file: -o answers.csv.",
        )
    outputs = (output, embeddings) if not resume else ()
    first_checks.require_outputs(*outputs, overwrite=overwrite)
    first_checks.require_model_before(images, model)
    first_checks.require_images(images)
    launching.run_in_processes(ctx, launch)
    with loading.libraries(as_json=as_json):
        from covtool.prediction.predicting import predict_images
        from covtool.prediction.request import PredictionRequest
        from covtool_cli import render

    asked = {
        "source": options.model_source(ctx, model, input),
        "images": tuple(images),
        "maps": explain,
    }
    request = options.request(ctx, PredictionRequest, spec=spec, launch=launch, **asked)
    answers = _Answers(spec, in_table=output is None and not as_json)
    on_prediction = None if output is not None else answers.add
    done = predict_images(request, on_prediction=on_prediction, track=render.track)
    _show_remarks(request, done)
    if as_json:
        render.json_object(_as_object(request, done, answers.kept))
    else:
        answers.show_table()
        _show(request, done)
    _refuse_unreadable(request, done)


class _Answers:
    """Answers on the way to stdout: a table of few, lines of many.

    Args:
        spec: Choice of the answers.
        in_table: Whether they are shown; else all are kept.
    """

    def __init__(self, spec: PredictionSpec, *, in_table: bool) -> None:
        self.kept: list[Prediction] = []
        self._spec, self._in_table, self._in_lines = spec, in_table, False

    def add(self, prediction: "Prediction") -> None:
        if self._in_lines:
            self._show_line(prediction)
            return
        self.kept.append(prediction)
        if self._in_table and len(self.kept) > MOST_IN_A_TABLE:
            self._in_lines = True
            for kept in self.kept:
                self._show_line(kept)
            self.kept.clear()

    def show_table(self) -> None:
        from covtool_cli import render

        if not self.kept or not self._in_table:
            return
        has_errors = any(one.error for one in self.kept)
        has_distance = any(one.distance is not None for one in self.kept)
        columns = (
            "image",
            "class",
            "probability (%)",
            *(["margin (%)"] if self._spec.margin else []),
            *(["distance"] if has_distance else []),
            *(["error"] if has_errors else []),
        )
        rows = [
            (
                one.path,
                render.Lines(name or "-" for name in one.classes),
                render.Lines(f"{100 * share:.2f}" for share in one.probabilities),
                *([_percent(one.margin)] if self._spec.margin else []),
                *([_distance(one)] if has_distance else []),
                *([one.error] if has_errors else []),
            )
            for one in self.kept
        ]
        render.table("", columns, rows)

    def _show_line(self, one: "Prediction") -> None:
        from covtool_cli import render

        pairs = zip(one.classes, one.probabilities, strict=True)
        shown = [f"{printable(name) or '-'} {100 * share:.2f} %" for name, share in pairs]
        if self._spec.margin and not one.error:
            shown.append(f"margin {_percent(one.margin)} %")
        if one.distance is not None:
            shown.append(f"distance {_distance(one)}")
        render.line(f"{printable(one.path)}: {one.error or ', '.join(shown)}")


def _distance(one: "Prediction") -> str:
    return "" if one.distance is None else f"{one.distance:.3f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def _show_remarks(request: "PredictionRequest", done: "PredictionResult") -> None:
    from covtool_cli import render

    tally = done.tally
    if request.leaves_out:
        for path, reason in tally.unreadable:
            render.warning(f"left out {printable(path)}: {reason}")
        if tally.failed > len(tally.unreadable):
            render.warning(f"left out {tally.failed - len(tally.unreadable):,} more")
    for text in done.notes:
        render.note(f"note: {text}")


def _show(request: "PredictionRequest", done: "PredictionResult") -> None:
    from covtool_cli import render

    if not done.files and not done.far_from_training:
        return
    tally = done.tally
    what = "left out, unreadable" if request.leaves_out else "unreadable"
    render.pairs(
        render.marked("Predicted", far=done.far_from_training),
        [
            ("images", tally.images),
            *([("done before", tally.resumed)] if tally.resumed else []),
            (what, tally.failed),
            ("classes", done.num_classes),
            ("device", done.device),
            *(("file", file) for file in done.files),
        ],
    )


def _as_object(
    request: "PredictionRequest", done: "PredictionResult", kept: list["Prediction"]
) -> dict[str, object]:
    tally = done.tally
    return {
        "model": request.source.name,
        "images": tally.images,
        "resumed": tally.resumed,
        "failed": tally.failed,
        "unreadable": tally.unreadable,
        "num_classes": done.num_classes,
        "device": done.device,
        "input": done.input,
        "temperature": done.temperature,
        "files": done.files,
        "predictions": None if request.output is not None else kept,
        "far_from_training": done.far_from_training,
        "notes": done.notes,
    }


def _refuse_unreadable(request: "PredictionRequest", done: "PredictionResult") -> None:
    """End with the exit code of unreadable images; all others are done."""
    tally = done.tally
    if not tally.failed or (request.leaves_out and tally.failed < tally.images):
        return
    reasons = first_few(
        tally.unreadable, SHOWN, show=lambda one: f"{printable(one[0])}: {one[1]}", separator="; "
    )
    rest = "" if request.leaves_out else "The others are done; each has its reason in its row. "
    raise DataError(
        f"{tally.failed:,} of {tally.images:,} images cannot be read.",
        reason=reasons,
        hint="Replace them, or choose other images."
        if tally.failed == tally.images
        else f"{rest}Replace or remove them, or add --on-bad-image skip.",
    )
