"""A batch that does not fit into memory goes through the model in parts, or the run says so."""

import gc
import re
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from covtool.errors import OutOfMemoryError
from covtool.shortages import MEMORY_SIGNS
from covtool.training.parts.assembly import Parts
from covtool.training.run.observer import Observer
from covtool.training.run.state import RunState
from covtool.training.step.rewind import Rewind
from covtool.training.step.update import Batch, forget_gradient_

T = TypeVar("T")

# oneDNN, which computes convolutions on the CPU. In the same process it says so ever after.
FINAL = re.compile(r"could not create a (primitive|memory object)(?! desc)")
SMALLER = "Choose a smaller --img-size or model, or train with --amp or --grad-checkpointing."
TOO_FEW = "Expected more than 1 value per channel"  # torch, of a batch norm and a single image


def is_out_of_memory(problem: Exception) -> bool:
    """Return whether torch, one of its devices or Python ran out of memory."""
    if isinstance(problem, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(problem)
    return isinstance(problem, RuntimeError) and bool(
        MEMORY_SIGNS.search(text) or FINAL.search(text)
    )


def reason_line(problem: Exception) -> str:
    """Return the first line of an error."""
    return next(iter(str(problem).splitlines()), type(problem).__name__)


class Trial(Protocol):
    """A run, or as much of one as an attempt needs.

    Attributes:
        parts: Model, batches and settings.
        state: State that remembers the size that fits.
        observer: Receiver of a note when it changes.
    """

    parts: Parts
    state: RunState
    observer: Observer


class Batches(Protocol):
    """Batches whose number is known."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


def within_memory(run: Trial, work: Callable[[int | None], T], start: Rewind | None = None) -> T:
    """Do some work on batches, in as many parts as memory requires; the run remembers their size.

    Args:
        run: The run; its `micro_batch` becomes smaller where it must, with ``--auto-batch``.
        work: Function of the number of images that go through the model together, None for a batch.
        start: Start of the update that the work is; None where it changes nothing.

    Raises:
        OutOfMemoryError: The images do not fit.
    """
    while True:
        try:
            return work(run.state.micro_batch)
        except (RuntimeError, MemoryError, ValueError) as problem:
            is_final = start is not None and not start.may_retry
            too_few = TOO_FEW in str(problem) and run.state.micro_batch == 1
            if is_final or not (too_few or is_out_of_memory(problem)):
                raise
            if too_few:
                reason = "A single image is too few for a batch norm."
                raise _nothing_smaller(run, reason) from problem
            reason = reason_line(problem)
            # The other processes wait for gradients, and cannot go back; oneDNN fails for any size.
            if run.parts.forward.exchanges or FINAL.search(reason):
                raise _does_not_fit(run, _size(run), reason) from problem
        # Only here, outside of the handler, does nothing hold the failed pass's tensors any more.
        _halve(run, reason)
        if start is not None:
            forget_gradient_(run.parts)
            start.rewind_()
        gc.collect()  # frames of a traceback refer to each other
        if run.parts.device.type == "cuda":
            torch.cuda.empty_cache()


class InParts:
    """Batches, each in parts of at most `size` images; None leaves them as they are."""

    def __init__(self, batches: Batches, size: int | None) -> None:
        self._batches, self._size = batches, size

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in self._batches:
            size = self._size or len(images)
            yield from zip(images.split(size), labels.split(size), strict=True)

    def __len__(self) -> int:
        return len(self._batches)


def _halve(run: Trial, reason: str) -> None:
    state, faults = run.state, run.parts.request.faults
    size = _size(run)
    if not faults.auto_batch:
        raise _does_not_fit(run, size, reason)
    if size == 1:
        raise _nothing_smaller(run, reason)
    state.micro_batch = -(-size // 2)  # rounded up: 3 go as 2 and 1
    seen = f"; batch norms see {_images(state.micro_batch)} at a time" * _trains_statistics(run)
    run.observer.on_note(
        f"{_images(size)} at a time do not fit into memory: from step {state.updates + 1} on, "
        f"batches go through the model in parts of {state.micro_batch}, and their gradients are "
        f"accumulated{seen}."
    )


def _size(run: Trial) -> int:
    return run.state.micro_batch or run.parts.training.batch_size


def _trains_statistics(run: Trial) -> bool:
    return any(isinstance(m, _BatchNorm) and m.training for m in run.parts.model.modules())


def _does_not_fit(run: Trial, size: int, reason: str) -> OutOfMemoryError:
    training = run.parts.training
    half, steps = -(-size // 2), 2 * training.grad_accum_steps
    smaller = f"--batch-size {half} --grad-accum-steps {steps}: as many images per update."
    cut = run.parts.request.faults.auto_batch
    hint = f"Train with {smaller}" if cut else f"Add --auto-batch, or train with {smaller}"
    return OutOfMemoryError(
        f"{_images(size)} at a time (--batch-size {size}) do not fit into memory.",
        reason=reason,
        hint=hint if size > 1 else SMALLER,
    )


def _nothing_smaller(run: Trial, reason: str) -> OutOfMemoryError:
    size = run.parts.training.batch_size
    return OutOfMemoryError(
        f"--batch-size {size} does not fit into memory, even in the smallest parts (--auto-batch).",
        reason=reason,
        hint=SMALLER,
    )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
