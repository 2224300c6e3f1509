"""Products of features in float64, without a float64 copy of all features."""

from collections.abc import Iterator

import torch
from torch import Tensor

_COLUMNS_AT_ONCE = 4096
_NUMBERS_AT_ONCE = 1 << 24  # 128 MiB in float64
_ROWS_OF_BLOCK = 4096  # of the triangle that is computed


def column_means(features: Tensor) -> Tensor:
    """Return the mean of features (n, d) over rows, (d,), in float64.

    `Tensor.mean` would convert all of them first: twice the memory that they take.
    """
    means = [
        features[:, columns].mean(dim=0, dtype=torch.float64) for columns in _columns(features)
    ]
    return torch.cat(means)


def centered_gram(features: Tensor, mean: Tensor) -> Tensor:
    """Return the Gram matrix (n, n) of features (n, d) less their mean (d,), in float64.

    Of more than 4096 rows, one triangle is computed and mirrored: half the time.
    """
    rows = len(features)
    gram = torch.zeros(rows, rows, dtype=torch.float64, device=features.device)
    blocks = [slice(s, min(s + _ROWS_OF_BLOCK, rows)) for s in range(0, rows, _ROWS_OF_BLOCK)]
    for columns in _columns(features):
        centered = features[:, columns].double() - mean[columns]
        for block in blocks:
            gram[block.start :, block].addmm_(centered[block.start :], centered[block].mT)
    for block in blocks:
        gram[block, block.stop :] = gram[block.stop :, block].mT
    return gram


def times_rows(coefficients: Tensor, features: Tensor) -> Tensor:
    """Return ``coefficients @ features`` in float64."""
    size = len(coefficients), features.shape[1]
    product = torch.empty(size, dtype=torch.float64, device=features.device)
    for columns in _columns(features):
        product[:, columns] = coefficients @ features[:, columns].double()
    return product


def _columns(features: Tensor) -> Iterator[slice]:
    step = max(min(_COLUMNS_AT_ONCE, _NUMBERS_AT_ONCE // len(features)), 1)
    return (slice(start, start + step) for start in range(0, features.shape[1], step))
