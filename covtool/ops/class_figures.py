"""Precision, recall and F1 of classes, and their means, with intervals by resampling."""

from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.resampling import FEWEST_UNITS, LEVEL

RESAMPLES = 1000
"""Of images; about 4 % of chance in the width of an interval at 95 %."""
_NUMBERS_AT_ONCE = 1 << 22
_RECALL = 1  # its place among precision, recall and F1
_SAME = 1e-12  # means of the same shares, summed in another order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassFigures:
    """Figures of K classes, shares of 1 in float64; NaN where a figure does not exist.

    Attributes:
        images: Images of each class, int64, (K,).
        predicted: Images that are taken for each class, int64, (K,).
        right: Images of each class that are recognized, int64, (K,).
        precision: Share of what is taken for the class that is of it; NaN where nothing is.
        recall: Share of the class that is recognized; NaN where it has no images.
        f1: Harmonic mean of both, which is 2 right / (images + predicted); NaN where the class
            neither has images nor is predicted.
    """

    images: Tensor
    predicted: Tensor
    right: Tensor
    precision: Tensor
    recall: Tensor
    f1: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class MacroFigures:
    """Means over the classes that have images, shares of 1.

    A class of images for which nothing is taken counts with a precision of 0, as scikit-learn has
    it. Mean recall is also called balanced accuracy.

    Attributes:
        precision: Mean precision, its least and its largest likely value.
        recall: Mean recall, likewise.
        f1: Mean F1, likewise.
    """

    precision: tuple[float, float, float]
    recall: tuple[float, float, float]
    f1: tuple[float, float, float]


def class_figures(right: Tensor, given: Tensor, num_classes: int) -> ClassFigures:
    """Return the figures of each class.

    Args:
        right: Class of each image, integers, (N,).
        given: Class that it is taken for, (N,).
        num_classes: Number of classes, K.

    Raises:
        ShapeError: The two do not have one shape (N,).
    """
    if right.ndim != 1 or given.shape != right.shape:
        raise ShapeError.expected("given", f"{tuple(right.shape)}, of one axis", given)
    images = torch.bincount(right, minlength=num_classes)
    predicted = torch.bincount(given, minlength=num_classes)
    hits = torch.bincount(right[right == given], minlength=num_classes)
    return ClassFigures(
        images=images,
        predicted=predicted,
        right=hits,
        precision=hits.double() / predicted,
        recall=hits.double() / images,
        f1=2 * hits.double() / (images + predicted),
    )


def macro_means(right: Tensor, given: Tensor, num_classes: int) -> tuple[float, float, float]:
    """Return mean precision, recall and F1 over the classes with images; see `MacroFigures`.

    Args:
        right: Class of each image, integers, (N,).
        given: Class that it is taken for, (N,).
        num_classes: Number of classes, K.

    Raises:
        ArgumentError: There are no images.
        ShapeError: As `class_figures`.
    """
    precision, recall, f1 = _own_means(class_figures(right, given, num_classes)).tolist()
    return precision, recall, f1


def macro_figures(
    right: Tensor, given: Tensor, num_classes: int, *, level: float = LEVEL, seed: int = 0
) -> MacroFigures:
    """Return the means over classes, with percentile intervals over resampled images.

    The mean is over the classes that have images. A class that a resample has no image of is left
    out of that resample's mean.

    Args:
        right: Class of each image, integers, (N,).
        given: Class that it is taken for, (N,).
        num_classes: Number of classes, K.
        level: Share of such intervals that hold the true value.
        seed: Seed of the resampling.

    Returns:
        MacroFigures; the ends are NaN below `FEWEST_UNITS` images, where resampling leaves a figure
        as it is, and those of recall where each class is recognized wholly or not at all: then only
        classes that are missing in a resample would move it.

    Raises:
        ArgumentError: There are no images.
        ShapeError: As `class_figures`.
    """
    own = class_figures(right, given, num_classes)
    estimate = _own_means(own)
    ends = torch.full((2, 3), torch.nan, dtype=torch.float64)
    if len(right) >= FEWEST_UNITS:
        means = _resampled(right, given, num_classes, seed).sort(dim=0).values
        place = max(int((1 - level) / 2 * (RESAMPLES + 1)), 1)
        ends = torch.stack([means[place - 1], means[-place]])
        ends = torch.stack([ends[0].minimum(estimate), ends[1].maximum(estimate)])
        is_flat = (ends[1] - ends[0]) < _SAME
        is_flat[_RECALL] |= bool(((own.right == 0) | (own.right == own.images)).all())
        ends[:, is_flat] = torch.nan
    rows = torch.cat([estimate[None], ends]).mT.tolist()
    precision, recall, f1 = ((row[0], row[1], row[2]) for row in rows)
    return MacroFigures(precision=precision, recall=recall, f1=f1)


def _own_means(figures: ClassFigures) -> Tensor:
    """Return mean precision, recall and F1, (3,)."""
    if not figures.images.any():
        raise ArgumentError("There are no images to measure on.")
    return _macro(figures.images[None], figures.predicted[None], figures.right[None])[0]


def _macro(images: Tensor, predicted: Tensor, hits: Tensor) -> Tensor:
    """Return mean precision, recall and F1 over the classes with images, (rows, 3)."""
    there = images > 0
    right = hits.double()
    figures = (
        right / predicted.clamp_min(1),
        right / images.clamp_min(1),
        2 * right / (images + predicted).clamp_min(1),
    )
    return torch.stack([(f * there).sum(1) / there.sum(1) for f in figures], dim=1)


def _resampled(right: Tensor, given: Tensor, num_classes: int, seed: int) -> Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    count, right, given = len(right), right.cpu(), given.cpu()
    means = torch.empty(RESAMPLES, 3, dtype=torch.float64)
    for block in means.split(max(1, _NUMBERS_AT_ONCE // max(count, 3 * num_classes))):
        drawn = torch.randint(count, (len(block), count), generator=generator)
        # One count for all resamples of the block: a class of each is a place of its own.
        start = torch.arange(len(block))[:, None] * num_classes
        rows, answers = right[drawn] + start, given[drawn] + start
        size = len(block) * num_classes
        counts = [
            torch.bincount(places.flatten(), minlength=size).view(len(block), -1)
            for places in (rows, answers, rows[rows == answers])
        ]
        block.copy_(_macro(*counts))
    return means
