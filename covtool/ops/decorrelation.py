"""Decorrelating the weight vectors of a linear layer (SVDNet).

A weight is laid out as `nn.Linear` has it, (out_features, in_features): its rows are the paper's
columns w_i, and W = USVᵀ there is V S Uᵀ here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.precision import in_float64
from covtool.registry import Registry

RANK_TOLERANCE = 1e-6  # of the largest singular value: smaller ones are rounding
BLOCK = 2048  # rows of a Gram matrix at a time


def correlation(weight: Tensor) -> Tensor:
    """Return S(W): from 1/k, where all weight vectors are equal, to 1, where they are orthogonal.

    Args:
        weight: (k, in_features).

    Returns:
        The sum of the diagonal of the Gram matrix over the sum of all its absolute values, a
        float64 scalar; 1 where all is zero, for zeros are orthogonal; NaN where a weight is.

    Raises:
        ShapeError: `weight` is not a matrix.

    Source:
        Sun, Zheng, Deng, Wang. "SVDNet for Pedestrian Retrieval", ICCV 2017, equation 6.

    Example:
        >>> correlation(torch.eye(3)).item(), correlation(torch.ones(4, 3)).item()
        (1.0, 0.25)
    """
    _require_matrix(weight)
    exact = in_float64(weight.detach())
    blocks = exact.split(BLOCK)  # the Gram matrix of a classifier of many classes is large
    # Sum of |g_ij|, block by block: the sum of g_ii is the sum of squares of W.
    total = torch.stack([(block @ exact.mT).abs().sum() for block in blocks]).sum()
    return torch.ones_like(total) if total == 0 else exact.square().sum() / total


def smallest_eigenvalue_ratio(weight: Tensor) -> Tensor:
    """Return a measure of the most correlated vectors: 1 if orthogonal, 0 where two are equal.

    Args:
        weight: (k, in_features).

    Returns:
        The smallest eigenvalue of the Gram matrix over its smallest diagonal element, a float64
        scalar; 1 where a vector is zero, which is orthogonal to all others; NaN where a weight is
        not finite.

    Raises:
        ShapeError: `weight` is not a matrix.

    Source:
        The code of the authors of SVDNet.
    """
    _require_matrix(weight)
    exact = in_float64(weight.detach())
    gram = exact @ exact.mT
    shortest = gram.diagonal().amin()
    # LAPACK raises, or does not return, where a number is not finite.
    if not gram.isfinite().all():
        return torch.full_like(shortest, torch.nan)
    # A zero vector is orthogonal to all others; dividing by its length would give NaN.
    if shortest <= 0:
        return torch.ones_like(shortest)
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram)
    return (eigenvalues[0] / shortest).clamp_min(0)


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A row of the table of decompositions.

    Attributes:
        name: Value of ``--decomposition``.
        summary: Matrix that replaces W, in the paper's letters, and properties that it keeps.
        source: Publication that it comes from.
        keeps_distances: Whether all distances between embeddings stay.
        orthogonal: Function from a weight (k, in_features) in float64 to one with orthogonal rows.
    """

    name: str
    summary: str
    source: str
    keeps_distances: bool
    orthogonal: Callable[[Tensor], Tensor]


def _svd(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    return left, values, right


def _us(weight: Tensor) -> Tensor:
    # The paper writes W as columns and US; here vectors are rows, so that it is S times the right.
    _, values, right = _svd(weight)
    return values[:, None] * right


def _u(weight: Tensor) -> Tensor:
    return _svd(weight)[2]


def _uv(weight: Tensor) -> Tensor:
    left, _, right = _svd(weight)
    return left @ right


def _qr(weight: Tensor) -> Tensor:
    factors: tuple[Tensor, Tensor] = torch.linalg.qr(weight.mT)
    q, r = factors
    return (q * r.diagonal()).mT


_PAPER = "Sun et al., ICCV 2017"

DECOMPOSITIONS = Registry(
    "decomposition",
    (
        Decomposition("us", "US = WV: keeps every distance between embeddings.", _PAPER, True, _us),
        Decomposition("u", "U: keeps the space, not the lengths in it.", _PAPER, False, _u),
        Decomposition("uv", "UVᵀ: the orthonormal matrix nearest to W.", _PAPER, False, _uv),
        Decomposition("qr", "QD of W = QR, D the diagonal of R.", _PAPER, False, _qr),
    ),
)


@torch.no_grad()
def decorrelate(weight: Tensor, *, decomposition: str = "us") -> Tensor:
    """Return a weight with orthogonal rows in the place of `weight`.

    Args:
        weight: (k, in_features); of any rank. More rows than columns leave rows of zeros.
        decomposition: A name in `DECOMPOSITIONS`. ``us`` turns the embeddings, all others change
            their lengths as well.

    Returns:
        (k, in_features), in the dtype of `weight`; computed in float64. The rows are in the order
        of the decomposition: see `match_rows`.

    Raises:
        ShapeError: `weight` is not a matrix.
        UnknownVariantError: There is no such decomposition.

    Source:
        Sun, Zheng, Deng, Wang. "SVDNet for Pedestrian Retrieval", ICCV 2017, section 3.

    Example:
        >>> weight = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> round(correlation(decorrelate(weight)).item(), 6)
        1.0
    """
    row = DECOMPOSITIONS[decomposition]
    _require_matrix(weight)
    # In float64: vectors orthogonal up to float32's rounding would give S(W) below 1.
    orthogonal = row.orthogonal(in_float64(weight))
    rows = orthogonal.new_zeros(weight.shape)
    # An SVD has min(k, in_features) vectors; there may be fewer than rows. The others are zero.
    rows[: len(orthogonal)] = orthogonal[: len(rows)]
    if decomposition == "uv" and len(weight) > weight.shape[1]:
        raise ShapeError(
            f"{len(weight)} vectors of {weight.shape[1]} numbers cannot be orthonormal.",
            hint="Use the decomposition us.",
        )
    return rows.to(weight)


@torch.no_grad()
def match_rows(rows: Tensor, old: Tensor, *, optimal: bool = False) -> Tensor:
    """Bring rows into the order and the sign of old ones: each takes the place of one near to it.

    Args:
        rows: (k, in_features), in any order and of either sign.
        old: (k, in_features).
        optimal: Whether to take the assignment with the largest sum of absolute cosines, by
            scipy; else, as published, each old row in turn takes the nearest that is left.

    Returns:
        The same rows, permuted and with the sign that makes their product with the old row
        positive.

    Raises:
        ShapeError: `rows` and `old` differ in shape.
        ArgumentError: `optimal` without scipy.
    """
    if rows.shape != old.shape:
        raise ShapeError.expected("old", f"{tuple(rows.shape)}", old)
    cosines = _unit(in_float64(old)) @ _unit(in_float64(rows)).mT
    order = _optimal(cosines.abs()) if optimal else _greedy(cosines.abs())
    signs = cosines.gather(1, order[:, None]).sign()
    # sign(0) would wipe out a vector that is orthogonal to the old one.
    signs[signs == 0] = 1
    return rows[order.to(rows.device)] * signs.to(rows)


@torch.no_grad()
def fold_classifier(classifier: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Return the classifier that answers on the new embeddings as the old one did on the old ones.

    With W <- US it is C <- CV, row for row. Exact for any `new` with orthogonal rows that span what
    the rows of `old` span.

    Args:
        classifier: C, (num_classes, k).
        old: The weight that it was trained behind, (k, in_features).
        new: Weight with orthogonal rows, (k, in_features).

    Returns:
        (num_classes, k), in the dtype of `classifier`; columns at rows of zeros are zero.
    """
    exact = in_float64(new)
    lengths = exact.square().sum(1)
    # Zero rows, which a W of lower rank leaves, carry nothing over to the classifier.
    needed = lengths > RANK_TOLERANCE**2 * lengths.amax()
    inverse = torch.where(needed, 1 / lengths.where(needed, torch.ones_like(lengths)), 0.0)
    turned = in_float64(old) @ exact.mT * inverse
    return (in_float64(classifier) @ turned).to(classifier)


def require_scipy() -> None:
    """Refuse the optimal assignment where it cannot be computed.

    Raises:
        ArgumentError: scipy is not installed.
    """
    if find_spec("scipy") is None:
        raise ArgumentError(
            "The optimal assignment needs scipy, which is not installed.",
            hint="Install it: pip install 'covtool[scipy]', or use --assignment greedy.",
        )


def _greedy(closeness: Tensor) -> Tensor:
    left = closeness.clone()
    order = []
    for row in left:
        nearest = int(row.argmax())
        order.append(nearest)
        # Each new vector is taken once; no closeness is below 0.
        left[:, nearest] = -1.0
    return torch.tensor(order, device=closeness.device)


def _optimal(closeness: Tensor) -> Tensor:
    require_scipy()
    # Imported here: scipy is optional, and slow to import.
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(closeness.cpu().numpy(), maximize=True)
    return torch.as_tensor(columns, device=closeness.device)


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def _require_matrix(weight: Tensor) -> None:
    if weight.ndim != 2:
        raise ShapeError.expected("weight", "(out_features, in_features)", weight)
