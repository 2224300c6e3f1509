"""Weights stored in parts: weight norm, spectral norm and pruning, folded into plain weights."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from covtool.checkpoints.code_bases.code_base import Tensors
from covtool.checkpoints.code_bases.misfits import read_or_none

_PARAMETRIZED = ".parametrizations."


def fold_reparametrizations(tensors: Tensors) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """Fold weight norm, spectral norm and pruning masks into weights, as they are in evaluation.

    Both ways of torch are known: ``weight_g`` and ``weight_v``, ``weight_orig`` with ``weight_u``
    and ``weight_v``, and ``parametrizations.weight``; ``weight_orig`` with ``weight_mask``.

    Returns:
        The tensors, each folded one in the place of its first part; the very mapping that was
        given, where there is nothing to fold. And a note for each kind.

    Source:
        Salimans, Kingma. "Weight Normalization", NIPS 2016. Miyato, Kataoka, Koyama, Yoshida.
        "Spectral Normalization for Generative Adversarial Networks", ICLR 2018.
    """
    folded: dict[str, tuple[str, Tensor]] = {}  # first part: name and weight
    parts: set[str] = set()
    counts = dict.fromkeys((kind for kind, _, _ in _KINDS), 0)
    for name in tensors:
        for kind, find, fold in _KINDS:
            found = find(name)
            if found is None or not all(part in tensors for part in found[1:]):
                continue
            whole, *own = found
            weight = read_or_none(lambda f=fold, o=own: f(*(tensors[part] for part in o)))
            # Names alone are no proof: the shapes of the parts do not fit each other.
            if weight is None:
                continue
            folded[own[0]] = whole, weight
            parts.update(own)
            counts[kind] += 1
            break
    if not folded:
        return tensors, ()
    # In their order: networks of other names are recognized by the order of their shapes.
    result: OrderedDict[str, Tensor] = OrderedDict()
    for name, tensor in tensors.items():
        if name in folded:
            whole, weight = folded[name]
            result[whole] = weight
        elif name not in parts:
            result[name] = tensor
    return result, tuple(
        f"{count} {'weights' if count > 1 else 'weight'} stored with {kind} "
        f"{'are' if count > 1 else 'is'} folded into plain ones."
        for kind, count in counts.items()
        if count
    )


def _weight_norm(magnitude: Tensor, direction: Tensor) -> Tensor:
    """Return magnitude times direction, whose norm is over the axes with a single magnitude."""
    axes = [n for n in range(direction.dim()) if magnitude.dim() == 0 or magnitude.shape[n] == 1]
    # In float64, since squares of small float16 numbers are zero in float16.
    length = torch.linalg.vector_norm(direction.double(), dim=axes, keepdim=True)
    return (direction * (magnitude / length)).to(direction.dtype)


def _spectral_norm(weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return the weight over its largest singular value, as the stored vectors estimate it."""
    matrix = weight.double()
    if weight.shape[0] != left.shape[0]:  # a transposed convolution's outputs are its second axis
        matrix = matrix.transpose(0, 1)
    sigma = left.double() @ matrix.flatten(1) @ right.double()
    return (weight / sigma).to(weight.dtype)


def _pruned(weight: Tensor, mask: Tensor) -> Tensor:
    return weight * mask


def _suffixed(first: str, *others: str) -> Callable[[str], list[str] | None]:
    """Return a function that finds a weight's name and those of its parts, by how they end."""

    def find(name: str) -> list[str] | None:
        if not name.endswith(first):
            return None
        whole = name.removesuffix(first)
        return [whole, name, *(whole + other for other in others)]

    return find


def _parametrized(first: str, *others: str) -> Callable[[str], list[str] | None]:
    """Return the same for `torch.nn.utils.parametrizations`: ``M.parametrizations.weight...``."""

    def find(name: str) -> list[str] | None:
        if _PARAMETRIZED not in name or not name.endswith(first):
            return None
        stem = name.removesuffix(first)
        return [
            stem.replace(_PARAMETRIZED, "."),
            name,
            *(stem + other for other in others),
        ]

    return find


# Several kinds share the end of the first name: the one whose other parts are there is meant.
_KINDS = (
    ("weight norm", _suffixed("_g", "_v"), _weight_norm),
    ("spectral norm", _suffixed("_orig", "_u", "_v"), _spectral_norm),
    ("a pruning mask", _suffixed("_orig", "_mask"), _pruned),
    ("weight norm", _parametrized(".original0", ".original1"), _weight_norm),
    ("spectral norm", _parametrized(".original", ".0._u", ".0._v"), _spectral_norm),
)
