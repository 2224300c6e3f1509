"""The root of a covariance is the same function on both sides, and never not a number."""

import pytest
import torch
from tolerances import FLOAT32_CHAIN, FLOAT64, HALF
from torch import Tensor
from torch.testing import assert_close

from covtool.errors import ShapeError, UnknownVariantError
from covtool.ops.covariance import covariance_pool
from covtool.ops.isqrt import cheaper_side, isqrt_covariance
from covtool.ops.matrix_sqrt import matrix_sqrt_newton_schulz

SHAPES = [(2, 16, 3, 3), (2, 6, 5, 5), (1, 8, 1, 9), (3, 12, 2, 2)]
NORMS = ["trace", "frobenius"]
POST_NORMS = [*NORMS, "none"]
SIDES = ["channels", "positions"]


def random_map(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).relu().to(dtype)


def textbook(features: Tensor, pre_norm: str, post_norm: str, iterations: int = 5) -> Tensor:
    """Sample by sample, on the covariance itself, as the paper writes it."""
    norms = {
        "trace": torch.trace,
        "frobenius": torch.linalg.matrix_norm,
        "none": lambda cov: torch.ones((), dtype=cov.dtype),
    }
    roots = []
    for cov in covariance_pool(features):
        identity = torch.eye(len(cov), dtype=cov.dtype)
        root, inverse_root = cov / norms[pre_norm](cov), identity
        for _ in range(iterations):
            step = 0.5 * (3 * identity - inverse_root @ root)
            root, inverse_root = root @ step, step @ inverse_root
        roots.append(root * norms[post_norm](cov).sqrt())
    return torch.stack(roots)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("post_norm", POST_NORMS)
@pytest.mark.parametrize("pre_norm", NORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_textbook_on_either_side(
    shape: tuple[int, ...], pre_norm: str, post_norm: str, side: str
) -> None:
    features = random_map(*shape)
    root = isqrt_covariance(features, pre_norm=pre_norm, post_norm=post_norm, side=side)
    assert_close(root, textbook(features, pre_norm, post_norm), **FLOAT64)
    assert_close(root, root.mT, **FLOAT64)


def test_equals_the_root_of_the_pooled_covariance() -> None:
    features = random_map(2, 16, 3, 3)
    expected = matrix_sqrt_newton_schulz(covariance_pool(features))
    assert_close(isqrt_covariance(features), expected, **FLOAT64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_of_both_sides_are_equal(shape: tuple[int, ...]) -> None:
    weights = random_map(shape[0], shape[1], shape[1])
    gradients = []
    for side in SIDES:
        features = random_map(*shape).requires_grad_()
        (isqrt_covariance(features, side=side) * weights).sum().backward()
        gradients.append(features.grad)
    assert_close(*gradients, **FLOAT64)


def test_float32_stays_close_to_float64_on_both_sides() -> None:
    features = random_map(2, 64, 7, 7)
    for side in SIDES:
        root = isqrt_covariance(features.float(), side=side)
        assert_close(root.double(), isqrt_covariance(features), **FLOAT32_CHAIN)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("pre_norm", NORMS)
@pytest.mark.parametrize("post_norm", POST_NORMS)
def test_gradient_agrees_with_finite_differences(pre_norm: str, post_norm: str, side: str) -> None:
    features = random_map(2, 4, 2, 3).requires_grad_()

    def root(x: Tensor) -> Tensor:
        return isqrt_covariance(x, pre_norm=pre_norm, post_norm=post_norm, side=side)

    assert torch.autograd.gradcheck(root, features)


DEGENERATE = {
    "zero": torch.zeros(2, 6, 3, 3),
    "one position": random_map(2, 6, 1, 1, dtype=torch.float32),
    "constant": torch.full((2, 6, 3, 3), 0.7),
    "one channel alive": torch.zeros(2, 6, 3, 3).index_copy(
        1, torch.tensor([2]), random_map(2, 1, 3, 3, dtype=torch.float32)
    ),
    "tiny": 1e-20 * random_map(2, 6, 3, 3, dtype=torch.float32),
    "large": 1e15 * random_map(2, 6, 3, 3, dtype=torch.float32),
    "one zero sample": torch.cat([torch.zeros(1, 6, 3, 3), torch.rand(1, 6, 3, 3)]),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("pre_norm", NORMS)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_maps_have_finite_values_and_gradients(
    name: str, pre_norm: str, side: str
) -> None:
    features = DEGENERATE[name].clone().requires_grad_()
    root = isqrt_covariance(features, pre_norm=pre_norm, side=side)
    root.square().sum().backward()
    assert root.isfinite().all()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("name", ["zero", "one position"])
def test_maps_without_variance_give_zero_with_zero_gradient(name: str) -> None:
    features = DEGENERATE[name].clone().requires_grad_()
    root = isqrt_covariance(features)
    root.sum().backward()
    assert not root.any()
    assert not features.grad.any()


def test_input_is_not_modified_and_dtype_is_kept() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        features = random_map(2, 6, 3, 3).to(dtype)
        before = features.clone()
        assert isqrt_covariance(features).dtype == dtype
        assert_close(features, before, rtol=0, atol=0)


def test_autocast_computes_in_float32() -> None:
    features = random_map(2, 32, 4, 4, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        root = isqrt_covariance(features)
        half = isqrt_covariance(features.bfloat16())
    assert_close(root, isqrt_covariance(features), rtol=0, atol=0)
    assert_close(half.float(), root, **HALF)


def test_shifts_and_permuted_positions_change_nothing() -> None:
    features = random_map(2, 8, 3, 4)
    shuffled = features.flatten(2)[:, :, torch.randperm(12)].reshape(2, 8, 4, 3)
    assert_close(isqrt_covariance(features + 3), isqrt_covariance(features), **FLOAT64)
    assert_close(isqrt_covariance(shuffled), isqrt_covariance(features), **FLOAT64)


def test_result_scales_with_the_features() -> None:
    features = random_map(2, 8, 3, 4)
    assert_close(isqrt_covariance(3 * features), 3 * isqrt_covariance(features), **FLOAT64)


def test_the_smaller_side_is_chosen() -> None:
    assert cheaper_side(256, 49, num_iterations=5) == "positions"
    assert cheaper_side(64, 784, num_iterations=5) == "channels"


@pytest.mark.parametrize("shape", [(2, 16, 3, 3), (2, 6, 5, 5)], ids=str)
def test_compiles_without_a_graph_break(shape: tuple[int, ...]) -> None:
    compiled = torch.compile(isqrt_covariance, fullgraph=True, backend="aot_eager")
    features = random_map(*shape).requires_grad_()
    compiled(features).sum().backward()
    assert_close(compiled(features), isqrt_covariance(features), **FLOAT64)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(B, C, H, W\)"):
        isqrt_covariance(torch.zeros(2, 3, 4))
    with pytest.raises(UnknownVariantError, match="Did you mean 'trace'"):
        isqrt_covariance(torch.zeros(2, 3, 4, 4), pre_norm="trase")
    with pytest.raises(UnknownVariantError, match="no pre-norm named 'none'"):
        isqrt_covariance(torch.zeros(2, 3, 4, 4), pre_norm="none")
