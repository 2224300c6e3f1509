"""Confusions of classes: which are taken for which how often, as the pairs that occur.

A matrix of 100,000 classes has 10^10 cells. Of N images at most N are not zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import ArgumentError, ShapeError

LARGEST_MATRIX = 10_000
"""Classes of the largest matrix that is made whole: 100 million counts."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Confusions:
    """The P pairs of classes that occur, by right class, then given class; int64 on the CPU.

    Attributes:
        right: Class of the images of each pair, (P,).
        given: Class that they are taken for, (P,).
        images: Number of these images, (P,).
        num_classes: Number of classes, K.
    """

    right: Tensor
    given: Tensor
    images: Tensor
    num_classes: int

    @property
    def wrong(self) -> "Confusions":
        """The pairs of two different classes."""
        return self._only(self.right != self.given)

    def largest_first(self) -> "Confusions":
        """Return the pairs with the most images first; equals stay in their order."""
        return self._only(self.images.argsort(descending=True, stable=True))

    def matrix(self) -> Tensor:
        """Return images by right class (rows) and given class (columns), (K, K).

        Raises:
            ArgumentError: There are more than `LARGEST_MATRIX` classes.
        """
        if self.num_classes > LARGEST_MATRIX:
            raise ArgumentError(
                f"A matrix of {self.num_classes:,} classes has {self.num_classes**2:,} counts.",
                reason=f"It is made of {LARGEST_MATRIX:,} classes at most.",
                hint="Use the pairs of classes that occur.",
            )
        return self.between(torch.arange(self.num_classes))

    def between(self, classes: Tensor) -> Tensor:
        """Return the part of the matrix that has some classes only, (k, k).

        Args:
            classes: The classes in the order of rows and columns, each once, (k,).
        """
        size = len(classes)
        place = torch.full((self.num_classes,), -1)
        place[classes] = torch.arange(size)
        rows, columns = place[self.right], place[self.given]
        inside = (rows >= 0) & (columns >= 0)
        cells = torch.zeros(size * size, dtype=torch.int64)
        cells[rows[inside] * size + columns[inside]] = self.images[inside]
        return cells.view(size, size)

    def _only(self, chosen: Tensor) -> "Confusions":
        return Confusions(
            right=self.right[chosen],
            given=self.given[chosen],
            images=self.images[chosen],
            num_classes=self.num_classes,
        )


def confusions(right: Tensor, given: Tensor, num_classes: int) -> Confusions:
    """Count which class is taken for which.

    Args:
        right: Class of each image, integers, (N,).
        given: Class that it is taken for, (N,).
        num_classes: Number of classes, K.

    Raises:
        ShapeError: The two do not have one shape (N,).
        ValueError: A class is none of the K.

    Example:
        >>> found = confusions(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 1]), 3)
        >>> found.right.tolist(), found.given.tolist(), found.images.tolist()
        ([0, 1], [1, 1], [2, 1])
    """
    if right.ndim != 1 or given.shape != right.shape:
        raise ShapeError.expected("given", f"{tuple(right.shape)}, of one axis", given)
    # In 64 bits: the product is beyond 32 from 46,341 classes on.
    right, given = (classes.to("cpu", torch.int64) for classes in (right, given))
    for classes in (right, given):
        if ((classes < 0) | (classes >= num_classes)).any():
            raise ValueError(f"There are classes beyond 0 to {num_classes - 1}.")
    keys, images = (right * num_classes + given).unique(return_counts=True)
    return Confusions(
        right=keys // num_classes, given=keys % num_classes, images=images, num_classes=num_classes
    )
