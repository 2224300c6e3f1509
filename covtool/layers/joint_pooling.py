"""One vector of several feature maps of a network, each pooled on its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from covtool.layers.feature_tap import CopyingTap, FeatureTap, remove_taps
from covtool.layers.global_pooling import GlobalPooling
from covtool.layers.graph_leaf import as_leaf


class JointPooling(nn.Module):
    """Pools several maps, each by a branch with its own reduction, and joins the vectors.

    A branch pools the input, or a map that was caught at a module which ran before; see `catch`.

    Args:
        branches: Poolings, in the order of their vectors.

    Attributes:
        branches: The poolings.
        taps: For each branch what catches its map; None where it pools the input.
        num_features: Length of the joined vector.

    Shape:
        A map as the branches without a tap take it -> (B, num_features)
    """

    def __init__(self, branches: Sequence[GlobalPooling]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.taps: list[FeatureTap | None] = [None] * len(branches)
        self.num_features = sum(branch.num_features for branch in branches)

    def catch(self, index: int, module: nn.Module) -> None:
        """Let a branch pool the output of `module`, which runs before, in place of the input."""
        tap = CopyingTap()
        self.taps[index] = tap
        module.register_forward_hook(tap)

    def forward(self, features: Tensor, *caught: Tensor) -> Tensor:
        if (node := self._as_leaf(features)) is not None:
            return node
        maps = self._maps(features, caught)
        return torch.cat([branch(m) for branch, m in zip(self.branches, maps, strict=True)], dim=1)

    def nodes(self, traced: Proxy) -> list[Proxy]:
        """Return the nodes of the tapped modules, while torch.fx traces the model of `traced`."""
        return [tap.node(traced) for tap in self.taps if tap is not None]

    def is_identity(self) -> bool:
        """Return False: maps are pooled. timm calls this method of its pooling layers."""
        return False

    def _as_leaf(self, features: Tensor) -> Proxy | None:
        return (
            as_leaf(self, features, *self.nodes(features)) if isinstance(features, Proxy) else None
        )

    def _maps(self, features: Tensor, caught: Sequence[Tensor]) -> list[Tensor]:
        """Return the map of each branch; `caught` are those that a traced graph hands over."""
        maps, given = [], list(caught)
        for tap in self.taps:
            if tap is None:
                maps.append(features)
                continue
            argument = given.pop(0) if given else None
            # The hook has a copy from before anything worked on the map in place.
            maps.append(argument if argument is not None and not tap.is_full else tap.take())
        return maps


def release_taps(model: nn.Module, pooling: nn.Module) -> None:
    """Remove the hooks of every `JointPooling` in `pooling` from the modules of `model`."""
    joint = [module for module in pooling.modules() if isinstance(module, JointPooling)]
    remove_taps(model, [tap for module in joint for tap in module.taps if tap is not None])
