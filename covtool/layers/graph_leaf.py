"""Modules that are one node in a graph of torch.fx, whoever traces it."""

from torch import nn
from torch.fx import Proxy


def as_leaf(module: nn.Module, *arguments: object) -> Proxy | None:
    """Return the call of `module` as one node, while torch.fx traces; None while it computes.

    A tracer goes into every module but those on its list of leaves, and what chooses by shapes or
    dtypes, as spectral mathematics does, cannot be traced. timm's and torchvision's tracers have
    such a list, `torch.fx.symbolic_trace` has none: so the module itself makes the node.

    Args:
        module: Module whose ``forward`` calls this.
        arguments: Arguments of that ``forward``.
    """
    proxy = next((a for a in arguments if isinstance(a, Proxy)), None)
    if proxy is None:
        return None
    tracer = proxy.tracer
    # By its path: the graph calls this very module, with its weights and hooks.
    return tracer.create_proxy("call_module", tracer.path_of_module(module), arguments, {})
