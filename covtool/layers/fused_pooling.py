"""Second-order features that travel beside a network's own first-order ones.

The network's modules stay where they are, under their names: only their class gains a step. The
pooling appends the second-order vector to what it puts out; every module between it and the
classifier works on the front part, as before, and hands the rest on.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from covtool.layers.feature_tap import FeatureTap, remove_taps
from covtool.layers.graph_leaf import as_leaf
from covtool.layers.joint_pooling import JointPooling, release_taps
from covtool.layers.mixing import mix_in, mix_out


class _FusedPooling:
    """Mixin: the module's own output, with the second-order vector appended."""

    def forward(self, features: Tensor, tapped: Tensor | None = None, *caught: Tensor) -> Tensor:
        if isinstance(features, Proxy):
            tapped = features if self.tap is None else self.tap.node(features)
            joint = isinstance(self.second_order, JointPooling)
            nodes = self.second_order.nodes(features) if joint else ()
            return as_leaf(self, features, tapped, *nodes)
        if tapped is None:
            tapped = features if self.tap is None else self.tap.take()
        # The map came as an argument, as in a traced graph; the hook may have caught it as well.
        elif self.tap is not None:
            self.tap.forget()
        first = super().forward(features)
        if first.ndim == 4 and first.shape[2:].numel() > 1:  # a VGG's pooling keeps 7 x 7
            first = first.flatten(1)
        return _join(first, self.second_order(tapped, *caught))


class _FirstOrderPart:
    """Mixin: the module works on the first features and hands the others on."""

    def forward(self, features: Tensor) -> Tensor:
        if (node := as_leaf(self, features)) is not None:
            return node
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


def remove_second_order(model: nn.Module, pooling: str, tails: Iterable[str]) -> None:
    """Undo `fuse_second_order` and `keep_second_order`, in place.

    Args:
        model: Model that has the modules.
        pooling: Path of the pooling.
        tails: Paths of the modules that leave the second-order features as they are.
    """
    fused = model.get_submodule(pooling)
    release_taps(model, fused)
    if fused.tap is not None:
        remove_taps(model, [fused.tap])
    mix_out(fused, _FusedPooling)
    del fused.second_order, fused.tap
    for module in map(model.get_submodule, tails):
        mix_out(module, _FirstOrderPart)
        del module.second_order_features


def is_fused(module: nn.Module) -> bool:
    """Return whether a module is a pooling that `fuse_second_order` changed."""
    return isinstance(module, _FusedPooling)


def _mix_in(module: nn.Module, mixin: type) -> None:
    mix_in(module, mixin, f"{mixin.__name__.lstrip('_')}{type(module).__name__}")


def _join(first: Tensor, second: Tensor) -> Tensor:
    second = second.flatten(1)
    # Some poolings put out (B, F, 1, 1), which a Flatten behind them expects.
    for _ in range(first.ndim - 2):
        second = second.unsqueeze(-1)
    return torch.cat([first, second.to(first.dtype)], dim=1)
