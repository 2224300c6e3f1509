"""The file of all answers beside an evaluation's page."""

from collections.abc import Iterator
from pathlib import Path

from covtool.pages import write_rows
from covtool.reporting.subjects import Subject

COLUMNS = (
    *("path", "right_class", "given_class", "probability", "right_probability", "loss"),
    "rank_of_right",
)
ATTACKED = ("attacked_class", "attacked_probability", "attacked_loss")
"""Columns of the answers under attack, where there was one."""


def write_predictions(subject: Subject, path: Path) -> None:
    """Write a row for each image, in the order of the data set.

    The rank of the right class counts from 1, which is a right answer. Paths are empty where they
    are not known.
    """
    attacked = subject.done.attacked_answers
    if attacked is None:
        write_rows(path, COLUMNS, _rows(subject))
        return
    names = subject.names
    added = zip(
        (names[given] for given in attacked.given.tolist()),
        attacked.probability.tolist(),
        attacked.loss.tolist(),
        strict=True,
    )
    rows = ((*row, *more) for row, more in zip(_rows(subject), added, strict=True))
    write_rows(path, (*COLUMNS, *ATTACKED), rows)


def _rows(subject: Subject) -> Iterator[tuple[str | float, ...]]:
    answers, names = subject.answers, subject.names
    paths = subject.done.paths or ("",) * len(answers)
    columns = (answers.probability, answers.right_probability, answers.loss, answers.rank + 1)
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    classes = zip(answers.right.tolist(), answers.given.tolist(), strict=True)
    for path, (right, given), row in zip(paths, classes, numbers, strict=True):
        yield str(path), names[right], names[given], *row
