"""The diagnosis of an update that was not finite: its passes once more, every layer watched."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from covtool.training.parts.assembly import Parts
from covtool.training.parts.replica import Replica
from covtool.training.step.nonfinite import (
    LayerWatch,
    explain_gradient,
    explain_output,
    first_nonfinite_tensor,
    is_finite,
    watching,
)
from covtool.training.step.update import GRADIENT, MicroBatch, add_gradient_, forget_gradient_

STATISTICS = "The statistics of a batch norm are not finite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The finding of a second run of an update's passes.

    Attributes:
        problem: Quantity that is not finite; None if all is well.
        reason: Sentence that says where that starts; None if all is well.
        layer: The first layer with a non-finite output; None where all are finite.
        is_here: Whether it starts with images of this process.
        loss: Loss of the images of the last pass, in nats.
        watch: The layers during the pass in which it started, else during the last one.
    """

    problem: str | None
    reason: str | None
    layer: str | None
    is_here: bool
    loss: float
    watch: LayerWatch


def diagnose_(parts: Parts, passes: Iterable[MicroBatch]) -> Diagnosis:
    """Do passes until a loss is not finite; the gradient is that of those that were done.

    Args:
        parts: The run, as it was before the update. Its gradients and statistics change.
        passes: Images that go through the model, in order; at least one.
    """
    forget_gradient_(parts)
    # Compiled models run no hooks, and the other processes take no part in this.
    kept, alone = None, Replica(parts.eager, compiled=False)
    for micro in passes:
        with watching(parts.model) as watch:
            loss = add_gradient_(parts, micro, alone).value
        kept = kept or (watch if watch.first_nonfinite_gradient else None)
        if not math.isfinite(loss):
            return Diagnosis(
                problem=f"The loss is {loss}",
                reason=explain_output(parts.model, micro.images, watch),
                layer=watch.first_nonfinite_output,
                is_here=bool(watch.first_nonfinite_output) or not is_finite(micro.images),
                loss=loss,
                watch=watch,
            )
    watch = kept or watch
    problem, reason = _after_backward(parts, watch)
    return Diagnosis(
        problem=problem,
        reason=reason,
        layer=watch.first_nonfinite_output,
        is_here=problem is not None,
        loss=loss,
        watch=watch,
    )


def _after_backward(parts: Parts, watch: LayerWatch) -> tuple[str, str] | tuple[None, None]:
    """Find a gradient or a statistic that is not finite though the loss is."""
    parts.scaler.unscale_(parts.optimizer)
    gradients = [p.grad for p in parts.model.parameters() if p.grad is not None]
    if not is_finite(torch.nn.utils.get_total_norm(gradients)):
        return GRADIENT, explain_gradient(parts.model, watch)
    broken = first_nonfinite_tensor(parts.model.named_buffers())
    if broken:
        return STATISTICS, f"The first tensor with such a value is {broken!r}."
    return None, None
