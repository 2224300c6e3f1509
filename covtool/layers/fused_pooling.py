"""Second-order features that travel beside a network's own first-order ones.

The network's modules stay where they are, under their names: only their class gains a step. The
pooling appends the second-order vector to what it puts out; every module between it and the
classifier works on the front part, as before, and hands the rest on.
"""

from copy import copy

import torch
from torch import Tensor, nn


class FeatureTap:
    """Remembers the output of a module that ran earlier in the same forward pass."""

    def __init__(self) -> None:
        self._features: Tensor | None = None

    def __call__(self, module: nn.Module, arguments: object, output: Tensor) -> None:
        self._features = output

    def __deepcopy__(self, memo: dict) -> "FeatureTap":
        duplicate = memo[id(self)] = copy(self)
        duplicate._features = None
        return duplicate

    def take(self) -> Tensor:
        """What was remembered, once."""
        features, self._features = self._features, None
        if features is None:
            raise RuntimeError("The tapped module did not run before the pooling.")
        return features


class _FusedPooling:
    """Mixin: the module's own output, with the second-order vector appended."""

    def forward(self, features: Tensor) -> Tensor:
        tapped = features if self.tap is None else self.tap.take()
        first = super().forward(features)
        if first.ndim == 4 and first.shape[2:].numel() > 1:  # a VGG's pooling keeps 7 x 7
            first = first.flatten(1)
        return _join(first, self.second_order(tapped))


class _FirstOrderPart:
    """Mixin: the module works on the first features and hands the others on."""

    def forward(self, features: Tensor) -> Tensor:
        first = features[:, : -self.second_order_features]
        second = features[:, -self.second_order_features :]
        return _join(super().forward(first), second)


def fuse_second_order(
    pooling: nn.Module, second_order: nn.Module, *, tapped: nn.Module | None = None
) -> None:
    """Let `pooling` append ``second_order(its input)`` to its output, in place.

    Args:
        pooling: (B, C, H, W) or tokens -> (B, F) or (B, F, 1, 1); its parameters keep their names.
        second_order: The same input -> (B, S); becomes the child ``second_order``.
        tapped: A module that runs before, whose output `second_order` gets in place of the input.
    """
    _mix_in(pooling, _FusedPooling)
    pooling.second_order = second_order
    pooling.tap = None
    if tapped is not None:
        pooling.tap = FeatureTap()
        tapped.register_forward_hook(pooling.tap)


def keep_second_order(module: nn.Module, second_order_features: int) -> None:
    """Let `module` leave the last `second_order_features` of its input as they are, in place."""
    _mix_in(module, _FirstOrderPart)
    module.second_order_features = second_order_features


def _mix_in(module: nn.Module, mixin: type) -> None:
    kind = type(module)
    module.__class__ = type(f"{mixin.__name__.lstrip('_')}{kind.__name__}", (mixin, kind), {})


def _join(first: Tensor, second: Tensor) -> Tensor:
    shape = (len(first), -1) + (1,) * (first.ndim - 2)
    return torch.cat([first, second.reshape(shape).to(first.dtype)], dim=1)
