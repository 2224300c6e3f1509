"""Whether every image of a data set can be read, before a long run finds out."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from covtool.data.images import read_image
from covtool.data.layouts import Sample
from covtool.errors import DataError
from covtool.progress import Track, silent

OnBadImage = Literal["error", "skip"]
SHOWN = 5
IN_FLIGHT = 1024  # images handed to the threads at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSamples:
    """What `check_images` found.

    Attributes:
        good: The samples whose images can be read, in order.
        bad: File and reason of the others.
    """

    good: tuple[Sample, ...]
    bad: tuple[tuple[Path, str], ...]


def check_images(
    samples: Sequence[Sample],
    *,
    on_bad_image: OnBadImage = "error",
    track: Track = silent,
    workers: int | None = None,
) -> CheckedSamples:
    """Decode every image to the end: a truncated file looks fine from its header.

    Args:
        samples: What to check.
        on_bad_image: Whether unreadable images are an error, or only listed and left out.
        track: Shows the progress.
        workers: Threads; by default one per core, at most 8.

    Raises:
        DataError: There are unreadable images and `on_bad_image` is ``error``, or all of them are.
    """
    good, bad = [], []
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        problems = _problems(pool, samples)
        for sample, problem in track(
            zip(samples, problems, strict=True), "checking images", len(samples)
        ):
            if problem is None:
                good.append(sample)
            else:
                bad.append((sample.path, problem))
    if bad and (on_bad_image == "error" or not good):
        raise _unreadable(bad, len(samples))
    return CheckedSamples(good=tuple(good), bad=tuple(bad))


def _problems(pool: ThreadPoolExecutor, samples: Sequence[Sample]) -> Iterator[str | None]:
    groups = (samples[at : at + IN_FLIGHT] for at in range(0, len(samples), IN_FLIGHT))
    return chain.from_iterable(pool.map(_problem, group) for group in groups)


def _problem(sample: Sample) -> str | None:
    try:
        read_image(sample.path)
    except DataError as problem:
        return problem.reason
    return None


def _unreadable(bad: Sequence[tuple[Path, str]], total: int) -> DataError:
    shown = "; ".join(f"{path}: {reason}" for path, reason in bad[:SHOWN])
    more = f" ... and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return DataError(
        f"{len(bad)} of {total} images cannot be read.",
        reason=shown + more,
        hint="Replace or remove them, or add --on-bad-image skip."
        if len(bad) < total
        else "Replace them, or choose other data.",
    )
