"""Symmetric products of a factor: X' X, and the upper triangle of X Q X' without the matrix.

A symmetric gradient needs one product where autograd, which knows of no symmetry, takes two. The
triangle of X Q X' is computed a few rows of a few samples at a time, and so is its gradient: the
matrices themselves, twice the triangle's size and again as much for their gradient, are never there
as a whole.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from covtool.ops.covariance import triu_vec
from covtool.ops.precision import full_precision
from covtool.ops.python_backward import differentiates_in_python, records_operations

TILE_BYTES, DEVICE_TILE_BYTES = 2**18, 2**27
"""Size of what is there at a time: for each thread of a CPU, part of its cache; on a device, for
few large products."""

TILE_ROWS = 128
"""Rows of the matrix at a time: half of 256, so that a quarter of it is not computed."""


def gram(factor: Tensor) -> Tensor:
    """Return X' X of X, shape (B, C, N), as (B, N, N); the gradient takes one product."""
    if records_operations():
        return factor.mT @ factor
    product: Tensor = _Gram.apply(factor)
    return product


def congruence_triangle(factor: Tensor, middle: Tensor) -> Tensor:
    """Return the upper triangle, diagonal included, row by row, of X Q X'.

    Equals ``triu_vec(factor @ middle @ factor.mT)``.

    Args:
        factor: X, shape (B, C, N). Not modified.
        middle: Q, shape (B, N, N), symmetric. Not modified; its gradient is symmetric.

    Returns:
        Shape (B, C*(C+1)/2).
    """
    if records_operations():
        return triu_vec(factor @ middle @ factor.mT)
    triangle: Tensor = _Triangle.apply(factor, middle)
    return triangle


class _Gram(torch.autograd.Function):
    """X -> X' X."""

    generate_vmap_rule = True

    @staticmethod
    def forward(factor: Tensor) -> Tensor:
        return factor.mT @ factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        factor: Tensor = ctx.saved_tensors[0]
        with full_precision(factor):  # a backward pass may be called where autocast is on
            return factor @ (grad + grad.mT)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        factor: Tensor = ctx.saved_tensors[0]
        half = factor.mT @ tangent
        return half + half.mT


class _Triangle(torch.autograd.Function):
    """(X, Q) -> triangle of X Q X'."""

    @staticmethod
    def forward(factor: Tensor, middle: Tensor) -> Tensor:
        batch, size = factor.shape[:2]
        triangle = factor.new_empty(batch, size * (size + 1) // 2)
        start = 0
        for rows, samples in _tiles(factor, most_rows=TILE_ROWS):
            # The triangle of these rows: their columns from the first of them on.
            left, right = torch.triu_indices(
                rows.stop - rows.start, size - rows.start, device=factor.device
            )
            index = left * (size - rows.start) + right
            for some in samples:
                X = factor[some]
                block = (X[:, rows] @ middle[some]) @ X[:, rows.start :].mT
                triangle[some, start : start + len(index)] = block.flatten(1).index_select(1, index)
            start += len(index)
        return triangle

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        factor, middle = ctx.saved_tensors
        with full_precision(factor):
            # It will be differentiated again, or for many gradients at once (`is_grads_batched`).
            is_batched = torch._C._functorch.is_legacy_batchedtensor(grad)
            if torch.is_grad_enabled() or is_batched or not differentiates_in_python():
                rows = slice(0, factor.shape[1])
                places = _places(rows, rows.stop, factor.device)
                turned = _rows_of_gradient(grad, rows, places) @ factor
                return turned @ middle, factor.mT @ turned / 2
            factor_grad, middle_grad = torch.empty_like(factor), torch.zeros_like(middle)
            for rows, samples in _tiles(factor, most_rows=factor.shape[1]):
                places = _places(rows, factor.shape[1], factor.device)
                for some in samples:
                    X = factor[some]
                    turned = _rows_of_gradient(grad[some], rows, places) @ X
                    torch.bmm(turned, middle[some], out=factor_grad[some, rows])
                    middle_grad[some].baddbmm_(X[:, rows].mT, turned, alpha=0.5)
        return factor_grad, middle_grad

    @staticmethod
    def jvp(ctx: Any, factor_tangent: Tensor, middle_tangent: Tensor) -> Tensor:
        factor, middle = ctx.saved_tensors
        half = factor_tangent @ middle + factor @ middle_tangent / 2
        whole = half @ factor.mT
        return triu_vec(whole + whole.mT)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], factor: Tensor, middle: Tensor
    ) -> tuple[Tensor, int]:
        given = [
            t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip((factor, middle), in_dims, strict=True)
        ]
        triangle = _Triangle.apply(*(t.flatten(0, 1) for t in given))
        return triangle.unflatten(0, given[0].shape[:2]), 0


def _tiles(factor: Tensor, *, most_rows: int) -> Iterator[tuple[slice, list[slice]]]:
    """Yield blocks of rows, and for each the parts of the batch."""
    batch, size = factor.shape[:2]
    on_cpu = factor.device.type == "cpu"
    num_bytes = TILE_BYTES * torch.get_num_threads() if on_cpu else DEVICE_TILE_BYTES
    row_bytes = max(1, size) * factor.element_size()
    num_rows = max(1, min(most_rows, num_bytes // row_bytes))
    count = max(1, num_bytes // (num_rows * row_bytes))
    samples = [slice(s, min(s + count, batch)) for s in range(0, batch, count)]
    for start in range(0, size, num_rows):
        yield slice(start, min(start + num_rows, size)), samples


def _places(rows: slice, size: int, device: torch.device) -> Tensor:
    """Return where in the triangle the entries of these rows of a matrix are, (rows, size)."""
    index = torch.arange(size, dtype=torch.int32, device=device)
    # Before row r of the triangle are r rows of size, size - 1, ... numbers; it starts at column r.
    first = index * (size - 1) - index * (index - 1) // 2
    # Below the diagonal is what is above it. The starts ascend: the smaller is the upper row's.
    places = torch.maximum(index[rows, None], index)
    return places.add_(torch.minimum(first[rows, None], first))


def _rows_of_gradient(grad: Tensor, rows: slice, places: Tensor) -> Tensor:
    """Return rows of G + G', for the gradient G of the upper triangle, (B, rows, size)."""
    block = grad.index_select(1, places.flatten()).reshape(-1, *places.shape)
    block.diagonal(offset=rows.start, dim1=1, dim2=2).mul_(2)
    return block
