"""The check that an exported program answers as the model does, and how fast both are."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from covtool.errors import NonFiniteError, VerificationError
from covtool.exporting.records import Comparison, Precision, Speed
from covtool.exporting.samples import Images
from covtool.progress import Track, silent

Program = Callable[[Tensor], Tensor]
"""Images to logits, whatever runs it."""

BATCH_SIZES = (1, 7)
"""One image, and a number that no example has: a batch that was fixed by mistake would show."""

REPETITIONS = 9
LONGEST_S = 4.0
"""Repetitions stop after so long, but for the first three."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a precision may change.

    Attributes:
        limit: Largest value.
        of_answers: Whether it bounds the share of images with another first class; else the largest
            difference over the spread of the logits.
    """

    limit: float
    of_answers: bool = False


BOUNDS: dict[Precision, Bound] = {
    "float32": Bound(1e-3),
    "float16": Bound(0.1),
    "int8": Bound(0.1, of_answers=True),
}


@torch.no_grad()
def answers(program: Program, images: Tensor, batch_size: int, track: Track = silent) -> Tensor:
    """Return a program's logits of images, in batches: (N, K)."""
    batches = images.split(batch_size)
    text = f"running in batches of {batch_size}"
    return torch.cat([program(batch) for batch in track(batches, text, len(batches))]).float()


def expected_answers(model: nn.Module, images: Images, track: Track = silent) -> Tensor:
    """Return a model's logits of images.

    Raises:
        NonFiniteError: One is not a finite number.
    """
    expected = answers(model, images.normalized, BATCH_SIZES[-1], track)
    if not expected.isfinite().all():
        raise NonFiniteError(
            "The model's logits are not finite numbers.",
            hint="covtool inspect says whether the weights hold non-finite values.",
        )
    return expected


def compare(expected: Tensor, got: dict[int, Tensor], data: str | None) -> Comparison:
    """Compare logits of one program with those of another, which ran in batches of several sizes.

    Args:
        expected: Logits, (N, K).
        got: Logits of the first images, or all, by size of the batches.
        data: Name of the images' data set; None for random images.
    """
    largest, same, total = 0.0, 0, 0
    for logits in got.values():
        reference = expected[: len(logits)]
        # A NaN counts as the largest difference there is.
        difference = (logits - reference).abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
        largest = max(largest, difference.max().item())
        same += int((logits.argmax(dim=1) == reference.argmax(dim=1)).sum())
        total += len(logits)
    spread = _spread(expected)
    return Comparison(
        data=data,
        images=len(expected),
        batch_sizes=tuple(got),
        largest_difference=largest,
        spread=spread,
        relative_difference=largest / spread if spread else (torch.inf if largest else 0.0),
        agreement=None if data is None else 100 * same / total,
    )


def _spread(logits: Tensor) -> float:
    if logits.shape[1] == 1:  # one class: there is nothing to spread over but the images
        return logits.std(correction=0).item()
    return logits.std(dim=1, correction=0).mean().item()


def prove(
    program: Program, given: Tensor, expected: Tensor, data: str | None, track: Track = silent
) -> Comparison:
    """Run a program at every batch size and compare; the smaller sizes on a few images.

    Args:
        program: Exported program, opened from its file.
        given: Input of the program, N images.
        expected: Logits of the model, (N, K).
        data: Name of the images' data set; None for random images.
        track: Display of the progress.
    """
    few = given[: BATCH_SIZES[-1]]
    got = {
        size: answers(program, given if size == BATCH_SIZES[-1] else few, size, track)
        for size in BATCH_SIZES
    }
    return compare(expected, got, data)


def require_close(proof: Comparison, precision: Precision, tolerance: float | None) -> float:
    """Refuse a program that is too far from its model; return the bound that it keeps.

    Args:
        proof: Result of `prove`.
        precision: Precision of the program.
        tolerance: Bound in place of the precision's own; None for that.

    Raises:
        VerificationError: It is further away.
    """
    bound = BOUNDS[precision]
    limit = bound.limit if tolerance is None else tolerance
    if bound.of_answers and proof.agreement is not None:
        value = 1 - proof.agreement / 100
        what = f"answers {100 * value:.3g} % of {proof.images} images differently"
    else:
        value = proof.relative_difference
        what = f"differs by up to {proof.largest_difference:.3g}, {value:.3g} of the logits' spread"
    if value <= limit and proof.largest_difference < torch.inf:
        return limit
    raise VerificationError(
        f"The exported program {what}; nothing was written.",
        reason=f"In {precision} it may be {limit:g}.",
        hint="Export in a higher precision, or allow more: --tolerance.",
    )


def speeds(model: nn.Module, program: Program, images: Images, given: Tensor) -> tuple[Speed, ...]:
    """Measure model and program on the same images, one after the other, for each batch size."""
    measured = []
    for size in BATCH_SIZES:
        normalized, own = _repeated(images.normalized, size), _repeated(given, size)
        torch_ms, exported_ms = _medians_ms(partial(model, normalized), partial(program, own))
        measured.append(
            Speed(
                batch_size=size,
                torch_ms=torch_ms,
                exported_ms=exported_ms,
                ratio=torch_ms / exported_ms,
            )
        )
    return tuple(measured)


def _repeated(images: Tensor, count: int) -> Tensor:
    copies = -(-count // len(images))
    return images.repeat(copies, *(1 for _ in images.shape[1:]))[:count]


@torch.no_grad()
def _medians_ms(*calls: Callable[[], object]) -> list[float]:
    """Return the median milliseconds of each; they take turns, so that a busy moment hits all."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()  # the first call allocates and compiles
    start = time.perf_counter()
    for repetition in range(REPETITIONS):
        if repetition >= 3 and time.perf_counter() - start > LONGEST_S:
            break
        for call, taken in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            taken.append(1000 * (time.perf_counter() - begin))
    return [median(taken) for taken in times]
