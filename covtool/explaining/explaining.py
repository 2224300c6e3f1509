"""Maps over images: what a class's logit is made of, position by position."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from covtool.backbones.feature_maps import FeatureMap
from covtool.backbones.sites import Sites, find_sites
from covtool.errors import ArgumentError, NonFiniteError, ShapeError
from covtool.explaining.capturing import (
    Leaf,
    at_rest,
    leaf_at_input,
    leaf_at_output,
    seen_at_input,
)
from covtool.explaining.grids import as_map
from covtool.explaining.shares import Law, grad_cam, has_no_mean, law_of, shares, spread
from covtool.layers.first_order import FirstOrderPooling
from covtool.layers.fused_pooling import is_fused
from covtool.layers.global_pooling import GlobalPooling

Method = Literal["auto", "shares", "grad-cam"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """What logits are made of, position by position.

    Attributes:
        values: The maps, (B, h, w) or (B, K, h, w) in float32 on the CPU. Shares have a sign: a
            position below 0 speaks against the class. Grad-CAM has none.
        method: ``shares`` or ``grad-cam``; see `covtool.explaining.shares`.
        logits: The logits that are explained, (B,) or (B, K).
        response: For shares, the part of each logit that comes from what is pooled, to first
            order: <∂z/∂v, v>. For a linear classifier it is the logit without its bias.
        is_complete: Whether the shares sum to `response`.
        note: A sentence on what was computed, and on what it leaves out.
    """

    values: Tensor
    method: str
    logits: Tensor
    response: Tensor
    is_complete: bool
    note: str

    @property
    def totals(self) -> Tensor:
        """Sums of the maps, in the shape of `logits`."""
        return self.values.double().sum(dim=(-2, -1))


def explain(model: nn.Module, images: Tensor, classes: Tensor, *, method: Method = "auto") -> Maps:
    """Say for each position of an image how much it adds to a class's logit.

    For a covtool head of second order the map is the first-order expansion of the logit in the
    second moments, which sums to the logit where the head is homogeneous; for first-order heads,
    and networks as timm and torchvision have them, it is Grad-CAM at what is pooled. One forward
    pass for all classes, a backward pass through the head for each; the model is as before.

    Args:
        model: Images to logits: what `covtool.open_model`, `convert` or timm gives.
        images: Normalized images, (B, channels, height, width), on the model's device.
        classes: Output to explain for each image, (B,); or several, (B, K).
        method: ``auto``; or ``shares``, ``grad-cam`` for one of the two.

    Raises:
        ShapeError: `images` or `classes` have another shape.
        ArgumentError: There is no such output or method; shares of a pooling that is not covtool's;
            or Grad-CAM of a head that subtracts the mean: its mean gradients are 0.
        SurgeryError: The network has no feature map that is pooled.
        NonFiniteError: A map is not made of finite numbers.
    """
    chosen = _columns(images, classes)
    branches = [m for m in model.modules() if isinstance(m, GlobalPooling)]
    if not branches and method == "shares":
        raise ArgumentError(
            "Shares are those of a head of covtool's, and the model has none.",
            hint="Ask for grad-cam, or auto.",
        )
    if method not in ("auto", "shares", "grad-cam"):
        raise ArgumentError(f"There is no method {method!r}. Available: auto, shares, grad-cam.")
    first_order = all(isinstance(branch, FirstOrderPooling) for branch in branches)
    if method == "grad-cam" or (method == "auto" and first_order):
        found = _weighted(model, images, chosen, branches)
    else:
        found = _shared(model, images, chosen, branches)
    if not bool(found.values.isfinite().all()):
        raise NonFiniteError(
            "The map of an image is not made of finite numbers.",
            hint="covtool inspect says whether the weights hold non-finite values.",
        )
    return found if classes.ndim == 2 else _without_columns(found)


def _columns(images: Tensor, classes: Tensor) -> Tensor:
    if images.ndim != 4:
        raise ShapeError.expected("images", "(B, C, H, W)", images)
    if classes.ndim not in (1, 2) or len(classes) != len(images) or classes.is_floating_point():
        raise ShapeError.expected("classes", "(B,) or (B, K), whole numbers", classes)
    return classes.reshape(len(images), -1)


def _shared(
    model: nn.Module, images: Tensor, classes: Tensor, branches: Sequence[GlobalPooling]
) -> Maps:
    """Return shares of what each branch pools, and of a network's own average beside them."""
    size = (images.shape[2], images.shape[3])
    with at_rest(model) as hooks:
        pooled = [leaf_at_output(hooks, branch.reduction) for branch in branches]
        vectors = [seen_at_input(hooks, branch.post_bn) for branch in branches]
        # Beside a fused head, the average that the network takes by itself.
        own = [leaf_at_input(hooks, m) for m in model.modules() if is_fused(m)]
        logits = _logits(model, images, classes)
        laws = [law_of(b.pool, leaf.take()) for b, leaf in zip(branches, pooled, strict=True)]
        outputs = [vector() for vector in vectors]
        maps, response = [], []
        for column in classes.T:
            asked = _of(logits, column).sum()
            leaves = [leaf.take() for leaf in (*pooled, *own)]
            gradients = torch.autograd.grad(
                asked, [*leaves, *outputs], retain_graph=True, materialize_grads=True
            )
            cotangents = gradients[len(leaves) :]
            found = [
                _on_grid(shares(x.float(), g.float(), law), branch.layout, size)
                for x, g, law, branch in zip(leaves, gradients, laws, branches, strict=False)
            ]
            parts = [
                (v.double() * g.double()).sum(1) for v, g in zip(outputs, cotangents, strict=True)
            ]
            for x, g in zip(
                leaves[len(pooled) :], gradients[len(pooled) : len(leaves)], strict=True
            ):
                values = _own_shares(x.float(), g.float(), model, size)
                if values is not None:
                    found.append(values)
                    parts.append(values.double().sum(dim=(1, 2)))
            maps.append(_added(found))
            response.append(sum(parts))
    return Maps(
        values=torch.stack(maps, dim=1).detach().float().cpu(),
        method="shares",
        logits=logits.gather(1, classes.to(logits.device)).detach().float().cpu(),
        response=torch.stack(response, dim=1).detach().float().cpu(),
        is_complete=all(law.is_complete for law in laws),
        note=_note(laws),
    )


def _own_shares(
    features: Tensor, gradient: Tensor, model: nn.Module, size: tuple[int, int]
) -> Tensor | None:
    """Return shares in a network's own average; None where a class token alone is averaged."""
    products = features * gradient
    if features.ndim == 3:
        prefix = getattr(model, "num_prefix_tokens", 1 if hasattr(model, "class_token") else 0)
        patches = products[:, prefix:].sum(dim=2)
        return as_map(patches[:, None], size) if bool(patches.any()) else None
    rows, columns = size
    is_last = abs(features.shape[1] * columns - features.shape[2] * rows) < max(size)
    is_first = abs(features.shape[2] * columns - features.shape[3] * rows) < max(size)
    return products.sum(dim=-1 if is_last and not is_first else 1)


def _added(maps: Sequence[Tensor]) -> Tensor:
    """Return the sum of maps on the finest of their grids."""
    rows, columns = (max(m.shape[axis] for m in maps) for axis in (-2, -1))
    return torch.stack([spread(m, (rows, columns)) for m in maps]).sum(dim=0)


def _on_grid(values: Tensor, layout: str, size: tuple[int, int]) -> Tensor:
    return as_map(values, size) if layout == "NLC" else values


def _note(laws: Sequence[Law]) -> str:
    text = "Each position's share in the logit, to first order in the features that are pooled."
    if all(law.is_complete for law in laws):
        return (
            f"{text} The shares sum to the logit without its bias where the classifier is linear."
        )
    if all(law.degree == 0 for law in laws):
        return (
            f"{text} The head divides by a norm: its shares sum to 0, and compare positions only."
        )
    return f"{text} The head is not homogeneous: its shares do not sum to the logit."


def _weighted(
    model: nn.Module, images: Tensor, classes: Tensor, branches: Sequence[GlobalPooling]
) -> Maps:
    size = (images.shape[2], images.shape[3])
    if branches:
        with at_rest(model) as hooks:
            leaves = [leaf_at_output(hooks, branch.reduction) for branch in branches]
            logits = _logits(model, images, classes)
            found = _by_class(logits, classes, leaves, branches)
            if any(has_no_mean(g) for of_class in found for _, g, _ in of_class):
                raise ArgumentError(
                    "Grad-CAM says nothing about this head: it weights channels by their mean "
                    "gradients, and a head that subtracts the mean of all positions has none.",
                    hint="Ask for shares, or auto.",
                )
            maps = [
                _added([_on_grid(grad_cam(x, g), b.layout, size) for x, g, b in of_class])
                for of_class in found
            ]
        place = "what the head pools"
    else:
        sites = find_sites(model, size, images.shape[1])
        logits, maps, place = _at_a_tap(model, images, classes, sites)
    values = torch.stack(maps, dim=1).float().cpu()
    of = logits.gather(1, classes.to(logits.device)).detach().float().cpu()
    return Maps(
        values=values,
        method="grad-cam",
        logits=of,
        response=torch.full_like(of, torch.nan),
        is_complete=False,
        note=f"Grad-CAM at {place}: activations weighted by their gradients, where they speak for "
        "the class; it sums to no logit.",
    )


def _at_a_tap(
    model: nn.Module, images: Tensor, classes: Tensor, sites: Sites
) -> tuple[Tensor, list[Tensor], str]:
    """Return logits, maps and place at the last feature map whose positions reach the logits.

    Where a class token alone is read, the positions of the last maps reach nothing.
    """
    size = (images.shape[2], images.shape[3])
    taps = [tap for tap in reversed(sites.trunk) if tap.positions > 1] or [sites.trunk[-1]]
    for tap in taps:
        with at_rest(model) as hooks:
            if tap.path:
                leaf = leaf_at_output(hooks, model.get_submodule(tap.path))
            else:
                leaf = leaf_at_input(hooks, model.get_submodule(sites.pooling))
            logits = _logits(model, images, classes)
            pairs = [pair for [pair] in _by_class(logits, classes, [leaf], [tap])]
        pairs = [(_channels_first(x, tap), _channels_first(g, tap)) for x, g, _ in pairs]
        if any(bool(g.any()) for _, g in pairs) or tap is taps[-1]:
            break
    maps = [_on_grid(grad_cam(x, g), tap.layout, size) for x, g in pairs]
    return logits, maps, tap.path or "the pooling's input"


def _by_class(
    logits: Tensor, classes: Tensor, leaves: Sequence[Leaf], of: Sequence[object]
) -> list[list[tuple[Tensor, Tensor, object]]]:
    """Return for each column of classes the tensors, their gradients, and what they are of."""
    tensors = [leaf.take() for leaf in leaves]
    found = []
    for column in classes.T:
        gradients = torch.autograd.grad(
            _of(logits, column).sum(), tensors, retain_graph=True, materialize_grads=True
        )
        floats = [(x.detach().float(), g.float()) for x, g in zip(tensors, gradients, strict=True)]
        found.append([(x, g, one) for (x, g), one in zip(floats, of, strict=True)])
    return found


def _channels_first(features: Tensor, tap: FeatureMap) -> Tensor:
    if tap.layout == "NHWC":
        return features.permute(0, 3, 1, 2)
    if tap.layout == "NLC":
        return features[:, tap.num_prefix_tokens :].mT.unsqueeze(2)
    return features


def _logits(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    logits = model(images)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ShapeError("The model's output must be one tensor of logits, (B, K).")
    if classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < logits.shape[1]:
        raise ArgumentError(
            f"The model has outputs 0 to {logits.shape[1] - 1}; classes are {int(classes.min())} "
            f"to {int(classes.max())}."
        )
    return logits


def _of(logits: Tensor, column: Tensor) -> Tensor:
    return logits.gather(1, column.to(logits.device)[:, None])


def _without_columns(maps: Maps) -> Maps:
    return Maps(
        values=maps.values[:, 0],
        method=maps.method,
        logits=maps.logits[:, 0],
        response=maps.response[:, 0],
        is_complete=maps.is_complete,
        note=maps.note,
    )
