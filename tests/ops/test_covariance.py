import numpy as np
import pytest
import torch
from torch.testing import assert_close

from covtool.errors import ShapeError
from covtool.ops.covariance import covariance_pool, triu_vec


def test_covariance_is_the_biased_one_of_numpy() -> None:
    features = torch.randn(3, 5, 4, 6, dtype=torch.float64)
    expected = np.stack([np.cov(sample.flatten(1).numpy(), bias=True) for sample in features])
    assert_close(covariance_pool(features), torch.from_numpy(expected))


def test_covariance_ignores_shifts_and_the_order_of_positions() -> None:
    features = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    shifted = features + torch.randn(1, 5, 1, 1, dtype=torch.float64)
    shuffled = features.flatten(2)[:, :, torch.randperm(24)].reshape(2, 5, 6, 4)
    assert_close(covariance_pool(shifted), covariance_pool(features))
    assert_close(covariance_pool(shuffled), covariance_pool(features))


def test_upper_triangle_is_taken_row_by_row() -> None:
    matrices = torch.randn(2, 6, 6)
    rows, columns = np.triu_indices(6)
    assert_close(triu_vec(matrices), matrices[:, rows, columns], rtol=0, atol=0)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(B, C, H, W\), but it has \(2, 3\)"):
        covariance_pool(torch.zeros(2, 3))
    with pytest.raises(ShapeError, match=r"\(B, C, C\), but it has \(2, 3, 4\)"):
        triu_vec(torch.zeros(2, 3, 4))
