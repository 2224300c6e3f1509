"""timm's optimizers, from a `TrainingSpec`."""

from copy import deepcopy
from typing import Any

from timm.optim import create_optimizer_v2, list_optimizers
from torch.optim import Optimizer

from covtool.errors import ArgumentError
from covtool.specs import TrainingSpec
from covtool.variant_names import require_optimizer


def build_optimizer(groups: list[dict[str, Any]], training: TrainingSpec) -> Optimizer:
    """Return the optimizer over groups of parameters, by timm's name for it.

    Raises:
        UnknownVariantError: timm has no such optimizer.
        ArgumentError: It cannot be used here: a missing library, a second-order method, settings
            that it refuses.
    """
    require_optimizer(training.opt, list_optimizers())
    # Not every optimizer takes betas: they are passed on only where they were given.
    extra = {} if training.opt_betas is None else {"betas": training.opt_betas}
    try:
        optimizer = create_optimizer_v2(
            groups,
            opt=training.opt,
            lr=training.peak_lr,
            weight_decay=training.weight_decay,
            momentum=training.momentum,
            **extra,
        )
    except (AssertionError, ImportError, TypeError, ValueError) as problem:
        raise ArgumentError(
            f"The optimizer {training.opt!r} cannot be used.", reason=str(problem) or None
        ) from problem
    if getattr(optimizer, "is_second_order", False):
        raise ArgumentError(
            f"The optimizer {training.opt!r} needs second derivatives.",
            reason="covtool's training computes first derivatives only.",
        )
    return optimizer


def forget_(optimizer: Optimizer, fresh: dict[str, Any]) -> None:
    """Make an optimizer what it was before its first step, but for its learning rates.

    Args:
        optimizer: Optimizer whose moments, and whatever else it has gathered, are lost.
        fresh: State dict of the optimizer before its first step.
    """
    # The schedule has set the rates of the phase that begins: the old ones must not come back.
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(deepcopy(fresh))  # a copy: steps may change its tensors in place
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
