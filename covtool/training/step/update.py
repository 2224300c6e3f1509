"""One update of the weights: forward, backward, unscale, clip, centralize, step, average."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from covtool.backbones.device import sent_to
from covtool.errors import ProcessGroupError
from covtool.training.parts.acceleration import recomputing
from covtool.training.parts.assembly import Parts
from covtool.training.parts.replica import Replica
from covtool.training.step.reading import Reading

Batch = tuple[Tensor, Tensor]

GRADIENT = "The gradient is not finite"  # a problem of an update
LEAST_SCALE = 1e-3  # of float16 losses; torch starts at 65536 and halves


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Images that go through the model together.

    Attributes:
        images: Images on the device, mixed where mixing is on.
        targets: Labels, or shares of classes where images are mixed.
        share: Weight of their mean loss in the update's; those of all processes add up to 1.
        is_last: Whether they are the update's last, so that gradients are exchanged on the way
            back.
    """

    images: Tensor
    targets: Tensor
    share: float
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLoss:
    """The loss of some images, in all processes, without penalties.

    Attributes:
        value: Loss that is minimized, in nats.
        terms: Terms of a sum of losses, each without its weight; empty for a single one.
        share: Weight of these images in the update.
    """

    value: float
    terms: dict[str, float]
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """Loss and gradient of an update, and whether something in it was not finite.

    Attributes:
        loss: Mean over its images, in nats, without penalties.
        losses: Its terms, each without its weight; empty for a single one.
        images: Number of images.
        grad_norm: Norm of the gradient, before clipping; infinite where float16 overflowed and the
            scaler skips the step; NaN where the loss is not finite.
        problem: Quantity that is not finite, so that the weights were not changed; None if all is
            well.
    """

    loss: float
    losses: dict[str, float]
    images: int
    grad_norm: float
    problem: str | None = None


def update_(
    parts: Parts,
    batches: Sequence[Batch],
    micro_batch: int | None = None,
    *,
    updates: int,
    before_step: Callable[[], str | None] = lambda: None,
    only_gradient: bool = False,
) -> UpdateResult:
    """Do one update of the weights, unless something in it is not finite.

    Args:
        parts: The run.
        batches: `grad_accum_steps` batches, fewer at the end of an epoch.
        micro_batch: Images that go through the model together; None for a batch's.
        updates: Updates done before this one.
        before_step: Last check, once the gradient is finite: returns a problem that keeps the
            weights as they are, or None.
        only_gradient: Whether to leave the gradient, clipped, and the weights as they are.
    """
    images = count_images(parts, batches)
    loss = forward_and_backward_(parts, micro_batches(parts, batches, micro_batch, total=images))
    result = partial(UpdateResult, loss=loss.value, losses=loss.terms, images=images)
    if not math.isfinite(loss.value):
        return result(grad_norm=math.nan, problem=f"The loss is {loss.value}")

    # Clipping needs the true norm, and centralization comes last: it works on what the optimizer
    # is given (Yong et al., algorithms 1 and 2).
    parts.scaler.unscale_(parts.optimizer)
    norm = clip_(parts)
    problem = None if is_usable(norm, parts) else GRADIENT
    problem = problem or before_step()
    if problem is None and not only_gradient:
        centralize_and_step_(parts)
        parts.constraints.project_(updates + 1)
        average_(parts, updates + 1)
        parts.schedule.set_updates(updates + 1)
    return result(grad_norm=norm, problem=problem)


def skip_update_(parts: Parts, *, updates: int) -> None:
    """Leave the weights as they are, but count the update in the schedule.

    Args:
        parts: The run.
        updates: Updates done before this one.
    """
    forget_gradient_(parts)
    parts.schedule.set_updates(updates + 1)


def forget_gradient_(parts: Parts) -> None:
    """Discard the gradient; the statistics of batch norms stay as they are."""
    parts.optimizer.zero_grad(set_to_none=True)
    if parts.scaler.is_enabled():
        # The scaler refuses to unscale twice between two updates of its scale. With the same scale
        # as an argument the update only makes it forget this gradient.
        parts.scaler.update(parts.scaler.get_scale())


def count_images(parts: Parts, batches: Sequence[Batch]) -> int:
    """Return the number of images of an update, in all processes."""
    (total,) = parts.processes.sum(sum(len(labels) for _, labels in batches))
    return int(total)


def micro_batches(
    parts: Parts, batches: Sequence[Batch], size: int | None, *, total: int
) -> Iterator[MicroBatch]:
    """Yield the images of an update as they go through the model, in parts of at most `size`.

    A batch is mixed as a whole before it is cut into parts as equal as can be: a single image
    left over would be too few for a batch norm. All processes cut theirs into as many.

    Args:
        parts: The run.
        batches: Batches of this process.
        size: Images of a part; None for whole batches.
        total: Images of all processes.
    """
    for number, batch in enumerate(batches, start=1):
        images, targets = _on_device(parts, *batch)
        share = len(batch[1]) / total
        count = 1
        if size is not None:
            # Every forward pass ends in an exchange: a process with more parts would wait for ever.
            (largest,) = parts.processes.most(len(images))
            count = -(-int(largest) // size)
        pairs = zip(images.tensor_split(count), targets.tensor_split(count), strict=True)
        for place, (some, their_targets) in enumerate(pairs, start=1):
            yield MicroBatch(
                images=some,
                targets=their_targets,
                share=share * (len(some) / len(images)),  # parts may differ by an image
                is_last=(number, place) == (len(batches), count),
            )


def forward_and_backward_(parts: Parts, images: Iterable[MicroBatch]) -> MeanLoss:
    """Pass all images of an update forward and backward; the gradient is that of the mean loss.

    Returns:
        The mean over all images. Where the loss of some is not finite, it is that, and the rest is
        left out.
    """
    parts.optimizer.zero_grad(set_to_none=True)
    value, terms, share = 0.0, Counter(), 0.0
    for micro in images:
        loss = add_gradient_(parts, micro, parts.forward)
        if not math.isfinite(loss.value):
            return loss
        value, share = value + loss.value * loss.share, share + loss.share
        for name, term in loss.terms.items():
            terms[name] += term * loss.share
    return MeanLoss(value=value, terms=dict(terms), share=share)


def add_gradient_(parts: Parts, micro: MicroBatch, replica: Replica) -> MeanLoss:
    """Pass a few images forward and, where the loss is finite, backward.

    All processes do the same, and know the same afterwards. Until the last backward pass, which
    exchanges gradients, an error of one is raised in all.

    Args:
        parts: The run.
        micro: The images.
        replica: `parts.forward`, or its replacement.

    Returns:
        The mean over them.
    """
    names = parts.objective.names
    agreed = partial(parts.processes.agreed, numbers=2 + len(names))

    def both_passes() -> tuple[None, list[float]]:
        loss, reading = _forward(parts, micro, replica)
        return None, [micro.share, *_backward_where_finite_(parts, micro, loss, reading)]

    def forward() -> tuple[Tensor, list[float]]:
        loss, reading = _forward(parts, micro, replica)
        return loss, [micro.share, *reading.numbers()]

    # Both passes stay within this process: one exchange is enough.
    if not micro.is_last or parts.processes.world == 1:
        with replica.accumulating():
            _, numbers = agreed(both_passes)
        return _mean(numbers, names)
    try:
        loss, numbers = agreed(forward)
    except ProcessGroupError:
        raise
    except Exception:
        replica.abandon_()  # the others did as well: they know of the error
        raise
    mean = _mean(numbers, names)
    # The decision has to be the same in all processes, so it is taken by the loss of all.
    if math.isfinite(mean.value):
        with replica.exchanging():
            _backward_(parts, micro, loss)
    else:
        replica.abandon_()
    return mean


def clip_(parts: Parts) -> float:
    """Clip the gradient by ``--clip-grad``, where it is set, and return its norm before."""
    parameters = [p for group in parts.optimizer.param_groups for p in group["params"]]
    limit = parts.training.clip_grad
    if limit is not None:
        return float(torch.nn.utils.clip_grad_norm_(parameters, limit))
    gradients = [p.grad for p in parameters if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def is_usable(norm: float, parts: Parts) -> bool:
    """Return whether the weights may be changed by a gradient of this norm.

    float16 overflows now and then: the scaler skips such a step and lowers its scale, so it is
    only at the lowest scale that an overflow says something about the model.
    """
    overflows = parts.scaler.is_enabled() and parts.scaler.get_scale() > LEAST_SCALE
    return math.isfinite(norm) or overflows


def centralize_and_step_(parts: Parts) -> None:
    """Step the optimizer, whose own hooks centralize what it is given, or what it does.

    See `covtool.training.centralization.hooks`: an optimizer of any library is centralized so.
    """
    parts.scaler.step(parts.optimizer)
    parts.scaler.update()


def average_(parts: Parts, updates: int) -> None:
    """Average running statistics over the processes, and the weights over the updates.

    Args:
        parts: The run.
        updates: Updates done, with this one.
    """
    parts.forward.average_statistics_()  # first: the moving average takes the statistics as well
    if parts.ema is not None:
        parts.ema.update(parts.model, step=updates)


def centralized_norm(parts: Parts, norm: float) -> float | None:
    """Return the gradient's norm after clipping and centralization, without weight decay.

    To be called once the gradient was applied. By Pythagoras: what centralization removes is
    orthogonal to what it leaves.

    Args:
        parts: The run.
        norm: Norm of the gradient before clipping.

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
    return math.sqrt(max(clipped**2 - removed**2, 0.0))  # rounding may leave less than nothing


def _on_device(parts: Parts, images: Tensor, labels: Tensor) -> Batch:
    layout = torch.channels_last if parts.training.channels_last else torch.preserve_format
    images = sent_to(parts.device, images, memory_format=layout)
    return parts.objective.prepare(images, sent_to(parts.device, labels))


def _forward(parts: Parts, micro: MicroBatch, replica: Replica) -> tuple[Tensor, Reading]:
    """Return the loss; the loss and its terms, to be read as numbers."""
    with parts.autocast():
        outputs = replica(micro.images)
    terms = parts.objective.terms(outputs, micro.targets)
    loss = parts.objective.total(terms)
    return loss, Reading([loss, *(terms[name] for name in parts.objective.names)])


def _backward_where_finite_(
    parts: Parts, micro: MicroBatch, loss: Tensor, reading: Reading
) -> list[float]:
    """Pass backward where the loss is finite; return the loss and its terms.

    A device that has yet to compute the loss gets the backward pass to do as well: it would stand
    still while Python reads the loss and decides. The gradient of a loss that is not finite is
    never used, and an error on the way to it says nothing.
    """
    if not reading.is_under_way:
        numbers = reading.numbers()
        if math.isfinite(numbers[0]):
            _backward_(parts, micro, loss)
        return numbers
    try:
        _backward_(parts, micro, loss)
    except Exception:
        if math.isfinite(reading.numbers()[0]):
            raise
    return reading.numbers()


def _backward_(parts: Parts, micro: MicroBatch, loss: Tensor) -> None:
    penalty = parts.constraints.penalty()
    if penalty is not None:
        loss = loss + penalty
    # DistributedDataParallel divides by the number of processes; the shares add up to 1 already.
    weight = micro.share * parts.processes.world
    with recomputing(parts.model, parts.training):
        parts.scaler.scale(loss * weight).backward()


def _mean(numbers: Sequence[Sequence[float]], names: Sequence[str]) -> MeanLoss:
    """Return the means over the images of all processes, from the means of each."""
    shares, *means = numbers
    share = sum(shares)
    value, *terms = (sum(m * (s / share) for m, s in zip(of, shares, strict=True)) for of in means)
    return MeanLoss(value=value, terms=dict(zip(names, terms, strict=True)), share=share)
