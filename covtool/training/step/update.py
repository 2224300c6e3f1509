"""One update of the weights: forward, backward, unscale, clip, centralize, step."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from covtool.errors import ProcessGroupError
from covtool.training.parts.acceleration import recomputing
from covtool.training.parts.assembly import Parts
from covtool.training.parts.replica import Replica

Batch = tuple[Tensor, Tensor]

GRADIENT = "The gradient is not finite"  # a problem of an update
LEAST_SCALE = 1e-3  # of float16 losses; torch starts at 65536 and halves


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Images that go through the model together.

    Attributes:
        images: On the device, mixed where mixing is on.
        targets: Labels, or shares of classes where images are mixed.
        share: Weight of their mean loss in the update's; those of all processes add up to 1.
        is_last: Of the update's, so that gradients are exchanged on the way back.
    """

    images: Tensor
    targets: Tensor
    share: float
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLoss:
    """The loss of some images, in all processes, without penalties.

    Attributes:
        value: What is minimized, in nats.
        terms: Of a sum, each without its weight; empty for a single one.
        share: Weight of these images in the update.
    """

    value: float
    terms: dict[str, float]
    share: float


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
    images = count_images(parts, batches)
    loss = accumulate_gradient_(parts, micro_batches(parts, batches, micro_batch, total=images))
    came_to = partial(UpdateResult, loss=loss.value, losses=loss.terms, images=images)
    if not math.isfinite(loss.value):
        return came_to(grad_norm=math.nan, problem=f"The loss is {loss.value}")
    parts.scaler.unscale_(parts.optimizer)
    norm = float(_gradient_norm(parts))
    # float16 overflows now and then; the scaler skips such a step and lowers its scale.
    overflows = parts.scaler.is_enabled() and parts.scaler.get_scale() > LEAST_SCALE
    problem = None if math.isfinite(norm) or overflows else GRADIENT
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
    parts.forward.average_statistics_()
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


def count_images(parts: Parts, batches: Sequence[Batch]) -> int:
    """Return images of an update, in all processes."""
    (total,) = parts.processes.sum(sum(len(labels) for _, labels in batches))
    return int(total)


def accumulate_gradient_(parts: Parts, micro_batches: Iterable[MicroBatch]) -> MeanLoss:
    """Forward and backward of all images; the gradient is that of the mean over them.

    Returns:
        The mean over all images. Where the loss of some is not finite, it is that, and the rest is
        left out.
    """
    parts.optimizer.zero_grad(set_to_none=True)
    value, terms, share = 0.0, Counter(), 0.0
    for micro in micro_batches:
        loss = add_gradient_(parts, micro, parts.forward)
        if not math.isfinite(loss.value):
            return loss
        value, share = value + loss.value * loss.share, share + loss.share
        for name, of_term in loss.terms.items():
            terms[name] += of_term * loss.share
    return MeanLoss(value=value, terms=dict(terms), share=share)


def micro_batches(
    parts: Parts, batches: Sequence[Batch], size: int | None, *, total: int
) -> Iterator[MicroBatch]:
    """Yield the images of an update as they go through the model, in parts of at most `size`.

    A batch is mixed as a whole before it is cut into parts as equal as can be: a single image
    left over would be too few for a batch norm. All processes cut theirs into as many.

    Args:
        parts: The run.
        batches: Of this process.
        size: None for whole batches.
        total: Images of all processes.
    """
    for number, batch in enumerate(batches, start=1):
        images, targets = _on_device(parts, *batch)
        share = len(batch[1]) / total
        count = 1 if size is None else _parts(parts, len(images), size)
        pairs = zip(images.tensor_split(count), targets.tensor_split(count), strict=True)
        for place, (some, their_targets) in enumerate(pairs, start=1):
            yield MicroBatch(
                images=some,
                targets=their_targets,
                share=share * (len(some) / len(images)),
                is_last=(number, place) == (len(batches), count),
            )


def add_gradient_(parts: Parts, micro: MicroBatch, replica: Replica) -> MeanLoss:
    """Forward and, where the loss is finite, backward of a few images.

    All processes do the same, and know the same afterwards. Until the last backward pass, which
    exchanges gradients, an error of one is raised in all.

    Args:
        parts: The run.
        micro: The images.
        replica: `parts.forward`, or what stands for it.

    Returns:
        The mean over them.
    """
    names = parts.objective.names
    agreed = partial(parts.processes.agreed, numbers=2 + len(names))
    if not micro.is_last:
        with replica.accumulating():
            _, numbers = agreed(partial(_forward_and_backward_, parts, micro, replica))
        return _mean(numbers, names)
    try:
        loss, numbers = agreed(partial(_forward, parts, micro, replica))
    except ProcessGroupError:
        raise
    except Exception:
        replica.abandon_()
        raise
    mean = _mean(numbers, names)
    if math.isfinite(mean.value):
        with replica.exchanging():
            _backward_(parts, micro, loss)
    else:
        replica.abandon_()
    return mean


def _parts(parts: Parts, images: int, size: int) -> int:
    (largest,) = parts.processes.most(images)
    return -(-int(largest) // size)


def _forward(parts: Parts, micro: MicroBatch, replica: Replica) -> tuple[Tensor, list[float]]:
    """Return the loss; the share of the images, the loss and its terms as numbers."""
    with parts.autocast():
        outputs = replica(micro.images)
    terms = parts.objective.terms(outputs, micro.targets)
    loss = parts.objective.total(terms)
    of_terms = (terms[name].item() for name in parts.objective.names)
    return loss, [micro.share, loss.item(), *of_terms]


def _backward_(parts: Parts, micro: MicroBatch, loss: Tensor) -> None:
    penalty = parts.constraints.penalty()
    if penalty is not None:
        loss = loss + penalty
    weight = micro.share * parts.processes.world  # the mean over processes is what comes of it
    with recomputing(parts.model, parts.training):
        parts.scaler.scale(loss * weight).backward()


def _forward_and_backward_(
    parts: Parts, micro: MicroBatch, replica: Replica
) -> tuple[None, list[float]]:
    loss, numbers = _forward(parts, micro, replica)
    if math.isfinite(numbers[1]):
        _backward_(parts, micro, loss)
    return None, numbers


def _mean(numbers: Sequence[Sequence[float]], names: Sequence[str]) -> MeanLoss:
    """Return means over the images of all processes, from those of each."""
    shares, *means = numbers
    share = sum(shares)
    value, *terms = (sum(m * (s / share) for m, s in zip(of, shares, strict=True)) for of in means)
    return MeanLoss(value=value, terms=dict(zip(names, terms, strict=True)), share=share)


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
