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
    from covtool.evaluation.evaluate import EvaluationRequest
    from covtool.evaluation.retrieve import RetrievalRequest

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
        help="Another model to compare with, on the same images. It must open by its name alone: "
        "--arch, --weights, --classifier-layer and --class-names are for MODEL.",
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
    outputs = (searching.save_features, searching.save_ranks)
    first_checks.require_outputs(*outputs, overwrite=overwrite)
    first_checks.require_models(model, against)
    first_checks.require_data(data, train_data)
    first_checks.require_images([] if unknown is None else [unknown])
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
    asked_for.check(*outputs)  # before anything is computed
    launching.run_in_processes(ctx, launch)
    source = None if model is None else options.model_source(ctx, model, images)
    asked = {"source": source, "layout": layout, "launch": launch}
    if chosen == "retrieval":
        with loading.libraries(as_json=as_json):
            from covtool.evaluation.retrieve import RetrievalRequest
            from covtool.reporting.retrieval_subject import KEPT

        asked |= {"spec": searching, "by_camera": report is not None}
        asked |= {"keep": 0 if report is None else KEPT}
        search = options.request(ctx, RetrievalRequest, **asked)
        _retrieve(search, asked_for, as_json=as_json)
    else:
        with loading.libraries(as_json=as_json):
            from covtool.evaluation.evaluate import EvaluationRequest

        # Ranges of --json need the answers as well, but not what images are compared by.
        asked |= {"attack": attacking, "keep_answers": asked_for.needs_answers or as_json}
        asked["keep_directions"] = asked_for.is_asked_for
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
    from covtool.reporting.retrieval_subject import RetrievalSubject
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
    if other is not None:
        from covtool.reporting.doubts import search_doubts

        _tell((), _of_other(asked_for, search_doubts(other)))
    model = None if request.source is None else request.source.name
    name = str(request.spec.distances_from) if model is None else model
    subject = RetrievalSubject(done=done, model=name, command=asked_for.command)
    compared = evaluation_report.searched_with(asked_for, subject, other)
    written = evaluation_report.write_search(asked_for, subject, compared)
    if as_json:
        render.json_object(retrieval_tables.as_object(model, subject, compared))
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
    from covtool.reporting.subjects import Subject
    from covtool_cli import classification_tables, render

    done = evaluate(request, track=render.track)
    other = None
    if asked_for.against is not None:
        plain = replace(
            request,
            source=asked_for.against,
            attack=AttackSpec(),
            class_names=None,  # those of MODEL's outputs
            unknown=None,
            keep_inputs=False,
        )
        other = evaluate(plain, track=render.track)
    _tell(done.unreadable, done.notes)
    if other is not None:
        from covtool.reporting.doubts import doubts_of_other

        _tell((), _of_other(asked_for, doubts_of_other(done, other)))
    model = request.source.name
    subject = Subject(done=done, model=model, command=asked_for.command)
    compared = evaluation_report.compared_with(asked_for, subject, other)
    subject, written = evaluation_report.write(asked_for, request, subject, compared)
    if as_json:
        has_page = asked_for.report is not None
        shown = classification_tables.as_object(subject, confusion, compared, has_page=has_page)
        render.json_object(shown)
    else:
        classification_tables.show_figures(model, done, per_class=per_class, confusion=confusion)
    for line in written:
        render.note(line)


def _of_other(asked_for: evaluation_report.ReportOptions, sentences: Iterable[str]) -> list[str]:
    return [f"{asked_for.against.name}: {sentence}" for sentence in sentences]


def _tell(unreadable: Iterable[tuple[Path, str]], notes: Iterable[str]) -> None:
    from covtool_cli import render

    for path, reason in unreadable:
        render.warning(f"left out {printable(str(path))}: {reason}")
    for text in notes:
        render.note(f"note: {text}")
