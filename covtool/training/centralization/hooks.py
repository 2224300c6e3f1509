"""Gradient centralization on any optimizer, by hooks around its step.

The order of one update is: unscale (AMP), clip, centralize, step.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from covtool.ops.gradient import has_rows
from covtool.registry import Registry
from covtool.training.centralization.steps import CentralizedGradient, CentralizedUpdate, Chosen


class Centralization(Protocol):
    """The handle that `centralize_gradients` returns."""

    def remove(self) -> None:
        """Take the hooks off the optimizer."""

    def removed_norm(self) -> Tensor:
        """Return the norm of the mean part of the chosen weights' gradients, as of the last step.

        The projection is orthogonal: of a gradient of norm g, sqrt(g² − this²) is left, whether it
        is the gradient that is centralized or the update. Costs nothing but for ``update``, which
        reads the gradients once. Coupled weight decay is not counted.
        """


@dataclass(frozen=True, slots=True)
class CentralizationMode:
    """A row of the table of modes: what is centralized.

    Attributes:
        name: Name of the mode.
        summary: One line for tables.
        source: Publication or code that it comes from.
        attach: Function that puts the hooks on an optimizer; takes ``in_place``.
    """

    name: str
    summary: str
    source: str
    attach: Callable[..., Centralization]


def _on_update(optimizer: Optimizer, chosen: Chosen, *, in_place: bool) -> Centralization:
    return CentralizedUpdate(optimizer, chosen)  # leaves the gradients alone anyway


MODES = Registry(
    "gradient centralization mode",
    (
        CentralizationMode(
            "gradient",
            "The gradient, after coupled weight decay.",
            "Yong et al., ECCV 2020, algorithms 1 and 2",
            CentralizedGradient,
        ),
        CentralizationMode(
            "update",
            "What the optimizer does to the weight, decay included; for adaptive optimizers.",
            "Yong et al., the authors' later optimizers (generalized gradient)",
            _on_update,
        ),
    ),
)


def centralize_gradients(
    optimizer: Optimizer,
    *,
    on: Literal["gradient", "update"] = "gradient",
    conv_only: bool = False,
    only: Iterable[Tensor] | None = None,
    in_place: bool = False,
) -> Centralization:
    """Centralize the gradient of every weight whenever the optimizer steps.

    ``gradient`` is the paper's way: the gradient is centralized after coupled weight decay has been
    added, so momentum and decay see a centralized gradient. An optimizer that divides by a second
    moment (Adam) turns it into an update that is no longer exactly centralized; ``update``
    centralizes what it does to the weight instead (the authors' "generalized gradient"), decoupled
    weight decay included, and is exact for every optimizer.

    `p.grad` is the caller's: it is replaced while the optimizer steps and is afterwards the tensor
    that it was, unless `in_place`. Clip before the step, and unscale before you clip; a
    `GradScaler` whose `step` unscales by itself is fine. Closures, ``foreach`` and ``fused``
    optimizers work as well, and in `DistributedDataParallel` every process takes the same step.
    Biases and other vectors, weights with fan-in 1 (depthwise 1x1) and sparse gradients are left
    alone.

    Args:
        optimizer: Optimizer of torch, timm or any other library that derives from torch's.
        on: Name of a mode in `MODES`.
        conv_only: Whether to leave matrices (linear layers) alone.
        only: The weights to centralize, see `layer_weights`; by default every parameter that has
            rows. A position embedding has rows, but is not the weight of a layer.
        in_place: Whether to overwrite ``p.grad`` with the centralized gradient, which saves a copy
            of it: for loops that do not need it after the step. The same numbers otherwise.

    Returns:
        A handle whose ``remove()`` ends it.

    Raises:
        UnknownVariantError: There is no such mode.

    Source:
        Yong, Huang, Hua, Zhang. "Gradient Centralization", ECCV 2020, algorithms 1 and 2.
    """
    mode = MODES[on]
    axes = 3 if conv_only else 2
    wanted = None if only is None else {id(tensor) for tensor in only}

    def chosen(parameter: Tensor) -> bool:
        listed = wanted is None or id(parameter) in wanted
        return listed and parameter.ndim >= axes and has_rows(parameter)

    # timm's Lookahead never fires its own hooks; the optimizer inside does.
    inner = getattr(optimizer, "_base_optimizer", optimizer)
    return mode.attach(inner, chosen, in_place=in_place)


def layer_weights(model: nn.Module, *, conv_only: bool = False) -> list[nn.Parameter]:
    """List the weights of convolutions, linear layers and attention, their output axis first."""
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    kinds = convolutions if conv_only else (*convolutions, nn.Linear, nn.MultiheadAttention)
    return [
        parameter
        for module in model.modules()
        if isinstance(module, kinds)
        for name, parameter in module.named_parameters(recurse=False)
        if name.endswith("weight")
    ]
