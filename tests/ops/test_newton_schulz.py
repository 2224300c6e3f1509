"""Fewer products and a backward of its own, and still the published iteration."""

import pytest
import torch
from tolerances import FLOAT32_CHAIN, FLOAT64
from torch import Tensor
from torch.autograd import forward_ad
from torch.testing import assert_close

from covtool.errors import ArgumentError
from covtool.ops import newton_schulz
from covtool.ops.newton_schulz import newton_schulz_inverse_root, newton_schulz_root

STEPS = [1, 2, 3, 4, 5, 6, 7]
FORMS = [newton_schulz_root, newton_schulz_inverse_root]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
every_number = pytest.mark.parametrize("num_iterations", STEPS)


def unit_trace(size: int = 5, batch: int = 3, rank: int = 4) -> Tensor:
    """Positive semi-definite matrices of trace 1, one of them of rank 1, one of them zero."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(batch, size, rank, dtype=torch.float64, generator=generator)
    factor[1, :, 1:] = 0
    factor[2] = 0
    matrices = factor @ factor.mT
    trace = matrices.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]
    return matrices / torch.where(trace > 0, trace, torch.ones_like(trace))


def published(matrices: Tensor, num_iterations: int) -> tuple[Tensor, Tensor]:
    """Y and Z as the paper writes them, three products a step."""
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype)
    root, inverse_root = matrices, identity.expand_as(matrices)
    for _ in range(num_iterations):
        step = (3 * identity - inverse_root @ root) / 2
        root, inverse_root = root @ step, step @ inverse_root
    return root, inverse_root


def expected(form: object, matrices: Tensor, num_iterations: int) -> Tensor:
    return published(matrices, num_iterations)[FORMS.index(form)]


def symmetric_gradient(result: Tensor, matrices: Tensor) -> Tensor:
    weights = torch.linspace(-1, 2, result.numel(), dtype=result.dtype).reshape(result.shape)
    (grad,) = torch.autograd.grad((result * weights).sum(), matrices)
    return (grad + grad.mT) / 2


@every_form
@every_number
def test_iterates_and_gradients_are_the_published_ones(form: object, num_iterations: int) -> None:
    matrices = unit_trace().requires_grad_()
    got, wanted = (
        form(matrices, num_iterations=num_iterations),
        expected(form, matrices, num_iterations),
    )
    assert_close(got, wanted, **FLOAT64)
    gradient = symmetric_gradient(got, matrices)
    assert_close(gradient, symmetric_gradient(wanted, matrices), **FLOAT64)
    assert_close(form(matrices.detach(), num_iterations=num_iterations), got.detach(), **FLOAT64)


@every_form
@every_number
def test_second_derivatives_agree_with_finite_differences(
    form: object, num_iterations: int
) -> None:
    factor = torch.linspace(-0.5, 0.6, 12, dtype=torch.float64).reshape(2, 3, 2).cos() / 3

    def function(x: Tensor) -> Tensor:
        return form(x @ x.mT, num_iterations=num_iterations)

    assert torch.autograd.gradcheck(function, factor.requires_grad_())
    assert torch.autograd.gradgradcheck(function, factor)


@every_form
@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch's own, in forward mode
@pytest.mark.parametrize("num_iterations", [1, 4, 5])
def test_transforms_of_functions_see_the_same_function(form: object, num_iterations: int) -> None:
    matrices = unit_trace()
    stacked = torch.stack([matrices, matrices.flip(0)])

    def total(x: Tensor) -> Tensor:
        return form(x, num_iterations=num_iterations).square().sum()

    leaf = stacked.flatten(0, 1).requires_grad_()
    (wanted,) = torch.autograd.grad(total(leaf), leaf)
    got = torch.func.vmap(torch.func.grad(total))(stacked)
    assert_close(got.flatten(0, 1), wanted, **FLOAT64)
    batched = torch.func.vmap(lambda x: form(x, num_iterations=num_iterations))(
        stacked.clone().requires_grad_()
    )
    batched.square().sum().backward()
    assert_close(batched[1], batched[0].flip(0), **FLOAT64)
    tangent = torch.func.jvp(total, (matrices,), (matrices,))[1]
    assert_close(tangent, (wanted[:3] * matrices).sum(), **FLOAT64)


@every_form
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_second_derivatives_are_the_same_in_every_order_of_modes(form: object) -> None:
    func = torch.func
    matrices = unit_trace(size=2, rank=2)[:1].requires_grad_()

    def cubes(x: Tensor) -> Tensor:
        return form((x + x.mT) / 2, num_iterations=5).pow(3).sum()

    wanted = torch.autograd.functional.hessian(cubes, matrices)
    for outer in (func.jacfwd, func.jacrev):
        for inner in (func.jacfwd, func.jacrev):
            assert_close(outer(inner(cubes))(matrices), wanted, **FLOAT64)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(matrices, torch.ones_like(matrices))
        (grad,) = torch.autograd.grad(cubes(dual), matrices)
        tangent = forward_ad.unpack_dual(grad).tangent
    assert_close(tangent, wanted.sum(dim=(-3, -2, -1)), **FLOAT64)


@every_form
def test_parts_of_a_batch_are_iterated_apart(form: object, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = []
    for num_bytes in (1, 2 * 25 * 8, 2**20):
        monkeypatch.setattr(newton_schulz, "CACHED_BYTES", num_bytes)
        matrices = unit_trace().requires_grad_()
        root = form(matrices, num_iterations=5)
        outcomes.append((root, symmetric_gradient(root, matrices)))
    for other in outcomes[1:]:
        assert_close(other, outcomes[0], **FLOAT64)


@every_form
def test_float32_is_no_further_from_float64_than_the_published_form(form: object) -> None:
    matrices = unit_trace(size=24, rank=30)
    wanted = expected(form, matrices, 5)
    errors = [
        (root.double() - wanted).norm()
        for root in (form(matrices.float(), num_iterations=5), expected(form, matrices.float(), 5))
    ]
    assert errors[0] <= 1.2 * errors[1]


@every_form
@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::torch.jit.TracerWarning")
def test_compiled_and_traced_forms_are_the_same_function(form: object) -> None:
    matrices = unit_trace().float()
    wanted = form(matrices, num_iterations=5)

    def function(x: Tensor) -> Tensor:
        return form(x, num_iterations=5)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_close(compiled(matrices.requires_grad_()), wanted, **FLOAT32_CHAIN)
    traced = torch.jit.trace(function, matrices)
    assert_close(traced(matrices), wanted, **FLOAT32_CHAIN)


@every_form
def test_an_empty_batch_stays_empty(form: object) -> None:
    matrices = torch.zeros(0, 3, 3, requires_grad=True)
    root = form(matrices, num_iterations=5)
    root.sum().backward()
    assert root.shape == matrices.grad.shape == (0, 3, 3)


@every_form
def test_no_steps_are_refused(form: object) -> None:
    with pytest.raises(ArgumentError, match="at least 1, but it is 0"):
        form(unit_trace(), num_iterations=0)
