"""Whether every image of a data set can be read, before a long run finds out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from covtool.data.images import read_image
from covtool.data.layouts import Sample
from covtool.data.records import Records
from covtool.data.threads import in_threads
from covtool.errors import DataError
from covtool.processes import ALONE, Processes
from covtool.progress import Track, silent

OnBadImage = Literal["error", "skip"]
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSamples:
    """What `check_images` found.

    Attributes:
        good: The samples whose images can be read, in order.
        bad: File and reason of the others.
    """

    good: Sequence[Sample]
    bad: tuple[tuple[Path, str], ...]


def check_images(
    samples: Sequence[Sample],
    *,
    on_bad_image: OnBadImage = "error",
    track: Track = silent,
    workers: int | None = None,
    processes: Processes = ALONE,
) -> CheckedSamples:
    """Decode every image to the end: a truncated file looks fine from its header.

    Records are not checked: they are too many.

    Args:
        samples: What to check.
        on_bad_image: Whether unreadable images are an error, or only listed and left out.
        track: Shows the progress.
        workers: Threads; by default one per core, at most 8.
        processes: That check a part of the images each. All of them get the result.

    Raises:
        DataError: There are unreadable images and `on_bad_image` is ``error``, or all of them are.
    """
    if isinstance(samples, Records):
        return CheckedSamples(good=samples, bad=())
    part = processes.part_of(samples)

    def check() -> list[str | None]:
        problems = in_threads(_problem, part, workers=workers)
        return list(track(problems, "checking images", len(part)))

    checked = list(zip(samples, chain.from_iterable(processes.each(check)), strict=True))
    good = [sample for sample, problem in checked if problem is None]
    bad = [(sample.path, problem) for sample, problem in checked if problem is not None]
    require_readable(bad, len(samples), on_bad_image)
    return CheckedSamples(good=tuple(good), bad=tuple(bad))


def require_readable(bad: Sequence[tuple[Path, str]], total: int, on_bad_image: OnBadImage) -> None:
    """Refuse unreadable images, where they are to be refused.

    Args:
        bad: File and reason of those that cannot be read.
        total: Images, readable or not.
        on_bad_image: Whether they are an error, or only left out.

    Raises:
        DataError: There are some and `on_bad_image` is ``error``, or all of them are unreadable.
    """
    if bad and (on_bad_image == "error" or len(bad) == total):
        raise _unreadable(bad, total)


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
