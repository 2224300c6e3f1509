"""Factors within one matrix are those of a new one for each shift."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from covtool.ops.cholesky import BLOCK, ShiftedCholesky

SIZES = (1, 7, BLOCK, BLOCK + 1, 2 * BLOCK + 90)  # one block, a part of one, several


def positive(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(size, size // 2 + 1, generator=generator, dtype=torch.float64)
    return rows @ rows.mT / size


@pytest.mark.parametrize("size", SIZES)
def test_inverses_for_one_shift_after_another_are_right(size: int) -> None:
    matrix = positive(size)
    right = torch.randn(size, 3, dtype=torch.float64)
    system = ShiftedCholesky(matrix.clone())
    for shift in (0.3, 2.0, 0.01):
        factor = system.inverse_factor(shift)
        inverse = torch.linalg.inv(matrix + shift * torch.eye(size, dtype=torch.float64))
        assert_close(factor.solve(right), inverse @ right, rtol=1e-8, atol=1e-8)
        assert_close(factor.inverse_diagonal(), inverse.diagonal(), rtol=1e-9, atol=1e-9)
        product = factor.times(right)
        assert_close(
            (product * product).sum(), (right * (inverse @ right)).sum(), rtol=1e-8, atol=0
        )


def test_what_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(torch.linalg.LinAlgError):
        ShiftedCholesky(positive(9)).inverse_factor(-1.0)
