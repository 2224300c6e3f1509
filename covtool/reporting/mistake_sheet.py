"""Mistakes of a classifier as one picture."""

from pathlib import Path

from covtool.data.images.decoding import read_image
from covtool.errors import DataError
from covtool.evaluation.classification.class_matching import GUESSED
from covtool.prediction.answer_sheet import PICTURES, Answered, save_answers
from covtool.prediction.rows import Prediction
from covtool.reporting.doubts import is_guessed
from covtool.reporting.subjects import Subject


def save_mistakes(subject: Subject, path: Path, *, overwrite: bool = False) -> Path:
    """Draw the mistakes of the largest loss, with the given and the right class of each.

    Args:
        subject: The evaluation.
        path: PNG file to write.
        overwrite: Whether to replace an existing file.

    Raises:
        DataError: There is no mistake, or files of the images are not known.
        OutputExistsError: There is such a file, and `overwrite` is False.
        SaveError: The file cannot be written.
    """
    if not subject.mistakes or not subject.done.paths:
        reason = "No image is taken for another class."
        raise DataError(
            "There is no mistake to draw.",
            reason=reason if not subject.mistakes else "Files of the images are not known.",
        )
    shown = [_answered(subject, position) for position in subject.mistakes[:PICTURES]]
    title = f"Mistakes of {Path(subject.model).name} on {subject.done.data}, {subject.done.split}"
    if is_guessed(subject.done):
        title += f". Every given class is a guess: {GUESSED}"
    return save_answers(path, shown, title=title, total=len(subject.mistakes), overwrite=overwrite)


def _answered(subject: Subject, position: int) -> Answered:
    answers, names, path = subject.answers, subject.names, subject.done.paths[position]
    right, given = int(answers.right[position]), int(answers.given[position])
    guess = " (a guess)" if is_guessed(subject.done) else ""
    try:
        place = read_image(path, exif=subject.done.input.exif)
    except DataError as problem:
        return Answered(str(path), Prediction(path=str(path), error=problem.message))
    prediction = Prediction(
        path=str(path),
        classes=(f"{names[given]}{guess}", f"is: {names[right]}"),
        probabilities=(
            float(answers.probability[position]),
            float(answers.right_probability[position]),
        ),
    )
    return Answered(place, prediction)
