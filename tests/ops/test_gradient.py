import pytest
import torch

from covtool.ops import centralize_gradient

WITH_ROWS = [(4, 3), (4, 3, 3), (4, 3, 5, 5), (4, 1, 3, 3), (1, 6), (2, 1, 1, 2)]
WITHOUT_ROWS = [(), (5,), (5, 1), (6, 1, 1, 1), (0,)]


@pytest.mark.parametrize("shape", WITH_ROWS)
def test_every_row_of_a_centralized_gradient_sums_to_zero(shape):
    gradient = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(
        centralize_gradient(gradient).flatten(1).sum(1), torch.zeros(shape[0], dtype=torch.float64)
    )


@pytest.mark.parametrize("shape", WITH_ROWS)
def test_centralizing_is_an_orthogonal_projection(shape):
    first, second = torch.randn(2, *shape, dtype=torch.float64)
    once = centralize_gradient(first)
    torch.testing.assert_close(centralize_gradient(once), once)
    # Self-adjoint: <Pa, b> = <a, Pb>.
    torch.testing.assert_close((once * second).sum(), (first * centralize_gradient(second)).sum())


@pytest.mark.parametrize("shape", WITH_ROWS)
def test_it_is_the_product_with_the_papers_projection_matrix(shape):
    gradient = torch.randn(shape, dtype=torch.float64)
    rows = gradient.flatten(1)
    fan_in = rows.shape[1]
    # P = I - e e', e the unit vector of equal entries (equation 2 of the paper).
    e = torch.full((fan_in, 1), fan_in**-0.5, dtype=torch.float64)
    projection = torch.eye(fan_in, dtype=torch.float64) - e @ e.T
    torch.testing.assert_close(centralize_gradient(gradient).flatten(1), rows @ projection)


@pytest.mark.parametrize("shape", WITHOUT_ROWS)
def test_vectors_and_fan_in_1_come_back_unchanged(shape):
    gradient = torch.randn(shape)
    assert torch.equal(centralize_gradient(gradient), gradient)


def test_the_input_is_not_modified_and_dtype_is_kept():
    gradient = torch.randn(3, 4, dtype=torch.bfloat16)
    before = gradient.clone()
    assert centralize_gradient(gradient).dtype == torch.bfloat16
    assert torch.equal(gradient, before)
