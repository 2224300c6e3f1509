"""Comparison of two models: modules, tensors, parameters, floating point operations."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from covtool.layers.eigenlayer import EigenClassifier
from covtool.layers.global_pooling import GlobalPooling
from covtool.layers.joint_pooling import JointPooling
from covtool.specs import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One site: what is there, and what comes."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Cost of a model.

    Attributes:
        parameters: Trained numbers.
        flops: Floating point operations of the forward pass of one image, two for each
            multiply-add of a convolution or a matrix product, and those of eigendecompositions.
    """

    parameters: int
    flops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChanges:
    """Tensors of the state dict before and after.

    Attributes:
        kept: Under the same name, byte for byte.
        changed: Under the same name, with the same shape and other values.
        resized: Under the same name, with another shape.
        new: Only after.
        dropped: Only before.
    """

    kept: tuple[str, ...]
    changed: tuple[str, ...]
    resized: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]


def _eigh_flops(matrices: torch.Size, *rest: object, **others: object) -> int:
    """Operations of the eigendecomposition of symmetric matrices (..., n, n), with vectors.

    Source:
        Golub, Van Loan. "Matrix Computations", section 8.3: 9 n³.
    """
    return 9 * matrices.numel() * matrices[-1]


# torch counts convolutions and products alone: heads with a solver would look too cheap.
_MORE_FLOPS = {torch.ops.aten._linalg_eigh: _eigh_flops}


def measure_size(model: nn.Module, images: InputSpec) -> Size:
    """Count the parameters and floating point operations of a model in eval mode."""
    parameter = next(model.parameters())
    image = torch.zeros(
        1, images.channels, *images.size, dtype=parameter.dtype, device=parameter.device
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        # The counter asks for the gradient function of each input of a module that wants a
        # gradient: of a parameter that is given to one (PiT's class token) there is none here.
        for weight in trained:
            weight.requires_grad_(False)
        with FlopCounterMode(display=False, custom_mapping=_MORE_FLOPS) as counter, torch.no_grad():
            model(image)
    finally:
        for weight in trained:
            weight.requires_grad_(True)
    return Size(
        parameters=sum(p.numel() for p in model.parameters()), flops=counter.get_total_flops()
    )


def compare_tensors(
    before: nn.Module, after: nn.Module, *, written: tuple[str, ...] = ()
) -> KeyChanges:
    """Return names of the tensors that stay, get other values or another shape, come and go.

    Args:
        before: The source.
        after: The model that it became.
        written: Paths of modules whose tensors are yet to be written.
    """
    old, new = before.state_dict(), after.state_dict()
    # startswith of an empty tuple is False: nothing is written then.
    prefixes = tuple(f"{path}." for path in written)
    same = {n for n in old if n in new and new[n].shape == old[n].shape}
    kept = {n for n in same if not n.startswith(prefixes) and same_bytes(old[n], new[n])}
    return KeyChanges(
        kept=tuple(n for n in old if n in kept),
        changed=tuple(n for n in old if n in same - kept),
        resized=tuple(n for n in old if n in new and n not in same),
        new=tuple(n for n in new if n not in old),
        dropped=tuple(n for n in old if n not in new),
    )


def same_bytes(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are the same, byte for byte: also where there are NaNs in them."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    # Bytes, since NaN is not equal to itself and -0 equals 0.
    as_bytes = [t.contiguous().flatten().view(torch.uint8) for t in (first, second)]
    return torch.equal(*as_bytes)


def compare_modules(before: nn.Module, after: nn.Module) -> tuple[Change, ...]:
    """Return modules that differ, the outermost of each place only."""
    old, new = dict(before.named_modules()), dict(after.named_modules())
    changes: list[Change] = []
    for path in (*old, *(p for p in new if p not in old)):
        # Whatever is in a replaced module is new as well: its outermost line says so.
        inside = any(path.startswith(c.path + ".") for c in changes)
        if not path or inside or _describe(old.get(path)) == _describe(new.get(path)):
            continue
        changes.append(
            Change(path=path, old=_describe(old.get(path)), new=_describe(new.get(path)))
        )
    return tuple(changes)


def _describe(module: nn.Module | None) -> str:
    if module is None:
        return "-"
    name = type(module).__name__
    if isinstance(module, nn.Linear):
        return f"{name}({module.in_features:,} -> {module.out_features:,})"
    if isinstance(module, nn.Conv2d):
        return f"{name}({module.kernel_size[0]}x{module.kernel_size[1]}, stride {module.stride[0]})"
    if isinstance(module, EigenClassifier):
        k, last = module.eigenlayer, module.classifier
        return f"{name}({k.in_features:,} -> {k.out_features:,} -> {last.out_features:,})"
    if isinstance(module, GlobalPooling):
        return f"{name}({module.in_features:,} -> {module.num_features:,})"
    if isinstance(module, JointPooling):
        channels = " + ".join(f"{branch.in_features:,}" for branch in module.branches)
        return f"{name}({channels} -> {module.num_features:,})"
    return name
