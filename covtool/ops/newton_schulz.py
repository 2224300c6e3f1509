"""The Newton-Schulz iteration of iSQRT-COV, in few products, with a backward of its own.

From Y = A and Z = I, a step is P = (3I - ZY)/2, Y <- YP, Z <- PZ. All iterates are polynomials in
A: they are symmetric, they commute, and M = ZY drives the iteration alone, as M <- M P². Two steps
multiply Y and Z by one polynomial of degree 4, which takes two products in place of three,

    U(M) = P(M) P(M P²) = (R² - 8.625 M + 24.609375 I) / 16,   R = M² - 4.5 M + 3.375 I,

and M by U². Five steps are a single one and two pairs: 10 products in place of 12.

The derivative of such a function at a symmetric matrix is self-adjoint, so gradients are symmetric,
and a product with its transpose added costs one product: M dM + dM M for a square, and for the
first step, the cube M (M - 3I)²/4, two. That makes 13 products in place of autograd's 24.
"""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from covtool.errors import ArgumentError
from covtool.ops.precision import full_precision
from covtool.ops.python_backward import records_operations

Out = Iterator[Tensor | None]
"""Where the kept matrices are written, in their order; None for a new tensor."""

# U(M) = (R² + LINEAR M + CONSTANT I) / 16 with R = M² + INNER M + SHIFT I: (R - SHIFT I)² has the
# powers 4 and 3 of 16 U = M⁴ - 9 M³ + 27 M² - 39 M + 36, SHIFT adds the power 2.
INNER, SHIFT = -4.5, 3.375
LINEAR, CONSTANT = -8.625, 24.609375

CACHED_BYTES = 2**17
"""Matrices of so many bytes are iterated at a time by each thread of a CPU: the iterates stay in
its cache, and no two threads share a product."""


class _Pair(NamedTuple):
    """What two steps keep: the driving matrix, R, U, and the iterate before them, None for I."""

    M: Tensor
    R: Tensor
    U: Tensor
    W: Tensor | None


def newton_schulz_root(matrices: Tensor, *, num_iterations: int) -> Tensor:
    """Return the iterate Y after `num_iterations` steps from Y = `matrices`, Z = I: (B, C, C) each.

    `matrices` must be symmetric with eigenvalues in [0, 1]; nothing is scaled. Gradients are
    symmetric.

    Raises:
        ArgumentError: `num_iterations` is less than 1.
    """
    return _iterated(matrices, num_iterations, of_root=True)


def newton_schulz_inverse_root(matrices: Tensor, *, num_iterations: int) -> Tensor:
    """Return the iterate Z, which approaches the inverse root: like `newton_schulz_root`.

    It is a polynomial in `matrices`, with Y = `matrices` Z, so it stays finite for singular ones.

    Raises:
        ArgumentError: `num_iterations` is less than 1.
    """
    return _iterated(matrices, num_iterations, of_root=False)


def _iterated(matrices: Tensor, num_iterations: int, *, of_root: bool) -> Tensor:
    if num_iterations < 1:
        raise ArgumentError(f"num_iterations must be at least 1, but it is {num_iterations}.")
    # Operations that are recorded are differentiated by whoever plays them.
    if torch.is_grad_enabled() and matrices.requires_grad and not records_operations():
        result: Tensor = _NewtonSchulz.apply(matrices, num_iterations, of_root)[0]
        return result
    parts = [_steps(part, num_iterations, of_root)[0] for part in _cached_parts(matrices)]
    return _joined(parts)


def _steps(
    matrices: Tensor, num_iterations: int, of_root: bool, out: Out | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Return Y or Z, and the matrices that `_gradient` needs, in the order of `_pairs`."""
    # Buffers are written to inside of `_NewtonSchulz` alone, where nothing is differentiated.
    in_place = out is not None
    out = repeat(None) if out is None else out
    num_pairs, single = divmod(num_iterations, 2)
    M: Tensor = matrices
    W: Tensor | None = matrices if of_root else None
    kept: list[Tensor] = []
    if single:
        M, W = _first_step(matrices, of_root, num_pairs > 0, out)
        kept += [M, W]
    for left in reversed(range(num_pairs)):
        R = _plus_identity(
            torch.baddbmm(M, M, M, beta=INNER, out=next(out)), SHIFT, in_place=in_place
        )
        U = torch.baddbmm(M, R, R, beta=LINEAR / 16, alpha=1 / 16, out=next(out))
        U = _plus_identity(U, CONSTANT / 16, in_place=in_place)
        kept += [R, U]
        if not left:
            return (U.clone() if W is None else W @ U), kept
        if W is not None:
            kept.append(torch.bmm(W, U, out=next(out)))
        W = kept[-1]  # U itself where it is the first factor
        M = torch.bmm(U @ M, U, out=next(out))
        kept.append(M)
    assert W is not None  # one step, or it has returned
    return W, kept


def _first_step(matrices: Tensor, of_root: bool, goes_on: bool, out: Out) -> tuple[Tensor, Tensor]:
    """Return M (`matrices` itself where nothing follows) and Y or Z after one step."""
    if not of_root and not goes_on:
        return matrices, _plus_identity(-0.5 * matrices, 1.5, in_place=False)
    square = matrices @ matrices
    W = (
        1.5 * matrices - 0.5 * square
        if of_root
        else _plus_identity(-0.5 * matrices, 1.5, in_place=False)
    )
    if not goes_on:
        return matrices, W
    M = torch.baddbmm(2.25 * matrices - 1.5 * square, matrices, square, alpha=0.25, out=next(out))
    slot = next(out)
    return M, W if slot is None else slot.copy_(W)


def _pairs(
    matrices: Tensor, kept: Sequence[Tensor], num_iterations: int, of_root: bool
) -> list[_Pair]:
    """Sort what `_steps` has kept."""
    num_pairs, single = divmod(num_iterations, 2)
    given = iter(kept)
    M, W = (
        (next(given), next(given))
        if single and num_pairs
        else (matrices, matrices if of_root else None)
    )
    pairs = []
    for left in reversed(range(num_pairs)):
        R, U = next(given), next(given)
        pairs.append(_Pair(M, R, U, W))
        if left:
            W = U if W is None else next(given)
            M = next(given)
    return pairs


def _num_kept(num_iterations: int, of_root: bool) -> int:
    """Return how many matrices `_steps` keeps."""
    num_pairs, single = divmod(num_iterations, 2)
    if not num_pairs:
        return 0
    first_factor = not single and not of_root and num_pairs > 1
    return 2 * single + 4 * num_pairs - 2 - first_factor


def _gradient(
    matrices: Tensor, kept: Sequence[Tensor], grad: Tensor, num_iterations: int, of_root: bool
) -> Tensor:
    """Return the gradient of `matrices` for the symmetric gradient `grad` of the last Y or Z."""
    iterate_grad, driving_grad = grad, None
    for pair in reversed(_pairs(matrices, kept, num_iterations, of_root)):
        iterate_grad, driving_grad = _pair_gradient(pair, iterate_grad, driving_grad)
    if num_iterations % 2:
        return _first_gradient(matrices, iterate_grad, driving_grad, of_root)
    assert driving_grad is not None  # there was a pair
    return driving_grad + iterate_grad if of_root else driving_grad


def _pair_gradient(
    pair: _Pair, iterate_grad: Tensor, driving_grad: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the gradients of W and M before two steps from those after them, None for no M.

    All are symmetric: sums of halves that their transposes are added to.
    """
    M, R, U, W = pair
    half = 0.5 * iterate_grad if W is None else _product(W, iterate_grad, 0.5)
    if W is not None:
        iterate_grad = _symmetric(_product(U, iterate_grad, 0.5))
    turned = None
    if driving_grad is not None:
        turned = U @ driving_grad
        half = torch.baddbmm(half, M, turned)
    factor_grad = _symmetric(half)
    square_grad = _symmetric(_product(R, factor_grad, 1 / 16))
    half = torch.baddbmm(square_grad, M, square_grad, beta=INNER / 2)
    half = half.add(factor_grad, alpha=LINEAR / 32)
    if turned is not None:
        half = torch.baddbmm(half, turned, U, alpha=0.5)
    return iterate_grad, _symmetric(half)


def _first_gradient(
    matrices: Tensor, iterate_grad: Tensor, driving_grad: Tensor | None, of_root: bool
) -> Tensor:
    half = -0.25 * iterate_grad
    if of_root:
        half = torch.baddbmm(iterate_grad, matrices, iterate_grad, beta=0.75, alpha=-0.5)
    if driving_grad is not None:
        # M = B A B / 4 with B = A - 3I: the three terms of its derivative come from two products.
        turned = torch.baddbmm(driving_grad, matrices, driving_grad, beta=-0.75, alpha=0.25)
        both = turned.add(turned.mT, alpha=0.5)
        half = torch.baddbmm(half, matrices, both).add(turned - both, alpha=3)
    return _symmetric(half)


class _NewtonSchulz(torch.autograd.Function):
    """(A, steps, whether Y or Z) -> the iterate, and what is kept for the gradient."""

    @staticmethod
    def forward(matrices: Tensor, num_iterations: int, of_root: bool) -> tuple[Tensor, ...]:
        kept = [torch.empty_like(matrices) for _ in range(_num_kept(num_iterations, of_root))]
        parts = zip(*map(_cached_parts, (matrices, *kept)), strict=True)
        iterates = [_steps(a, num_iterations, of_root, iter(out))[0] for a, *out in parts]
        return (_joined(iterates), *kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        matrices, ctx.num_iterations, ctx.of_root = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(matrices, *output[1:])
        ctx.save_for_forward(matrices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, None, None]:
        if grad is None:
            return None, None, None
        matrices, *kept = ctx.saved_tensors
        with full_precision(matrices):  # a backward pass may be called where autocast is on
            symmetric = (grad + grad.mT) / 2
            if torch.is_grad_enabled() or unpack_dual(matrices).tangent is not None:
                # It will be differentiated again, and to autograd what is kept is constant.
                return _derivative(matrices, symmetric, ctx), None, None
            parts = zip(*map(_cached_parts, (symmetric, matrices, *kept)), strict=True)
            gradients = [_gradient(a, k, g, ctx.num_iterations, ctx.of_root) for g, a, *k in parts]
        return _joined(gradients), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        # The derivative is its own adjoint.
        (matrices,) = ctx.saved_tensors
        change = _derivative(matrices, (tangent + tangent.mT) / 2, ctx)
        return change, *(None for _ in range(_num_kept(ctx.num_iterations, ctx.of_root)))

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        matrices: Tensor,
        num_iterations: int,
        of_root: bool,
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        # It has a dimension to map over: there is no other tensor that could have one.
        dim = in_dims[0]
        assert dim is not None
        whole = matrices.movedim(dim, 0)
        outputs: tuple[Tensor, ...]
        outputs = _NewtonSchulz.apply(whole.flatten(0, 1), num_iterations, of_root)
        stacked: tuple[Tensor, ...] = tuple(o.unflatten(0, whole.shape[:2]) for o in outputs)
        return stacked, (0,) * len(outputs)


def _derivative(matrices: Tensor, direction: Tensor, ctx: Any) -> Tensor:
    """Return the derivative in a symmetric direction by operations that can be differentiated."""
    kept = _steps(matrices, ctx.num_iterations, ctx.of_root)[1]
    return _gradient(matrices, kept, direction, ctx.num_iterations, ctx.of_root)


def _cached_parts(matrices: Tensor) -> tuple[Tensor, ...]:
    """Split a batch so that what a thread has of a few such parts fits into its cache."""
    if matrices.device.type != "cpu" or records_operations():
        return (matrices,)
    num_bytes = matrices.shape[-1] ** 2 * matrices.element_size()
    of_a_thread = max(1, CACHED_BYTES // max(1, num_bytes))
    parts: tuple[Tensor, ...] = matrices.split(of_a_thread * torch.get_num_threads())
    return parts


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def _product(left: Tensor, right: Tensor, factor: float) -> Tensor:
    # `beta` 0: the first argument is not read.
    return torch.baddbmm(right, left, right, beta=0, alpha=factor)


def _symmetric(half: Tensor) -> Tensor:
    return half + half.mT


def _plus_identity(matrices: Tensor, multiple: float, *, in_place: bool) -> Tensor:
    """Return `matrices` plus a multiple of the identity; in place where no derivative is taken."""
    if in_place:
        matrices.diagonal(dim1=-2, dim2=-1).add_(multiple)
        return matrices
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    return matrices + multiple * identity
