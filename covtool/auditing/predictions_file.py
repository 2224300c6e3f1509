"""Out-of-fold predictions of a run in folds, in place of left-out ones of a model."""

import os
from dataclasses import dataclass
from math import exp, isfinite
from pathlib import Path

from covtool.auditing.images import Images
from covtool.data.datasets.lists.csv_file import opened_table
from covtool.errors import DataError
from covtool.printable import printable

NEEDED = ("path", "label", "predicted", "probability")
LOSS = "loss"
FOUND = "found_identity"
"""Column of a search's file, which has no classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What images were taken for by models that had not trained on them.

    Attributes:
        margins: For each image's place, by how much the probability of another class exceeds that
            of its own, and the other class. The mean over the seeds; not there for images that
            were taken for their own class by all.
        predicted: Number of images that there are predictions of.
        notes: Rows that were left out.
    """

    margins: dict[int, tuple[float, str]]
    predicted: int
    notes: tuple[str, ...]


def read_predictions(file: Path, images: Images) -> Predictions:
    """Read ``predictions.csv`` of ``covtool finetune --folds``, or a file with its columns.

    Without the column ``loss``, the probability of an image's own class is not known, and 0 is
    taken for it.

    Args:
        file: CSV file with the columns `NEEDED`.
        images: Images of the data set; paths in the file are relative to its folder.

    Raises:
        DataError: It lacks a column, holds something else than probabilities, or none of its
            images is in the data set.
    """
    places = {os.path.normpath(images.name(at)): at for at in range(len(images))}
    found: dict[int, list[tuple[float, str]]] = {}
    unknown = relabeled = 0
    with opened_table(file) as (columns, rows):
        if FOUND in columns and "predicted" not in columns:
            raise DataError(
                f"{file} is of a search: it has what is found for images, and no classes.",
                hint="Labels in doubt need predictions of classes. For identities, look at the "
                "rows with a large first_rank.",
            )
        if missing := [name for name in NEEDED if name not in columns]:
            raise DataError(
                f"{file} has no column {missing[0]!r}.",
                hint="It should be predictions.csv of covtool finetune --folds, or have the "
                f"columns {','.join((*NEEDED, LOSS))}.",
            )
        for number, row in rows:
            at = _place(row["path"] or "", images, places)
            if at is None:
                unknown += 1
            elif row["label"] != images.label(at):
                relabeled += 1
            else:
                margin = _margin(file, number, row)
                found.setdefault(at, []).append((margin, row["predicted"] or ""))
    if not found:
        raise DataError(
            f"None of the images of {file} is in {images.folder} under the same label.",
            hint="Are the predictions of another data set?",
        )
    notes = []
    if unknown:
        notes.append(f"{unknown:,} rows of {file} are of images that the data set does not have.")
    if relabeled:
        notes.append(
            f"{relabeled:,} rows of {file} are left out: their images have another label now."
        )
    means = {at: _mean(rows) for at, rows in found.items()}
    return Predictions(
        margins={at: mean for at, mean in means.items() if mean[0] > 0},
        predicted=len(found),
        notes=tuple(notes),
    )


def _place(text: str, images: Images, places: dict[str, int]) -> int | None:
    path = os.path.normpath(text)
    if Path(path).is_absolute():
        path = os.path.relpath(path, images.folder)
    return places.get(path)


def _margin(file: Path, number: int, row: dict[str, str | None]) -> float:
    values = {}
    for name in ("probability", LOSS):
        try:
            values[name] = float(row.get(name) or "nan")
        except ValueError:
            values[name] = float("nan")
    loss, probability = values[LOSS], values["probability"]
    has_loss = bool(row.get(LOSS))
    if not 0 <= probability <= 1 or (has_loss and not loss >= 0):
        shown = printable(str(row["probability"])), printable(str(row.get(LOSS)))
        raise DataError(
            f"{file}, line {number}: {shown[0]} is no probability, or {shown[1]} no loss.",
            hint="Losses are negative logarithms of the probability of the label.",
        )
    own = exp(-loss) if has_loss and isfinite(loss) else 0.0
    return probability - own if row["predicted"] != row["label"] else -probability


def _mean(rows: list[tuple[float, str]]) -> tuple[float, str]:
    worst = max(rows)
    return sum(margin for margin, _ in rows) / len(rows), worst[1]
