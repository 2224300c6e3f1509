import pytest
import torch
from torch.testing import assert_close

from covtool.errors import ArgumentError
from covtool.ops.principal import principal_directions


def test_directions_diagonalize_the_covariance_in_falling_order() -> None:
    factor = torch.randn(8, 12, dtype=torch.float64)
    cov = factor @ factor.mT
    directions = principal_directions(cov, 5)
    diagonal = directions @ cov @ directions.mT
    assert_close(diagonal, torch.diag(torch.linalg.eigvalsh(cov).flip(0)[:5]))
    assert_close(directions @ directions.mT, torch.eye(5, dtype=torch.float64))


def test_more_directions_than_channels_are_refused() -> None:
    with pytest.raises(ArgumentError, match="no 9 principal directions of 8 channels"):
        principal_directions(torch.eye(8), 9)
