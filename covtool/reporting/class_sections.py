"""Classes on an evaluation's page: which are confused, and how well each is known."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from covtool.data.datasets.found_images import counted
from covtool.pages import (
    Column,
    Figure,
    PictureGroup,
    Pictures,
    Section,
    Table,
    Text,
    write_rows,
)
from covtool.pages.records import Block
from covtool.plotting.confusion_figure import (
    BLOCK,
    NAMED,
    confused_blocks,
    confusion_figure,
    confusion_order,
    images_of,
    mistakes_within,
)
from covtool.plotting.figure_file import house_style, svg_text
from covtool.reporting.image_pictures import ImagePictures
from covtool.reporting.subjects import Subject

PAIRS = 12
"""Pairs of classes that are shown with pictures."""
PICTURES_OF_A_PAIR = 2
BLOCKS = 8
"""Groups of confused classes whose matrices are drawn, where there are too many classes for one."""
LARGEST_TABLE = 2000
"""Classes of the largest matrix that is written whole: 4 million cells, 8 MB."""


def confused_pairs(subject: Subject) -> list[tuple[int, int, int]]:
    """Return right class, given class and images, the most images first."""
    pairs = subject.confusions.wrong.largest_first()
    columns = (pairs.right, pairs.given, pairs.images)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def pair_images(subject: Subject) -> dict[tuple[int, int], list[int]]:
    """Return positions of the images of the pairs that are shown, the largest losses first."""
    shown = {(right, given) for right, given, _ in confused_pairs(subject)[:PAIRS]}
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    right, given = subject.answers.right.tolist(), subject.answers.given.tolist()
    for position in subject.mistakes:
        pair = right[position], given[position]
        if pair in shown and len(found[pair]) < PICTURES_OF_A_PAIR:
            found[pair].append(position)
    return found


def confusion_section(subject: Subject, pictures: ImagePictures) -> Section:
    """Return the confusion matrix, and the pairs that are confused most."""
    pairs = confused_pairs(subject)
    if not pairs:
        text = Text(paragraphs=["No image is taken for another class."])
        return Section(name="confusion", title="Confused classes", blocks=[text])
    names = subject.names
    table = Table(
        name="confused-pairs",
        title="Pairs of classes, the most images first",
        columns=(
            Column(title="right class"),
            Column(title="given class"),
            Column(title="images", format=",d"),
            Column(title="of the right class (%)", format=".1f"),
        ),
        rows=[
            (names[r], names[g], images, 100 * images / int(subject.figures.images[r]))
            for r, g, images in pairs
        ],
        shown=20,
    )
    blocks = [*_matrices(subject), table, *_pair_pictures(subject, pictures)]
    return Section(name="confusion", title="Confused classes", blocks=blocks)


def class_section(subject: Subject) -> Section:
    """Return the table by class."""
    figures, names = subject.figures, subject.names
    # The first pair of a class has the most images, and of equals the lower given class.
    taken = {}
    for right, given, count in confused_pairs(subject):
        taken.setdefault(right, f"{names[given]} ({count})")
    rest = int(figures.images.sum()) - figures.images - figures.predicted + 2 * figures.right
    accuracy = 100 * rest.double() / int(figures.images.sum())
    rows = []
    for k, name in enumerate(names):
        if not int(figures.images[k]) and not int(figures.predicted[k]):
            continue
        rows.append(
            (
                name,
                int(figures.images[k]),
                _percent(figures.precision[k]),
                _percent(figures.recall[k]),
                _percent(figures.f1[k]),
                float(accuracy[k]),
                taken.get(k),
            )
        )
    table = Table(
        name="classes",
        columns=(
            Column(title="class"),
            Column(title="images", format=",d"),
            *(Column(title=f"{name} (%)", format=".1f") for name in _FIGURES),
            Column(title="taken for (images)"),
        ),
        rows=sorted(rows, key=lambda row: 200.0 if row[3] is None else row[3]),
        caption="The least recognized first; where scripts run, a click on a column's head sorts "
        "by it. Recall is the share of the class's images that get it. Precision is the share of "
        "images given this class that are of it, empty where no image is. Accuracy is the share of "
        "all images that are rightly said to be of the class or not. F1 is the harmonic mean of "
        "precision and recall.",
    )
    return Section(name="classes", title="Class by class", blocks=[table])


_FIGURES = ("precision", "recall", "F1", "accuracy")


def confusion_files(subject: Subject) -> dict[str, Callable[[Path], None]]:
    """Return what writes all confusions as CSV: a matrix, or of many classes a row for a pair."""
    if len(subject.names) > LARGEST_TABLE:
        return {"confusion_pairs.csv": partial(_write_pairs, subject)}
    return {"confusion.csv": partial(_write_matrix, subject)}


def _write_matrix(subject: Subject, path: Path) -> None:
    rows = zip(subject.names, subject.confusions.matrix().tolist(), strict=True)
    head = ("right \\ given", *subject.names)
    write_rows(path, head, ((name, *row) for name, row in rows))


def _write_pairs(subject: Subject, path: Path) -> None:
    found, names = subject.confusions, subject.names
    columns = (column.tolist() for column in (found.right, found.given, found.images))
    rows = ((names[r], names[g], images) for r, g, images in zip(*columns, strict=True))
    write_rows(path, ("right", "given", "images"), rows)


def _percent(share: float) -> float | None:
    value = 100 * float(share)
    return None if np.isnan(value) else value


def _matrices(subject: Subject) -> list[Block]:
    """Return the confusion matrix; of many classes, a small one for each group of confused ones."""
    if len(subject.names) > NAMED:
        return _blocks(subject)
    order = confusion_order(subject.confusions.matrix().numpy())
    return _drawn(subject, order, "confusion", "Classes that are confused stand together.")


def _blocks(subject: Subject) -> list[Block]:
    found = subject.confusions
    blocks = confused_blocks(found)
    shown = blocks[:BLOCKS]
    which = f" Shown are the {len(shown)} of the most mistakes." if len(shown) < len(blocks) else ""
    sentence = (
        f"{_groups(subject, blocks)}{which}{_most_given(subject) or _spread(subject, blocks)} All "
        f"mistakes are in {next(iter(confusion_files(subject)))}."
    )
    drawn = [Text(paragraphs=[sentence])]
    for number, block in enumerate(shown, start=1):
        within = counted(mistakes_within(found, block), "mistake")
        drawn += _drawn(subject, block, f"confusion-{number}", f"{within} within this group.")
    return drawn


def _groups(subject: Subject, blocks: Sequence[np.ndarray]) -> str:
    if not blocks:
        return "No classes are confused with each other often enough to stand together."
    total, inside = _totals(subject, blocks)
    within = "this group" if len(blocks) == 1 else "these groups"
    return (
        f"{sum(map(len, blocks)):,} of {len(subject.names):,} classes stand in "
        f"{counted(len(blocks), 'group')}, of {BLOCK} classes at most, that are confused with each "
        f"other: {inside:,} of {total:,} mistakes are within {within}."
    )


def _spread(subject: Subject, blocks: Sequence[np.ndarray]) -> str:
    """Return a sentence where there are mistakes outside of the groups."""
    total, inside = _totals(subject, blocks)
    if inside == total:
        return ""
    which = "The other mistakes" if inside else "Mistakes"
    return f" {which} are spread over pairs of classes that are seldom confused."


def _totals(subject: Subject, blocks: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return the number of mistakes, and of those within a group."""
    found = subject.confusions
    return int(found.wrong.images.sum()), sum(mistakes_within(found, block) for block in blocks)


def _most_given(subject: Subject) -> str:
    """Return a sentence on the one answer that most mistakes have; empty where there is none."""
    wrong = subject.confusions.wrong
    given = torch.bincount(wrong.given, wrong.images, minlength=len(subject.names))
    most, total = int(given.argmax()), int(wrong.images.sum())
    if 2 * int(given[most]) <= total:
        return ""
    return f" Of all mistakes, {int(given[most]):,} are images taken for {subject.names[most]}."


def _drawn(subject: Subject, classes: np.ndarray, name: str, caption: str) -> list[Block]:
    """Return the matrix of some classes in their order, as shares of a class and as counts."""
    part = subject.confusions.between(torch.from_numpy(classes)).numpy()
    # Of all images of the class, also those that are taken for a class that is not drawn.
    shares = part / np.maximum(images_of(subject.confusions)[classes], 1)[:, None]
    names = [subject.names[k] for k in classes]
    figures: list[Block] = []
    with house_style():
        for kind, title, is_normalized in (
            ("normalized", "Share of each class's images", True),
            ("counts", "Images", False),
        ):
            drawn = confusion_figure(part, shares, names, is_normalized=is_normalized)
            figures.append(
                Figure(
                    name=f"{name}-{kind}",
                    svg=svg_text(drawn, title=title),
                    title=f"{title}, right class by given class",
                    caption=f"{title} by right class (rows) and given class (columns). {caption}",
                )
            )
    return figures


def _pair_pictures(subject: Subject, pictures: ImagePictures) -> list[Block]:
    paths, names = subject.done.paths, subject.names
    if not paths:
        return []
    counts = {(r, g): images for r, g, images in confused_pairs(subject)[:PAIRS]}
    probability = subject.answers.probability.tolist()
    found = pair_images(subject)
    groups = [
        PictureGroup(
            title=f"{names[right]} taken for {names[given]}",
            lines=(f"{images} image{'s' if images > 1 else ''}",),
            pictures=[
                pictures.of(
                    paths[position],
                    (f"{100 * probability[position]:.1f} % sure", paths[position].name),
                    mark="wrong",
                )
                for position in found[right, given]
            ],
        )
        for (right, given), images in counts.items()
    ]
    return [Pictures(title="Pairs confused most", groups=groups)]
