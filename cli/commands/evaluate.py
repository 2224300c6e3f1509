"""`covtool evaluate`."""

from typing import TYPE_CHECKING, Annotated

import typer

from covtool.specs import AttackSpec, InputOverrides, LaunchSpec
from covtool_cli import launching, options

if TYPE_CHECKING:
    from covtool.evaluation import ClassificationResult
    from covtool.evaluation.evaluating import Evaluation

WORST_CLASSES = 5


@options.takes(images=InputOverrides, attacking=AttackSpec, launch=LaunchSpec)
def command(
    ctx: typer.Context,
    model: options.Model,
    data: options.Data,
    images: InputOverrides,
    attacking: AttackSpec,
    launch: LaunchSpec,
    split: Annotated[
        str | None, typer.Option(help="Which images; default: val, else test, else all.")
    ] = None,
    arch: options.Arch = None,
    iterations: options.Iterations = None,
    weights: options.Weights = "auto",
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Show every class, not the worst ones only.")
    ] = False,
    confusion: Annotated[
        int, typer.Option(min=0, metavar="N", help="Show the N most confused pairs of classes.")
    ] = 5,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    on_bad_image: options.OnBadImage = "error",
    config: options.Config = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure a model on a labeled data set.

    Example: covtool evaluate resnet50-isqrt.safetensors --data birds/
    """
    attacking.refuse_nonsense()  # before torch is imported
    launching.run_in_processes(ctx, launch)
    from covtool.evaluation.evaluating import EvaluationRequest, evaluate
    from covtool_cli import render

    request = EvaluationRequest(
        source=model,
        data=data,
        split=split,
        arch=arch,
        iterations=iterations,
        weights=weights,
        input_overrides=images.changes(),
        batch_size=batch_size,
        workers=workers,
        device=device,
        on_bad_image=on_bad_image,
        attack=attacking,
        launch=launch,
    )
    done = evaluate(request, track=render.track)
    for path, reason in done.unreadable:
        render.warning(f"left out {path}: {reason}")
    for text in done.notes:
        render.note(f"note: {text}")
    if as_json:
        render.json_object(_as_object(model, done, confusion))
    else:
        _show(model, done, per_class=per_class, confusion=confusion)


def _as_object(model: str, done: "Evaluation", confusion: int) -> dict[str, object]:
    return {
        "model": model,
        "data": done.data,
        "split": done.split,
        "device": done.device,
        "input": done.input,
        **_figures(done.result, confusion),
        "class_names": done.result.class_names,
        "targets": done.result.targets,
        "attack": done.attack,
        "attacked": None if done.attacked is None else _figures(done.attacked, confusion),
        "unreadable": done.unreadable,
        "notes": done.notes,
    }


def _figures(result: "ClassificationResult", confusion: int) -> dict[str, object]:
    return {
        "images": result.images,
        "top_1": result.top_1,
        "top_5": result.top_5,
        "loss": result.loss,
        "images_per_s": result.images_per_s,
        "per_class": result.per_class,
        "most_confused": result.most_confused(confusion),
        "predictions": result.predictions,
    }


def _show(model: str, done: "Evaluation", *, per_class: bool, confusion: int) -> None:
    from covtool_cli import render

    result = done.result
    attacked = []
    if done.attacked is not None:
        attacked = [(f"top-1 under {done.attack.title}", f"{done.attacked.top_1:.2f} %")]
    render.pairs(
        "Evaluated",
        [
            ("model", model),
            ("data", f"{done.data}, {done.split}"),
            ("top-1", f"{result.top_1:.2f} %"),
            *attacked,
            ("top-5", None if result.top_5 is None else f"{result.top_5:.2f} %"),
            ("loss", result.loss),
            ("images", result.images),
            ("left out, unreadable", len(done.unreadable)),
            ("images/s", f"{result.images_per_s:.1f}"),
            ("device", done.device),
        ],
    )
    classes = result.per_class
    if not per_class:
        wrong = [row for row in classes if row.accuracy < 100]
        classes = sorted(wrong, key=lambda row: row.accuracy)[:WORST_CLASSES]
    if classes:
        render.table(
            "Classes" if per_class else "Worst classes",
            ("class", "images", "accuracy (%)"),
            [(row.name, row.images, row.accuracy) for row in classes],
        )
    pairs = result.most_confused(confusion)
    if pairs:
        render.table(
            "Most confused",
            ("class", "taken for", "images"),
            [(row.actual, row.predicted, row.images) for row in pairs],
        )
