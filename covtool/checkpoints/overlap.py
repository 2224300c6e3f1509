"""Architectures that share most tensors with a checkpoint: a list to look at, never an answer."""

import numpy as np

from covtool.backbones.index import ArchitectureIndex
from covtool.checkpoints.matching import Candidate, Named, per_row


def match_overlap(index: ArchitectureIndex, tensors: Named, *, limit: int) -> list[Candidate]:
    """Return the architectures with the largest overlap, at most `limit`.

    The score is the mean of the overlap of (name, shape) pairs and that of shapes alone, each as
    2 * common / (one + other), the Dice coefficient.
    """
    numbers = [index.shape_numbers.get(shape, -1) for _, shape in tensors]
    # One number for a name and a shape together; int64, as the product may need more than 32 bits.
    pair_keys = index.pair_names.astype(np.int64) * len(index.shapes) + index.pair_shapes
    own = [
        index.name_numbers[name] * len(index.shapes) + number
        for (name, _), number in zip(tensors, numbers, strict=True)
        if number >= 0 and name in index.name_numbers
    ]
    common = per_row(index, np.isin(pair_keys, own)[index.pairs])
    scores = (common + _common_shapes(index, numbers)) / (len(tensors) + index.lengths)
    # Stable, so that equal scores keep the order of the index.
    best = np.argsort(-scores, kind="stable")[:limit]
    return [
        Candidate(
            architecture=index.architectures[row],
            match="overlap",
            score=round(float(scores[row]), 4),
        )
        for row in best
        if scores[row] > 0
    ]


def _common_shapes(index: ArchitectureIndex, numbers: list[int]) -> np.ndarray:
    """Return how many tensors of each architecture have a partner of the same shape, shape (M,)."""
    shapes, counts = np.unique([n for n in numbers if n >= 0], return_counts=True)
    column = np.full(len(index.shapes), -1)
    column[shapes.astype(int)] = np.arange(len(shapes))
    columns = column[index.pair_shapes[index.pairs]]
    cells = index.owners[columns >= 0] * len(shapes) + columns[columns >= 0]
    table = np.bincount(cells, minlength=len(index.lengths) * len(shapes))
    # A shape that the file has twice has a partner at most twice.
    return np.minimum(table.reshape(len(index.lengths), -1), counts).sum(axis=1)
