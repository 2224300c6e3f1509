"""An update's forward and backward passes once more, with somebody watching every layer."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from covtool.training.assembly import Parts
from covtool.training.layer_watch import LayerWatch, watching
from covtool.training.nonfinite import explain_gradient, explain_output, is_finite
from covtool.training.replica import Replica
from covtool.training.update import MicroBatch, add_gradient_, forget_gradient_


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was seen.

    Attributes:
        problem: What is not finite; None if all is well.
        reason: Where that starts; None if all is well.
        layer: The first layer with a non-finite output; None where all are finite.
        loss: Of the images of the last pass, in nats.
        watch: The layers during the pass in which it started, else during the last one.
    """

    problem: str | None
    reason: str | None
    layer: str | None
    loss: float
    watch: LayerWatch


def examine_(parts: Parts, passes: Iterable[MicroBatch]) -> Examination:
    """Do passes until a loss is not finite; the gradient is that of those that were done.

    Args:
        parts: The run, as it was before the update. Its gradients and statistics change.
        passes: What goes through the model, in order; at least one.
    """
    forget_gradient_(parts)
    kept, alone = None, Replica(parts.eager, compiled=False)
    for micro in passes:
        with watching(parts.model) as watch:
            loss = add_gradient_(parts, micro, alone).value
        kept = kept or (watch if watch.first_nonfinite_gradient else None)
        if not math.isfinite(loss):
            return Examination(
                problem=f"The loss is {loss}",
                reason=explain_output(parts.model, micro.images, watch),
                layer=watch.first_nonfinite_output,
                loss=loss,
                watch=watch,
            )
    watch = kept or watch
    parts.scaler.unscale_(parts.optimizer)
    gradients = [p.grad for p in parts.model.parameters() if p.grad is not None]
    broken = not is_finite(torch.nn.utils.get_total_norm(gradients))
    return Examination(
        problem="The gradient is not finite" if broken else None,
        reason=explain_gradient(parts.model, watch) if broken else None,
        layer=watch.first_nonfinite_output,
        loss=loss,
        watch=watch,
    )
