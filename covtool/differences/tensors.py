"""Differences between the tensors of two models, one tensor at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Literal

import torch
from torch import Tensor

from covtool.progress import Track, silent

Kind = Literal["equal", "changed", "dtype", "shape", "new", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDifference:
    """A tensor of two models, or of one of them.

    Attributes:
        name: Its name.
        kind: ``equal``, ``changed`` in its values, equal but in another ``dtype``, of another
            ``shape``, ``new`` in the second model or ``gone`` from it.
        before: Dtype and shape in the first model; None where it is new.
        after: Dtype and shape in the second one; None where it is gone.
        distance: Norm of the difference; None where there is none to take, or it is not finite.
        norm: Norm in the first model.
        largest: Largest absolute difference of a value.
    """

    name: str
    kind: Kind
    before: str | None = None
    after: str | None = None
    distance: float | None = None
    norm: float | None = None
    largest: float | None = None

    @property
    def relative(self) -> float | None:
        """Norm of the difference over the norm in the first model."""
        if self.distance is None or not self.norm:
            return None
        return self.distance / self.norm


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorGroup:
    """Tensors of a module, counted by what became of them.

    Attributes:
        name: Path of the module; empty for tensors without one.
        counts: Number of tensors of each kind.
        relative: Norm of the difference over the norm in the first model, of those that changed:
            a large tensor that stayed does not hide what others did.
        largest: Largest absolute difference of a value.
    """

    name: str
    counts: dict[Kind, int]
    relative: float | None
    largest: float | None


def compare_tensors(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], *, track: Track = silent
) -> tuple[TensorDifference, ...]:
    """Compare two models' tensors by name; two tensors are in memory at a time.

    Args:
        before: Tensors of the first model.
        after: Tensors of the second one.
        track: Display of the progress.

    Returns:
        One record for each name, those of the first model first.
    """
    names = dict.fromkeys((*before, *after))
    return tuple(
        _compare(name, before.get(name), after.get(name))
        for name in track(names, "comparing tensors", len(names))
    )


def _compare(name: str, before: Tensor | None, after: Tensor | None) -> TensorDifference:
    said = {"name": name, "before": _said(before), "after": _said(after)}
    if before is None or after is None:
        return TensorDifference(**said, kind="new" if before is None else "gone")
    if before.shape != after.shape:
        return TensorDifference(**said, kind="shape")
    one, two = before.double(), after.double()
    # NaN in the same places is the same; float64 does not hold every large whole number.
    exact = not (before.is_floating_point() or after.is_floating_point())
    same = torch.equal(before, after) if exact and before.dtype == after.dtype else None
    same = torch.allclose(one, two, rtol=0, atol=0, equal_nan=True) if same is None else same
    if same:
        kind = "equal" if before.dtype == after.dtype else "dtype"
        return TensorDifference(**said, kind=kind, distance=0.0, norm=_norm(one), largest=0.0)
    difference = two - one
    largest = float(difference.abs().max())
    return TensorDifference(
        **said,
        kind="changed",
        distance=_norm(difference),
        norm=_norm(one),
        largest=largest if isfinite(largest) else None,
    )


def _said(tensor: Tensor | None) -> str | None:
    if tensor is None:
        return None
    shape = " x ".join(map(str, tensor.shape)) or "1"
    return f"{str(tensor.dtype).removeprefix('torch.')}, {shape}"


def _norm(tensor: Tensor) -> float | None:
    norm = float(torch.linalg.vector_norm(tensor))
    return norm if isfinite(norm) else None


def grouped(found: Iterable[TensorDifference], most: int) -> tuple[TensorGroup, ...]:
    """Return tensors by module, with modules as deep as leaves few enough of them.

    Args:
        found: Tensors.
        most: Number of groups, at most; where even the outermost modules are more, these.
    """
    found = list(found)
    deepest = max((one.name.count(".") for one in found), default=0)
    for depth in range(deepest, 0, -1):
        groups = _at_depth(found, depth)
        if len(groups) <= most or depth == 1:
            break
    else:
        groups = _at_depth(found, 0)
    return tuple(_group(name, members) for name, members in groups.items())


def _at_depth(found: list[TensorDifference], depth: int) -> dict[str, list[TensorDifference]]:
    groups: dict[str, list[TensorDifference]] = {}
    for one in found:
        module = one.name.split(".")[:-1][:depth]
        groups.setdefault(".".join(module), []).append(one)
    return groups


def _group(name: str, members: list[TensorDifference]) -> TensorGroup:
    counts: dict[Kind, int] = {}
    for one in members:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    compared = [one for one in members if one.kind == "changed"]
    known = all(None not in (one.distance, one.norm) for one in compared)
    distance = sqrt(sum(one.distance**2 for one in compared)) if known else None
    norm = sqrt(sum(one.norm**2 for one in compared)) if known else None
    largest = [one.largest for one in compared]
    return TensorGroup(
        name=name,
        counts=counts,
        relative=distance / norm if known and norm else None,
        largest=max(largest) if largest and None not in largest else None,
    )
