"""A learning-rate range test: a ramp of rates on a copy of the model, before the run begins.

The updates are the run's own (`covtool.training.step.update`), with its optimizer, clipping,
accumulation, precision, losses and multipliers of the rate; only the rate is the ramp's. After each
of them the loss on held-out images is measured, always the same ones: training losses differ from
batch to batch, and those of a calibrated head, which has fit its training images, can only rise.

Source:
    Smith. "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3.
"""

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from covtool.backbones.module_modes import in_eval_mode
from covtool.checkpoints.opened import OpenedModel
from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import evaluation_loader
from covtool.errors import DataError
from covtool.processes import Processes
from covtool.run_files.learning_rates import RatePoint
from covtool.specs import FinetuneRequest
from covtool.training.parts.acceleration import tf32
from covtool.training.parts.assembly import Parts
from covtool.training.parts.rate_choice import MARGIN, is_over
from covtool.training.run.observer import Observer
from covtool.training.run.random_state import capture_generators, set_generators
from covtool.training.run.state import RunState
from covtool.training.start.prepare import Material
from covtool.training.step.out_of_memory import within_memory
from covtool.training.step.rewind import Rewind
from covtool.training.step.update import Batch, UpdateResult, update_

LOWEST, HIGHEST = 1e-6, 10.0
"""Rates of the ramp's ends; it begins higher where the schedule does."""

LEAST_UPDATES, MOST_UPDATES = 32, 100
"""An epoch has as many updates as the ramp, within these bounds: fewer points say too little."""

HELD_OUT, LEAST_HELD_OUT = 64, 4
"""Held-out images of all processes that the loss is measured on; of each process, at least."""


class Ramp:
    """A schedule whose rate grows by the same factor with every update.

    Args:
        optimizer: Optimizer whose groups have an ``lr_scale`` each.
        rates: Rates of a group with ``lr_scale`` 1, one an update.
    """

    def __init__(self, optimizer: Optimizer, rates: Sequence[float]) -> None:
        self._optimizer, self.rates = optimizer, rates
        self.set_updates(0)

    def set_updates(self, updates: int) -> None:
        """Set the rates for the step after this many updates."""
        lr = self.rates[min(updates, len(self.rates) - 1)]
        for group in self._optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    parts: Parts
    state: RunState
    observer: Observer


def run_ramp(
    material: Material, request: FinetuneRequest, observer: Observer, processes: Processes
) -> tuple[RatePoint, ...]:
    """Train a copy of a model at rising rates, until its loss explodes; the run stays as it is.

    Model, optimizer, scaler, moving average and loaders are the test's own, and the random number
    generators have their states back. Nothing is written.

    Args:
        material: Model and images of the run, which are not changed.
        request: Settings of the run; their learning rate is not used.
        observer: Observer that is shown the progress.
        processes: Processes that train together; all decide the same, by the losses of all.

    Returns:
        The model as it came, with a rate of 0, then an update each.

    Raises:
        CovtoolError: As `assemble` and an update.
    """
    generators = capture_generators()
    try:
        parts = _on_a_copy(material, request, processes)
        return tuple(_points(parts, observer))
    finally:
        set_generators(generators)
        parts = None  # its memory is the run's now
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _on_a_copy(material: Material, request: FinetuneRequest, processes: Processes) -> Parts:
    opened = material.opened
    copy = OpenedModel(model=deepcopy(opened.model), recipe=opened.recipe)
    # A suggestion is below the rates of the ramp, and must not be below the schedule's ends.
    lowest = max(LOWEST, MARGIN * request.training.lowest_peak)
    training = request.training.model_copy(update={"lr": lowest})
    request = request.model_copy(update={"training": training})
    parts = replace(material, opened=copy).assembled(request, processes)
    number = min(max(parts.updates_per_epoch, LEAST_UPDATES), MOST_UPDATES)
    return replace(parts, schedule=Ramp(parts.optimizer, ramp_rates(lowest, number)))


def ramp_rates(lowest: float, number: int) -> tuple[float, ...]:
    """Return rates that rise by the same factor, to `HIGHEST` or three decades."""
    step = math.log(max(HIGHEST / lowest, 1e3)) / (number - 1)
    return tuple(lowest * math.exp(step * n) for n in range(number))


def _points(parts: Parts, observer: Observer) -> Iterator[RatePoint]:
    for note in _left_out(parts):
        observer.on_note(note)
    held_out = _held_out(parts)
    trial = _Trial(parts=parts, state=RunState(world=parts.processes.world), observer=observer)
    parts.enter_epoch_(0)
    parts.begin_epoch(0)
    rates = parts.schedule.rates
    updates = zip(rates, _updates(parts), strict=False)
    with tf32(parts.training.tf32):
        losses: list[float] = []
        start = _held_out_loss(parts, held_out)
        yield RatePoint(lr=0.0, train_loss=None, held_out_loss=start)
        for number, (lr, batches) in enumerate(
            observer.track(updates, "learning rates", len(rates))
        ):
            parts.processes.doing = f"update {number + 1} of the range test"
            result = _update(trial, batches, number)
            loss = math.nan if result.problem else _held_out_loss(parts, held_out)
            yield RatePoint(lr=lr, train_loss=result.loss, held_out_loss=loss)
            losses.append(loss)
            if is_over(losses, start=start):
                return


def _left_out(parts: Parts) -> Iterator[str]:
    """Yield sentences on what a run does after its first epoch, and the test does not."""
    if parts.freezing.at(0) != parts.freezing.trained:
        yield (
            "The range test trains what the first epoch trains: the rate may be too large for what "
            "thaws later."
        )
    if parts.heads is not None and len(parts.heads.phases) > 1:
        yield (
            "The range test has the head of the first epoch: the rate may be too large for those "
            "that follow."
        )


def _update(trial: _Trial, batches: Sequence[Batch], number: int) -> UpdateResult:
    start = Rewind(trial.parts.model)

    def begin_step() -> None:
        start.may_retry = False  # from here on processes and weights go on together

    update = partial(update_, trial.parts, batches, updates=number, before_step=begin_step)
    return within_memory(trial, update, start)


def _updates(parts: Parts) -> Iterator[tuple[Batch, ...]]:
    """Yield the batches of updates, from one epoch's order of the images to the next's."""
    for epoch in count():
        # The order alone: what is frozen, and which head is in use, stays as in the first epoch.
        parts.training_batches.set_epoch(epoch)
        batches = iter(parts.training_batches)
        while group := tuple(islice(batches, parts.training.grad_accum_steps)):
            yield group


def _held_out(parts: Parts) -> list[tuple[Tensor, Tensor]]:
    """Return held-out images of all classes, of this process, as many as of each other one."""
    processes, samples = parts.processes, parts.data.validation
    each = min(len(samples), HELD_OUT) // processes.world
    if each < LEAST_HELD_OUT:
        raise DataError(
            f"{len(samples)} validation images are too few to judge learning rates by.",
            reason=f"Each process needs {LEAST_HELD_OUT}; there are {processes.world}.",
            hint="Give the rate with --lr.",
        )
    spread = _spread(samples, each * processes.world)
    loader = evaluation_loader(
        processes.share_of(spread),
        parts.recipe.input,
        batch_size=parts.training.batch_size,
        workers=parts.training.workers,
        device=parts.device,
        on_bad_image=parts.training.on_bad_image,
    )
    images, labels = map(torch.cat, zip(*loader, strict=True))
    parts_ = -(-each // parts.training.batch_size)
    return list(zip(images.tensor_split(parts_), labels.tensor_split(parts_), strict=True))


def _spread(samples: Sequence[Sample], number: int) -> list[Sample]:
    """Return as many samples at equal distances: the order is often that of the classes."""
    return [samples[at * len(samples) // number] for at in range(number)]


def _held_out_loss(parts: Parts, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the mean cross entropy, in nats, over the held-out images of all processes."""
    total, images = 0.0, 0
    with _measuring(parts), torch.no_grad():
        for inputs, labels in batches:
            logits = parts.model(inputs.to(parts.device))
            total += float(
                F.cross_entropy(logits.float(), labels.to(parts.device), reduction="sum")
            )
            images += len(labels)
    total, images = parts.processes.sum(total, images)
    return total / images


@contextmanager
def _measuring(parts: Parts) -> Iterator[None]:
    """Put the model into eval mode, but for batch norms whose statistics are trained.

    A few updates leave their running statistics between old and new ones, whatever the rate.
    """
    trained = [m for m in parts.model.modules() if isinstance(m, _BatchNorm) and m.training]
    with in_eval_mode(parts.model):
        for layer in trained:
            layer.train()
        start = Rewind(parts.model)
        try:
            yield
        finally:
            start.rewind_()
