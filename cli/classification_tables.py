"""What came of evaluating a classifier, as tables and as one object."""

from typing import TYPE_CHECKING

from covtool.figure_names import figure_name, figure_title
from covtool.printable import printable
from covtool_cli import render

if TYPE_CHECKING:
    from covtool.evaluation import ClassificationResult
    from covtool.evaluation.classification.unknown import UnknownResult
    from covtool.evaluation.evaluate import Evaluation
    from covtool.reporting.against import Comparison
    from covtool.reporting.subjects import Subject

WORST_CLASSES = 5
RESAMPLED_AT_MOST = 50_000
"""Images that ranges are given for where no page has them: resampling more takes a minute."""


def as_object(
    subject: "Subject", confusion: int, compared: "Comparison | None", *, has_page: bool
) -> dict[str, object]:
    """Return an evaluation for ``--json``.

    Args:
        subject: The evaluation, its answers kept.
        confusion: Number of the largest confusions.
        compared: Comparison with another model; None without one.
        has_page: Whether there is a page, which the ranges are computed for anyway.
    """
    from covtool.reporting.ranged_figures import answered_shares, ranges_of

    done, notes = subject.done, subject.done.notes
    ranges, attacked = None, None
    is_resampled = has_page or done.result.images <= RESAMPLED_AT_MOST
    if is_resampled:
        ranges = ranges_of(subject.ranged)
    else:
        notes = (*notes, f"Ranges of more than {RESAMPLED_AT_MOST:,} images need --report DIR.")
    if done.attacked is not None:
        attacked = {**_figures(done.attacked, confusion), "ranges": None}
        if is_resampled:
            shares = answered_shares(done.attacked, done.attacked_answers)
            attacked["ranges"] = ranges_of(shares)
    return {
        "task": "classification",
        "model": subject.model,
        "data": done.data,
        "split": done.split,
        "device": done.device,
        "input": done.input,
        **_figures(done.result, confusion),
        "ranges": ranges,
        "class_order": done.class_order,
        "class_names": done.result.class_names,
        "paths": [str(path) for path in done.paths],
        "targets": done.result.targets,
        "unknown": done.unknown,
        "attack": done.attack,
        "attacked": attacked,
        "against": None if compared is None else _against(compared),
        "nearest_training": None if subject.nearest is None else _nearest(subject),
        "unreadable": done.unreadable,
        "far_from_training": done.far_from_training,
        "notes": notes,
    }


def _main_figures(result: "ClassificationResult") -> dict[str, object]:
    return {
        "images": result.images,
        "top_1": result.top_1,
        "top_5": result.top_5,
        "macro": result.macro,
        "loss": result.loss,
        "nll": result.probabilities.nll,
        "ece": result.probabilities.ece,
        "adaptive_ece": result.probabilities.adaptive_ece,
        "temperature": result.probabilities.temperature,
        "at_temperature_1": result.at_temperature_1,
        "images_per_s": result.images_per_s,
    }


def _against(compared: "Comparison") -> dict[str, object]:
    """Return what a comparison found, and what must be known about the other model."""
    other = compared.second.done
    gain, low, high = (100 * value for value in compared.gain)
    return {
        "model": compared.second.model,
        **_main_figures(other.result),
        "gain": {"figure": "top_1", "points": gain, "low": low, "high": high},
        "mcnemar": compared.test,
        "is_guess": compared.is_guess,
        "class_order": other.class_order,
        "far_from_training": other.far_from_training,
        "notes": compared.doubts,
    }


def _nearest(subject: "Subject") -> dict[str, object]:
    """Return the training images nearest to the mistakes that a page shows."""
    return {
        "data": subject.nearest.data,
        "images": [
            {
                "path": str(subject.done.paths[position]),
                "nearest": [
                    {
                        "path": None if image.path is None else str(image.path),
                        "name": image.name,
                        "class": image.class_name,
                        "cosine": image.similarity,
                    }
                    for image in images
                ],
            }
            for position, images in subject.nearest.images.items()
        ],
        "notes": subject.nearest.notes,
    }


def _figures(result: "ClassificationResult", confusion: int) -> dict[str, object]:
    return {
        **_main_figures(result),
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
    return [
        *rows,
        ("temperature", f"{found.temperature:.4g}"),
        ("with temperature 1", f"{plain.in_words}{guess}"),
    ]


def _show_unknown(unknown: "UnknownResult", known: int) -> None:
    render.table(
        f"{known} known images against {unknown.images} of {printable(unknown.data)}",
        ("score", *map(figure_title, ("auroc", "fpr_at_95", "threshold"))),
        [
            (figure_name(name), f.auroc, f.fpr_at_95, f"{f.threshold:.6g}")
            for name, f in unknown.scores.items()
        ],
    )
