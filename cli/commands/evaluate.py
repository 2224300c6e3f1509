"""`covtool evaluate`."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from covtool.atomic.formats import require_feature_name, require_picture_name
from covtool.errors import ArgumentError
from covtool.printable import printable
from covtool.specs import (
    AttackSpec,
    ClassSplitSpec,
    InputOverrides,
    LaunchSpec,
    LayoutSpec,
    ModelSource,
    RetrievalSpec,
    as_flag,
)
from covtool_cli import evaluation_report, first_checks, launching, loading, options

if TYPE_CHECKING:
    from covtool.evaluation import ClassificationResult
    from covtool.evaluation.classification.unknown import UnknownResult
    from covtool.evaluation.evaluate import Evaluation, EvaluationRequest
    from covtool.evaluation.retrieve import RetrievalRequest

WORST_CLASSES = 5

TAKES = {
    "classification": (
        "per_class",
        "confusion",
        "class_names",
        "unknown",
        *("save_mistakes", "embeddings", "train_data"),
        *AttackSpec.model_fields,
    ),
    "retrieval": (*RetrievalSpec.model_fields, *ClassSplitSpec.model_fields),
}
"""Options that only one task takes."""

Model = Annotated[
    str | None,
    typer.Argument(
        help="A covtool file, a run's folder, a checkpoint, a timm name, hf-hub:ORG/NAME or "
        "torchvision:NAME; none with --distances-from."
    ),
]
Task = Annotated[
    Literal["auto", "classification", "retrieval"],
    typer.Option(help="Task to evaluate; auto: the one that the data set is for."),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Split to measure on; default: val, else test, else all. Retrieval: images to search "
        "among."
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Names of the model's outputs: a text file with one a line, in order, or JSON.",
    ),
]
Unknown = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Images of other classes: how well the model's scores tell them from the data set's.",
    ),
]
PerClass = Annotated[
    bool, typer.Option("--per-class", help="Show every class, not the worst ones only.")
]
Confusion = Annotated[
    int, typer.Option(min=0, metavar="N", help="Show the N most confused pairs of classes.")
]
Report = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write a page to look at, with figures and tables beside it."),
]
SaveMistakes = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Draw the images that are taken for another class into a PNG file.",
        callback=options.named_by(require_picture_name),
    ),
]
Embeddings = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        callback=options.named_by(require_feature_name),
        help="File to write the classifier's inputs to, in the order of the page's "
        "predictions.csv: .safetensors, .npz or .csv.",
    ),
]
TrainData = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="With --report: show the nearest images of this data set's training."
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        metavar="OTHER",
        help="With --report: another model, on the same images. It must open by its name alone: "
        "--arch, --weights and --classifier-layer are for MODEL.",
    ),
]


@options.takes(
    images=InputOverrides,
    attacking=AttackSpec,
    classes=ClassSplitSpec,
    layout=LayoutSpec,
    searching=RetrievalSpec,
    launch=LaunchSpec,
)
def command(
    ctx: typer.Context,
    data: options.Data,
    images: InputOverrides,
    attacking: AttackSpec,
    classes: ClassSplitSpec,
    layout: LayoutSpec,
    searching: RetrievalSpec,
    launch: LaunchSpec,
    model: Model = None,
    task: Task = "auto",
    split: Split = None,
    arch: options.Arch = None,
    iterations: options.Iterations = None,
    weights: options.Weights = "auto",
    classifier_layer: options.ClassifierLayer = None,
    class_names: ClassNames = None,
    unknown: Unknown = None,
    per_class: PerClass = False,
    confusion: Confusion = 5,
    report: Report = None,
    save_mistakes: SaveMistakes = None,
    embeddings: Embeddings = None,
    train_data: TrainData = None,
    against: Against = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    amp: options.Amp = False,
    amp_dtype: options.AmpDtype = "float16",
    on_bad_image: options.OnBadImage = "error",
    max_model_size: options.MaxModelSize = None,
    max_image_pixels: options.MaxImagePixels = None,
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure a model on a labeled data set, or how well its features find images.

    Example: covtool evaluate resnet50-isqrt.safetensors --data birds/
    """
    attacking.validate_fields()  # before torch is imported
    searching.validate_fields()
    first_checks.require_models(model, against)
    first_checks.require_data(data, train_data)
    chosen = _task(ctx, task, data)
    if model is None and searching.distances_from is None:
        raise ArgumentError("MODEL is missing.", hint="Usage: covtool evaluate MODEL --data DIR.")
    asked_for = evaluation_report.ReportOptions(
        report=report,
        save_mistakes=save_mistakes,
        embeddings=embeddings,
        train_data=train_data,
        against=None if against is None else ModelSource(name=against, input=images.changes()),
        command=evaluation_report.typed(ctx),
        overwrite=overwrite,
    )
    asked_for.check()  # before anything is computed
    launching.run_in_processes(ctx, launch)
    source = None if model is None else options.model_source(ctx, model, images)
    asked = {"source": source, "layout": layout, "launch": launch}
    if chosen == "retrieval":
        with loading.libraries(as_json=as_json):
            from covtool.evaluation.retrieve import RetrievalRequest

        asked |= {"spec": searching, "by_camera": report is not None}
        asked |= {"keep": 0 if report is None else evaluation_report.KEPT}
        search = options.request(ctx, RetrievalRequest, **asked)
        _retrieve(search, asked_for, as_json=as_json)
    else:
        with loading.libraries(as_json=as_json):
            from covtool.evaluation.evaluate import EvaluationRequest

        asked |= {"attack": attacking, "keep_answers": asked_for.is_asked_for}
        asked["keep_inputs"] = embeddings is not None
        measure = options.request(ctx, EvaluationRequest, **asked)
        _classify(measure, asked_for, per_class=per_class, confusion=confusion, as_json=as_json)


def _task(ctx: typer.Context, asked: str, data: Path) -> str:
    """Return the task, or refuse options that are for the other one."""
    from covtool.data.datasets.retrieval.reading import task_of

    chosen = task_of(data) if asked == "auto" else asked
    (other,) = TAKES.keys() - {chosen}
    for name in TAKES[other]:
        if options.is_given(ctx, name):
            raise ArgumentError(
                # `lambda_` is --lambda: Python reserves the word
                f"{as_flag(name.rstrip('_'))} is for {other}, but "
                + (f"{data} is data for {chosen}." if asked == "auto" else f"--task is {asked}."),
                hint=f"Add --task {other}, or leave it out." if asked == "auto" else None,
            )
    return chosen


def _retrieve(
    request: "RetrievalRequest", asked_for: evaluation_report.ReportOptions, *, as_json: bool
) -> None:
    from covtool.evaluation.retrieve import retrieve
    from covtool_cli import render, retrieval_tables

    done = retrieve(request, track=render.track, on_report=retrieval_tables.show_report)
    other = None
    if asked_for.against is not None:
        plain = request.spec.model_copy(
            update={"distances_from": None, "save_features": None, "save_ranks": None}
        )
        again = replace(request, source=asked_for.against, spec=plain)
        other = retrieve(again, track=render.track)
    _tell(done.unreadable, done.notes)
    written = evaluation_report.write_search(asked_for, request, done, other)
    model = None if request.source is None else request.source.name
    if as_json:
        render.json_object(retrieval_tables.as_object(model, done))
    else:
        retrieval_tables.show_figures(model, done)
    for line in written:
        render.note(line)


def _classify(
    request: "EvaluationRequest",
    asked_for: evaluation_report.ReportOptions,
    *,
    per_class: bool,
    confusion: int,
    as_json: bool,
) -> None:
    from covtool.evaluation.evaluate import evaluate
    from covtool_cli import render

    done = evaluate(request, track=render.track)
    other = None
    if asked_for.against is not None:
        plain = replace(
            request,
            source=asked_for.against,
            attack=AttackSpec(),
            unknown=None,
            keep_inputs=False,
        )
        other = evaluate(plain, track=render.track)
    _tell(done.unreadable, done.notes)
    written = evaluation_report.write(asked_for, request, done, other)
    model = request.source.name
    if as_json:
        render.json_object(_as_object(model, done, confusion))
    else:
        _show(model, done, per_class=per_class, confusion=confusion)
    for line in written:
        render.note(line)


def _tell(unreadable: Iterable[tuple[Path, str]], notes: Iterable[str]) -> None:
    from covtool_cli import render

    for path, reason in unreadable:
        render.warning(f"left out {printable(str(path))}: {reason}")
    for text in notes:
        render.note(f"note: {text}")


def _as_object(model: str, done: "Evaluation", confusion: int) -> dict[str, object]:
    return {
        "task": "classification",
        "model": model,
        "data": done.data,
        "split": done.split,
        "device": done.device,
        "input": done.input,
        **_figures(done.result, confusion),
        "class_order": done.class_order,
        "class_names": done.result.class_names,
        "paths": [str(path) for path in done.paths],
        "targets": done.result.targets,
        "unknown": done.unknown,
        "attack": done.attack,
        "attacked": None if done.attacked is None else _figures(done.attacked, confusion),
        "unreadable": done.unreadable,
        "far_from_training": done.far_from_training,
        "notes": done.notes,
    }


def _figures(result: "ClassificationResult", confusion: int) -> dict[str, object]:
    return {
        "images": result.images,
        "top_1": result.top_1,
        "top_5": result.top_5,
        "loss": result.loss,
        "nll": result.probabilities.nll,
        "ece": result.probabilities.ece,
        "adaptive_ece": result.probabilities.adaptive_ece,
        "temperature": result.probabilities.temperature,
        "at_temperature_1": result.at_temperature_1,
        "images_per_s": result.images_per_s,
        "per_class": result.per_class,
        "most_confused": result.most_confused(confusion),
        "predictions": result.predictions,
    }


def _show(model: str, done: "Evaluation", *, per_class: bool, confusion: int) -> None:
    from covtool.evaluation.classification.class_matching import GUESSED
    from covtool_cli import render

    result = done.result
    is_guess = done.class_order == "guessed"
    guess, guessed = (f" ({GUESSED})", " (guessed)") if is_guess else ("", "")
    attacked = []
    if done.attacked is not None:
        attacked = [(f"top-1 under {done.attack.title}", f"{done.attacked.top_1:.2f} %{guess}")]
    render.pairs(
        render.marked("Evaluated", far=done.far_from_training),
        [
            ("model", model),
            ("data", f"{done.data}, {done.split}"),
            ("top-1", f"{result.top_1:.2f} %{guess}"),
            *attacked,
            ("top-5", None if result.top_5 is None else f"{result.top_5:.2f} %{guess}"),
            ("loss", f"{result.loss:.4g}{guess}" if is_guess else result.loss),
            *_probability_rows(result, guess),
            ("images", result.images),
            ("left out, unreadable", len(done.unreadable)),
            ("images/s", f"{result.images_per_s:.1f}"),
            ("device", done.device),
        ],
    )
    if done.unknown is not None:
        _show_unknown(done.unknown, result.images)
    classes = result.per_class
    if not per_class:
        wrong = [row for row in classes if row.accuracy < 100]
        classes = sorted(wrong, key=lambda row: row.accuracy)[:WORST_CLASSES]
    if classes:
        render.table(
            ("Classes" if per_class else "Worst classes") + guessed,
            ("class", "images", "accuracy (%)"),
            [(row.name, row.images, row.accuracy) for row in classes],
        )
    pairs = result.most_confused(confusion)
    if pairs:
        render.table(
            f"Most confused{guessed}",
            ("class", "predicted as", "images"),
            [(row.actual, row.predicted, row.images) for row in pairs],
        )


def _probability_rows(result: "ClassificationResult", guess: str) -> list[tuple[str, object]]:
    found, plain = result.probabilities, result.at_temperature_1
    rows = [
        ("negative log-likelihood", f"{found.nll:.4g}{guess}"),
        ("calibration error (ECE, 15 bins)", f"{found.ece:.2f} %{guess}"),
    ]
    if found.temperature == 1:
        return rows
    return [
        *rows,
        ("temperature", f"{found.temperature:.4g}"),
        ("with temperature 1", f"likelihood {plain.nll:.4g}, ECE {plain.ece:.2f} %{guess}"),
    ]


def _show_unknown(unknown: "UnknownResult", known: int) -> None:
    from covtool_cli import render

    scores = {
        "distance to training embeddings": unknown.distance,
        "1 - largest probability": unknown.doubt,
    }
    render.table(
        f"{known} known images against {unknown.images} of {printable(unknown.data)}",
        ("score", "area under ROC (%)", "unknown accepted with 95 % of the known (%)"),
        [(name, f.auroc, f.fpr_at_95) for name, f in scores.items() if f is not None],
    )
