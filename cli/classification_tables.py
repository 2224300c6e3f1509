"""What came of evaluating a classifier, as tables and as one object."""

from typing import TYPE_CHECKING

from covtool.figure_names import figure_name, figure_title
from covtool.printable import printable
from covtool_cli import render

if TYPE_CHECKING:
    from covtool.evaluation import ClassificationResult
    from covtool.evaluation.classification.unknown import UnknownResult
    from covtool.evaluation.evaluate import Evaluation

WORST_CLASSES = 5


def as_object(model: str, done: "Evaluation", confusion: int) -> dict[str, object]:
    """Return an evaluation for ``--json``, with its `confusion` largest confusions."""
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


def show_figures(model: str, done: "Evaluation", *, per_class: bool, confusion: int) -> None:
    """Show an evaluation: its figures, the worst classes or all, the largest confusions."""
    from covtool.evaluation.classification.class_matching import GUESSED

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
    at_1 = f"negative log-likelihood {plain.nll:.4g}, ECE {plain.ece:.2f} %{guess}"
    return [
        *rows,
        ("temperature", f"{found.temperature:.4g}"),
        ("with temperature 1", at_1),
    ]


def _show_unknown(unknown: "UnknownResult", known: int) -> None:
    render.table(
        f"{known} known images against {unknown.images} of {printable(unknown.data)}",
        ("score", *map(figure_title, ("auroc", "fpr_at_95"))),
        [(figure_name(name), f.auroc, f.fpr_at_95) for name, f in unknown.scores.items()],
    )
