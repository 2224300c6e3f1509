"""What a classifier that is solved for can know of each class, by how many images show it."""

from collections.abc import Iterator, Sequence

import numpy as np

from covtool.data.datasets.found_images import counted, shown
from covtool.data.datasets.records.records import labels_of
from covtool.data.datasets.samples import Sample
from covtool.errors import ArgumentError


def require_image_of_each_class(limit: int | None, class_names: Sequence[str]) -> None:
    """Refuse a number of images that leaves a class without one.

    Args:
        limit: Largest number of training images; None for all.
        class_names: Names of the classes.

    Raises:
        ArgumentError: There are more classes than images.
    """
    if limit is not None and limit < len(class_names):
        raise ArgumentError(
            f"--calibrate-images {limit} is too few for {counted(len(class_names), 'class')}: "
            "one without an image would never be recognized.",
            hint=f"Give {2 * len(class_names):,} or more: left out, an image needs another one of "
            "its class.",
        )


def notes_on_solved_classes(
    samples: Sequence[Sample], class_names: Sequence[str], *, judged: bool = True
) -> Iterator[str]:
    """Yield notes on classes that no image or a single one shows.

    Args:
        samples: Images that a classifier is solved for with.
        class_names: Names of the classes.
        judged: Whether the share of left-out images that are right is shown.
    """
    counts = np.bincount(labels_of(samples), minlength=len(class_names))
    missing, alone = (
        [class_names[at] for at in np.flatnonzero(counts == number)] for number in (0, 1)
    )
    if missing:
        verb, pronoun = ("have", "they are") if len(missing) > 1 else ("has", "it is")
        yield (
            f"{len(missing):,} of {counted(len(class_names), 'class')} {verb} no training image, "
            f"so {pronoun} never recognized: {shown(missing)}."
        )
    if alone and judged:
        verb = "have" if len(alone) > 1 else "has"
        yield (
            f"{len(alone):,} of {counted(len(class_names), 'class')} {verb} a single training "
            "image, which counts as wrong when it is left out: without it nothing shows its "
            f"class: {shown(alone)}."
        )
