"""Heads that need a solver, and Newton-Schulz iterations in their place.

Runtimes of ONNX have no eigendecomposition and no solver of linear systems. What a head needs is
seen by running it; what may take its place follows from the function that it pools by.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from covtool.errors import ArgumentError, SurgeryError
from covtool.layers.covariance_pooling import CovariancePooling, MatrixFunction
from covtool.layers.global_pooling import GlobalPooling
from covtool.ops import second_order
from covtool.ops.isqrt import gram_sqrt_newton_schulz, isqrt_covariance
from covtool.ops.matrix_sqrt import one_where_zero, root_of_scale

SOLVERS = ("eigh", "eig", "svd", "solve", "lu", "inv", "cholesky", "qr", "lstsq")
"""Parts of the names of torch's operations that no ONNX operator computes."""

SQUARINGS = 12
"""Squarings that single out the largest eigenvalue: the next one enters by its 4096th power."""

HALVINGS = 24
"""Halvings of the exponent before the series of exp - 1, doubled back without loss."""

_IS_NORM = ("vector_norm", "matrix_norm")


class _Operations(TorchDispatchMode):
    """Keeps the names of the operations of linear algebra that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None):
        name = str(operation).removeprefix("aten.").partition(".")[0]
        if "linalg" in name and not name.endswith(_IS_NORM):
            self.names.append(name)
        return operation(*args, **(kwargs or {}))


def solver_of(pooling: GlobalPooling) -> str | None:
    """Return the name of the solver that a pooling layer needs; None where it needs none."""
    parameter = next(pooling.parameters(), torch.empty(0))
    size = (1, pooling.reduced_features, 2, 2)
    features = torch.linspace(0, 1, 4 * size[1], dtype=parameter.dtype).reshape(size)
    with torch.no_grad(), _Operations() as ran:
        pooling.pool(features.to(parameter.device))
    return next((n for n in ran.names if any(part in n for part in SOLVERS)), None)


def solvers_in(model: nn.Module) -> dict[str, str]:
    """Return the solver of each pooling layer that needs one, by the layer's path."""
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, GlobalPooling) and (solver := solver_of(module)) is not None:
            found[path] = f"torch.linalg.{solver.removeprefix('_').removeprefix('linalg_')}"
    return found


def without_solvers(
    model: nn.Module, paths: Mapping[str, str], iterations: int
) -> tuple[nn.Module, dict[str, str]]:
    """Return a copy of a model that iterates where it called a solver, and what was replaced.

    Args:
        model: Model in eval mode; left as it is.
        paths: Pooling layers to change, see `solvers_in`.
        iterations: Newton-Schulz steps.

    Raises:
        SurgeryError: A layer has no Newton-Schulz form; it says why.
    """
    changed, replaced = deepcopy(model), {}
    for path in paths:
        pooling = changed.get_submodule(path)
        function, form = newton_schulz_form(pooling, iterations, path)
        pooling.matrix = form
        replaced[path] = function
    return changed, replaced


def newton_schulz_form(
    pooling: nn.Module, iterations: int, path: str = "The head"
) -> tuple[str, MatrixFunction]:
    """Return the name of what a layer pools by, and the same by Newton-Schulz iterations.

    Raises:
        SurgeryError: There is no such form; it says why.
    """
    function, settings = _unwrapped(getattr(pooling, "matrix", None))
    name = getattr(function, "__name__", type(pooling).__name__)
    if not isinstance(pooling, CovariancePooling) or function not in FORMS:
        raise SurgeryError(
            f"{path} computes {name}, which has no Newton-Schulz form.",
            reason="The iteration approaches a square root, and this is another function.",
            hint="Export as .pt2, which keeps the solver, or train another head: isqrt.",
        )
    return name, FORMS[function](iterations, settings, path)


def _unwrapped(function: Any) -> tuple[Any, dict[str, Any]]:
    """Return the function inside of partials and precisions, and the settings that it gets."""
    settings: dict[str, Any] = {}
    while isinstance(function, partial):
        settings = {**function.keywords, **settings}
        is_precision = function.func is second_order.computed_in
        function = settings.pop("matrix") if is_precision else function.func
    return function, settings


def _power(iterations: int, settings: dict[str, Any], path: str) -> MatrixFunction:
    alpha = settings.get("alpha", 0.5)
    if alpha != 0.5:
        raise SurgeryError(
            f"{path} takes the covariance to the power {alpha:g}, which has no Newton-Schulz form.",
            reason="The iteration approaches the power 0.5, the square root.",
            hint="Export as .pt2, which keeps the solver, or train with --alpha 0.5.",
        )
    root = partial(isqrt_covariance, num_iterations=iterations)
    normalize, _ = _unwrapped(settings.get("normalize"))
    if normalize is None:
        return root
    norms: dict[Any, Callable[[Tensor, Tensor], Tensor]] = {
        second_order.by_frobenius_norm: _over_frobenius_norm,
        second_order.by_spectral_norm: _over_spectral_norm,
    }
    return partial(_normalized, root=root, by=norms[normalize])


def _normalized(
    features: Tensor, *, root: MatrixFunction, by: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    return by(root(features), smaller_gram(second_order.covariance_factor(features)))


def _over_frobenius_norm(root: Tensor, _: Tensor) -> Tensor:
    return root / one_where_zero(root_of_scale(root.square().sum(dim=(-2, -1), keepdim=True)))


def _over_spectral_norm(root: Tensor, gram: Tensor) -> Tensor:
    return root / one_where_zero(root_of_scale(largest_eigenvalue(gram)))


def smaller_gram(factor: Tensor) -> Tensor:
    """Return A A' or A' A, whichever is smaller: both have the same eigenvalues but for zeros."""
    return factor @ factor.mT if factor.shape[1] <= factor.shape[2] else factor.mT @ factor


def largest_eigenvalue(gram: Tensor) -> Tensor:
    """Return the largest eigenvalue of positive semi-definite matrices (B, n, n), as (B, 1, 1).

    By squaring: the eigenvectors of the largest eigenvalue are all that is left of a high power.
    """
    projection = gram / one_where_zero(_trace(gram))
    for _ in range(SQUARINGS):
        squared = projection @ projection
        projection = squared / one_where_zero(_trace(squared))
    # The trace of the projected matrix over that of the projection, which is 1, or 0 for zeros.
    return (projection * gram).sum(dim=(-2, -1), keepdim=True)


def _scaled(iterations: int, _: dict[str, Any], __: str) -> MatrixFunction:
    return partial(_scaled_root, num_iterations=iterations)


def _scaled_root(features: Tensor, *, num_iterations: int) -> Tensor:
    root = isqrt_covariance(features, num_iterations=num_iterations)
    squares = damped_trace(smaller_gram(second_order.covariance_factor(features)))
    return root * (1 + root_of_scale(squares.clamp_min(0)))


def damped_trace(gram: Tensor) -> Tensor:
    """Return the trace of Σ exp(-2Σ) of positive semi-definite matrices (B, n, n), as (B, 1, 1).

    Of exp(-2Σ) - I, not of the exponential itself: near the identity nothing is rounded away.
    """
    small = gram * (-2 / 2**HALVINGS)
    excess = small + small @ small / 2
    for _ in range(HALVINGS):
        excess = 2 * excess + excess @ excess
    return _trace(gram) + (excess * gram).sum(dim=(-2, -1), keepdim=True)


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]


def _gaussian(iterations: int, _: dict[str, Any], __: str) -> MatrixFunction:
    return partial(_gaussian_root, num_iterations=iterations)


def _gaussian_root(features: Tensor, *, num_iterations: int) -> Tensor:
    flat = features.flatten(2)
    extended = torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1)
    return gram_sqrt_newton_schulz(extended / flat.shape[-1] ** 0.5, num_iterations=num_iterations)


def _root(iterations: int, _: dict[str, Any], __: str) -> MatrixFunction:
    return partial(isqrt_covariance, num_iterations=iterations)


Form = Callable[[int, dict[str, Any], str], MatrixFunction]

FORMS: dict[Any, Form] = {
    second_order.power_covariance: _power,
    second_order.scaled_root_covariance: _scaled,
    second_order.gaussian_embedding: _gaussian,
    second_order.pade_root_covariance: _root,
}
"""Newton-Schulz forms of the functions that need a solver, from steps, settings and a path."""


def require_iterations(root: str | None, iterations: int | None) -> None:
    """Refuse steps of an iteration that is not asked for, or none.

    Raises:
        ArgumentError: They are.
    """
    if iterations is None:
        return
    if root is None:
        raise ArgumentError(
            "--iterations has no effect without --root newton-schulz.",
            hint="Add it, or leave --iterations out: a file says its own steps.",
        )
    if not 1 <= iterations <= 100:
        raise ArgumentError(f"--iterations {iterations} is not valid: it should be 1 to 100.")
