"""One update of the weights: forward, backward, unscale, clip, centralize, step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import NonFiniteError
from covtool.training.assembly import Parts
from covtool.training.nonfinite import explain_nonfinite, first_nonfinite_gradient

Batch = tuple[Tensor, Tensor]

LEAST_SCALE = 1e-3  # of float16 losses; torch starts at 65536 and halves


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """What an update did.

    Attributes:
        loss: Mean over its images, in nats.
        images: How many.
        grad_norm: Of the gradient, before clipping; infinite where float16 overflowed and the
            scaler skipped the step.
    """

    loss: float
    images: int
    grad_norm: float


def update_weights_(parts: Parts, batches: Sequence[Batch], *, updates: int) -> UpdateResult:
    """Train on one or several batches that make one update.

    Args:
        parts: The run.
        batches: `grad_accum_steps` of them, fewer at the end of an epoch.
        updates: Done before this one.

    Raises:
        NonFiniteError: The loss or the gradient is not finite; the weights are as they were.
    """
    parts.optimizer.zero_grad(set_to_none=True)
    loss, images = accumulate_gradient_(parts, batches, step=updates + 1)
    parts.scaler.unscale_(parts.optimizer)
    norm = float(_gradient_norm(parts))
    # float16 overflows now and then; the scaler skips such a step and lowers its scale.
    overflows = parts.scaler.is_enabled() and parts.scaler.get_scale() > LEAST_SCALE
    if not math.isfinite(norm) and not overflows:
        raise _nonfinite_gradient(parts, updates + 1)
    parts.scaler.step(parts.optimizer)
    parts.scaler.update()
    parts.constraints.project_(updates + 1)
    if parts.ema is not None:
        parts.ema.update(parts.model, step=updates + 1)
    parts.schedule.set_updates(updates + 1)
    return UpdateResult(loss=loss, images=images, grad_norm=norm)


def accumulate_gradient_(parts: Parts, batches: Sequence[Batch], *, step: int) -> tuple[float, int]:
    """Forward and backward of each batch; the gradient is that of the mean over all images.

    Returns:
        The mean loss in nats, without penalties, and the number of images.

    Raises:
        NonFiniteError: A loss is not finite.
    """
    total = sum(len(labels) for _, labels in batches)
    summed = 0.0
    for images, labels in batches:
        images, targets = _on_device(parts, images, labels)
        with parts.autocast():
            logits = parts.forward(images)
        loss = parts.objective(logits, targets) * (len(labels) / total)
        value = loss.item()
        if not math.isfinite(value):
            raise _nonfinite_loss(parts, images, value, step)
        penalty = parts.constraints.penalty()
        if penalty is not None:
            loss = loss + penalty * (len(labels) / total)
        parts.scaler.scale(loss).backward()
        summed += value
    return summed, total


def _on_device(parts: Parts, images: Tensor, labels: Tensor) -> Batch:
    layout = torch.channels_last if parts.training.channels_last else torch.preserve_format
    images = images.to(parts.device, non_blocking=True, memory_format=layout)
    return parts.objective.prepare(images, labels.to(parts.device, non_blocking=True))


def _gradient_norm(parts: Parts) -> Tensor:
    parameters = [p for group in parts.optimizer.param_groups for p in group["params"]]
    limit = parts.training.clip_grad
    if limit is not None:
        return torch.nn.utils.clip_grad_norm_(parameters, limit)
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _nonfinite_loss(parts: Parts, images: Tensor, value: float, step: int) -> NonFiniteError:
    with parts.autocast():
        reason = explain_nonfinite(parts.model, images)
    return NonFiniteError(f"The loss is {value} at step {step}.", reason=reason)


def _nonfinite_gradient(parts: Parts, step: int) -> NonFiniteError:
    name = first_nonfinite_gradient(parts.model)
    return NonFiniteError(
        f"The gradient is not finite at step {step}.",
        reason=f"The first parameter with such a gradient is {name!r}."
        if name
        else "Each parameter's is finite, but its norm overflows.",
    )
