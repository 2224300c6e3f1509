"""One update of the weights: forward, backward, unscale, clip, centralize, step."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from covtool.training.assembly import Parts
from covtool.training.gradient_checkpointing import recomputing

Batch = tuple[Tensor, Tensor]

LEAST_SCALE = 1e-3  # of float16 losses; torch starts at 65536 and halves


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Images that go through the model together.

    Attributes:
        images: On the device, mixed where mixing is on.
        targets: Labels, or shares of classes where images are mixed.
        share: Weight of their mean loss in the update's.
    """

    images: Tensor
    targets: Tensor
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLoss:
    """The loss of some images, without penalties.

    Attributes:
        value: What is minimized, in nats.
        terms: Of a sum, each without its weight; empty for a single one.
    """

    value: float
    terms: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """What an update came to.

    Attributes:
        loss: Mean over its images, in nats, without penalties.
        losses: Its terms, each without its weight; empty for a single one.
        images: How many.
        grad_norm: Of the gradient, before clipping; infinite where float16 overflowed and the
            scaler skips the step.
        problem: What is not finite, so that the weights must not be changed; None if all is well.
    """

    loss: float
    losses: dict[str, float]
    images: int
    grad_norm: float
    problem: str | None = None


def compute_gradient_(
    parts: Parts, batches: Sequence[Batch], *, micro_batch: int | None = None
) -> UpdateResult:
    """The gradient of the mean loss over all images of an update: unscaled, clipped, not applied.

    Args:
        parts: The run.
        batches: `grad_accum_steps` of them, fewer at the end of an epoch.
        micro_batch: Images that go through the model together; None for a batch's.
    """
    loss = accumulate_gradient_(parts, batches, micro_batch=micro_batch)
    images = sum(len(labels) for _, labels in batches)
    came_to = partial(UpdateResult, loss=loss.value, losses=loss.terms, images=images)
    if not math.isfinite(loss.value):
        return came_to(grad_norm=math.nan, problem=f"The loss is {loss.value}")
    parts.scaler.unscale_(parts.optimizer)
    norm = float(_gradient_norm(parts))
    # float16 overflows now and then; the scaler skips such a step and lowers its scale.
    overflows = parts.scaler.is_enabled() and parts.scaler.get_scale() > LEAST_SCALE
    problem = None if math.isfinite(norm) or overflows else "The gradient is not finite"
    return came_to(grad_norm=norm, problem=problem)


def apply_gradient_(parts: Parts, *, updates: int) -> None:
    """Change the weights by the gradient that is there, and what follows them.

    Args:
        parts: The run.
        updates: Done before this one.
    """
    parts.scaler.step(parts.optimizer)
    parts.scaler.update()
    parts.constraints.project_(updates + 1)
    if parts.ema is not None:
        parts.ema.update(parts.model, step=updates + 1)
    parts.schedule.set_updates(updates + 1)


def drop_gradient_(parts: Parts, *, updates: int) -> None:
    """Leave the weights as they are, but count the update in the schedule.

    Args:
        parts: The run.
        updates: Done before this one.
    """
    forget_gradient_(parts)
    parts.schedule.set_updates(updates + 1)


def forget_gradient_(parts: Parts) -> None:
    """Be as before the forward pass, the statistics of batch norms apart."""
    parts.optimizer.zero_grad(set_to_none=True)
    if parts.scaler.is_enabled():
        parts.scaler.update(parts.scaler.get_scale())  # the same: it only forgets this gradient


def accumulate_gradient_(
    parts: Parts, batches: Sequence[Batch], *, micro_batch: int | None = None
) -> MeanLoss:
    """Forward and backward of all images; the gradient is that of the mean over them.

    Returns:
        The mean over all images. Where the loss of some is not finite, it is that, and the rest is
        left out.
    """
    parts.optimizer.zero_grad(set_to_none=True)
    value, terms = 0.0, Counter()
    for micro in micro_batches(parts, batches, micro_batch):
        loss = add_gradient_(parts, micro, parts.forward)
        if not math.isfinite(loss.value):
            return loss
        value += loss.value * micro.share
        for name, of_term in loss.terms.items():
            terms[name] += of_term * micro.share
    return MeanLoss(value=value, terms=dict(terms))


def micro_batches(parts: Parts, batches: Sequence[Batch], size: int | None) -> Iterator[MicroBatch]:
    """The images of an update as they go through the model, in parts of at most `size`.

    A batch is mixed as a whole before it is cut into parts as equal as can be: a single image
    left over would be too few for a batch norm.
    """
    total = sum(len(labels) for _, labels in batches)
    for batch in batches:
        images, targets = _on_device(parts, *batch)
        share = len(batch[1]) / total
        count = 1 if size is None else -(-len(images) // size)
        pairs = zip(images.tensor_split(count), targets.tensor_split(count), strict=True)
        for some, their_targets in pairs:
            part = share * (len(some) / len(images))
            yield MicroBatch(images=some, targets=their_targets, share=part)


def add_gradient_(parts: Parts, micro: MicroBatch, forward: nn.Module) -> MeanLoss:
    """Forward and, where the loss is finite, backward of a few images.

    Args:
        parts: The run.
        micro: The images.
        forward: `parts.forward`, or what stands for it.

    Returns:
        The mean over them.
    """
    with parts.autocast():
        outputs = forward(micro.images)
    terms = parts.objective.terms(outputs, micro.targets)
    loss = parts.objective.total(terms)
    value = loss.item()
    if math.isfinite(value):
        penalty = parts.constraints.penalty()
        if penalty is not None:
            loss = loss + penalty
        with recomputing(parts.model, parts.training):
            parts.scaler.scale(loss * micro.share).backward()
    several = terms if len(terms) > 1 else {}
    return MeanLoss(value=value, terms={name: term.item() for name, term in several.items()})


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


def centralized_norm(parts: Parts, norm: float) -> float | None:
    """Of the gradient after clipping and centralization, once it was applied; without weight decay.

    By Pythagoras: what centralization removes is orthogonal to what it leaves.

    Args:
        parts: The run.
        norm: Of the gradient before clipping.

    Returns:
        None without gradient centralization; `norm` where it is not finite and the step was
        skipped.
    """
    if parts.centralization is None:
        return None
    if not math.isfinite(norm):
        return norm
    clipped = min(norm, parts.training.clip_grad or math.inf)
    removed = float(parts.centralization.removed_norm())
    return math.sqrt(max(clipped**2 - removed**2, 0.0))
