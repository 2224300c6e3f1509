"""Outputs of modules that ran earlier in the same forward pass, caught by hooks."""

from collections.abc import Collection

from torch import Tensor, nn
from torch.fx import Proxy


class FeatureTap:
    """Remembers the output of a module that ran earlier in the same forward pass."""

    def __init__(self) -> None:
        self._features: Tensor | None = None

    def __call__(self, module: nn.Module, arguments: object, output: Tensor) -> None:
        self._features = output

    def __getstate__(self) -> dict:
        return {"_features": None}  # neither copies nor files carry what passes through

    @property
    def is_full(self) -> bool:
        """Whether features went through that were not taken."""
        return self._features is not None

    def forget(self) -> None:
        """Forget the features that went through."""
        self._features = None

    def node(self, traced: Proxy) -> Proxy:
        """Return the node of the tapped module, while torch.fx traces the model of `traced`."""
        if self._features is not None:
            return self.take()
        tracer = traced.tracer  # a leaf of the graph: its hooks run with the graph, not now
        nodes = [n for n in tracer.graph.nodes if n.op == "call_module"]
        modules = {n: tracer.root.get_submodule(n.target) for n in nodes}
        tapped = next(n for n, m in modules.items() if self in m._forward_hooks.values())
        return Proxy(tapped, tracer)

    def take(self) -> Tensor:
        """Return the features that went through, once."""
        # Once: a map that is kept would hold its graph, and would stand in for one that did not
        # run.
        features, self._features = self._features, None
        if features is None:
            raise RuntimeError("The tapped module did not run before the pooling.")
        return features


class CopyingTap(FeatureTap):
    """Remembers a copy, which stays as it was where the next module works in place (ReLU)."""

    def __call__(self, module: nn.Module, arguments: object, output: Tensor) -> None:
        super().__call__(module, arguments, output.clone())


def remove_taps(model: nn.Module, taps: Collection[FeatureTap]) -> None:
    """Remove the hooks of taps from the modules of a model, in place."""
    for module in model.modules():
        hooks = module._forward_hooks
        for key in [k for k, hook in hooks.items() if any(hook is tap for tap in taps)]:
            del hooks[key]


def move_taps(old: nn.Module, new: nn.Module) -> None:
    """Let `new`, which takes the place of `old`, be tapped as that was."""
    for key, hook in [*old._forward_hooks.items()]:
        if isinstance(hook, FeatureTap):
            del old._forward_hooks[key]
            new.register_forward_hook(hook)
