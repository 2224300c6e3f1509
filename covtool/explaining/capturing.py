"""A forward pass that stops gradients where maps are pooled."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from covtool.backbones.module_modes import in_eval_mode


class Leaf:
    """A tensor of a forward pass, taken out: gradients reach it, and nothing before it.

    Attributes:
        tensor: What went through, with its gradients enabled; None before the pass.
    """

    def __init__(self) -> None:
        self.tensor: Tensor | None = None

    def of(self, tensor: Tensor) -> Tensor:
        """Take a tensor, and return what goes on in its place."""
        self.tensor = tensor.detach().requires_grad_()
        # A copy: the next module may work in place (ReLU), which a leaf refuses.
        return self.tensor.clone()

    def take(self) -> Tensor:
        """Return what went through."""
        if self.tensor is None:
            raise RuntimeError("The module did not run.")
        return self.tensor


@contextmanager
def at_rest(model: nn.Module) -> Iterator[ExitStack]:
    """Put a model into eval mode, with fixed parameters, for the block; give a stack for hooks.

    Afterwards hooks are gone, and every module and parameter is as before.
    """
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    with in_eval_mode(model), torch.enable_grad(), ExitStack() as hooks:
        try:
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            yield hooks
        finally:
            for parameter, grad in wanted:
                parameter.requires_grad_(grad)


def leaf_at_output(hooks: ExitStack, module: nn.Module) -> Leaf:
    """Return a leaf that takes the output of a module."""
    leaf = Leaf()
    handle = module.register_forward_hook(lambda _module, _given, output: leaf.of(output))
    hooks.callback(handle.remove)
    return leaf


def leaf_at_input(hooks: ExitStack, module: nn.Module) -> Leaf:
    """Return a leaf that takes the first input of a module."""
    leaf = Leaf()
    handle = module.register_forward_pre_hook(
        lambda _module, given: (leaf.of(given[0]), *given[1:])
    )
    hooks.callback(handle.remove)
    return leaf


def seen_at_input(hooks: ExitStack, module: nn.Module) -> Callable[[], Tensor]:
    """Return a function that gives the input of a module once it ran, as a part of the graph."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    hooks.callback(handle.remove)
    return lambda: seen[-1]
