"""A check that every image of a data set can be read, before a long run depends on it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from covtool.data.datasets.records.records import Records
from covtool.data.datasets.samples import Sample, chosen_samples
from covtool.data.images.decoding import decode_image
from covtool.data.images.dim import note_on_dim
from covtool.data.images.format_mix import note_on_formats
from covtool.data.images.frames import note_on_frames
from covtool.data.images.orientation import note_on_turned
from covtool.data.images.threads import in_threads
from covtool.errors import DataError
from covtool.printable import first_few, printable
from covtool.processes import ALONE, Processes
from covtool.progress import Track, silent

OnBadImage = Literal["error", "skip"]
ImageProblem = tuple[Path, str]
"""A file, and why it cannot be read."""

SHOWN = 5

DECODED_AT_MOST = 100_000
"""Images that are all decoded before a run or an evaluation: of more, that would take an hour."""

DRAWN = 2000
"""Images that are decoded in place of all, where there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSamples:
    """Result of `check_images`.

    Attributes:
        good: Samples whose images can be read, in order.
        bad: File and reason of the others.
        turned: Number of good ones with an EXIF orientation that turns them.
        dim: Number of good ones that are nearly black, see `covtool.data.images.dim`.
        frames: Number of good ones that are the first of several images in their file.
        formats: Number of good ones by Pillow's name of their format.
        looked_at: Number of images that were decoded, where it is not all of them.
    """

    good: Sequence[Sample]
    bad: tuple[tuple[Path, str], ...]
    turned: int = 0
    dim: int = 0
    frames: int = 0
    formats: Mapping[str, int] = field(default_factory=dict)
    looked_at: int | None = None

    def notes(self, *, exif: bool) -> tuple[str, ...]:
        """Return notes on what these images are; `exif` says whether orientations are applied."""
        return notes_on_images([self], exif=exif)


def notes_on_images(parts: Iterable[CheckedSamples], *, exif: bool) -> tuple[str, ...]:
    """Return notes on images of several splits: turned, nearly black, first of several.

    Args:
        parts: The images of each split.
        exif: Whether the EXIF orientation is applied.
    """
    parts = list(parts)
    found = (
        note_on_turned(sum(part.turned for part in parts), exif=exif),
        note_on_dim(sum(part.dim for part in parts)),
        note_on_frames(sum(part.frames for part in parts)),
    )
    return (*note_on_drawn(parts), *_among_drawn(parts, filter(None, found)))


def note_on_drawn(parts: Iterable[CheckedSamples]) -> Iterator[str]:
    """Yield a note on images that were not decoded beforehand, where there are some."""
    drawn = [part for part in parts if part.looked_at is not None]
    if drawn:
        total = sum(len(part.good) + len(part.bad) for part in drawn)
        looked = sum(part.looked_at or 0 for part in drawn)
        yield (
            f"Of {total:,} images, more than {DECODED_AT_MOST:,}, {looked:,} were decoded "
            "beforehand, evenly spread: another one that cannot be read is noticed where it is met."
        )


def _among_drawn(parts: Sequence[CheckedSamples], notes: Iterable[str]) -> Iterator[str]:
    drawn = any(part.looked_at is not None for part in parts)
    return (f"Among those decoded beforehand: {note}" if drawn else note for note in notes)


def notes_on_formats(parts: Iterable[CheckedSamples]) -> tuple[str, ...]:
    """Return a note on several formats among the images of several splits, if there are any."""
    parts, counts = list(parts), Counter[str]()
    for part in parts:
        counts.update(part.formats)
    return tuple(_among_drawn(parts, filter(None, [note_on_formats(counts)])))


def list_unreadable(bad: Sequence[ImageProblem]) -> str:
    """Return the first of many files, each with the reason why it cannot be read."""
    return first_few(
        bad, SHOWN, show=lambda one: f"{printable(str(one[0]))}: {one[1]}", separator="; "
    )


class UnreadableError(DataError):
    """Images cannot be read.

    Attributes:
        bad: File and reason of each.
        total: Images, readable or not.
    """

    def __init__(self, bad: Sequence[ImageProblem], total: int) -> None:
        super().__init__(
            f"{len(bad)} of {total} images cannot be read.",
            reason=list_unreadable(bad),
            hint="Replace or remove them, or add --on-bad-image skip."
            if len(bad) < total
            else "Replace them, or choose other data.",
        )
        self.bad, self.total = tuple(bad), total

    @classmethod
    def of_all(cls, problems: Sequence["UnreadableError"]) -> "UnreadableError":
        """Join the errors of several parts of a data set to one."""
        bad = [unread for problem in problems for unread in problem.bad]
        return cls(bad, sum(problem.total for problem in problems))


def check_images(samples: Sequence[Sample], **options: Any) -> CheckedSamples:
    """Decode every image of one split; see `check_splits`."""
    return check_splits({"": samples}, **options)[""]


def check_splits(
    splits: Mapping[str, Sequence[Sample]],
    *,
    on_bad_image: OnBadImage = "error",
    track: Track = silent,
    workers: int | None = None,
    processes: Processes = ALONE,
    at_most: int | None = None,
) -> dict[str, CheckedSamples]:
    """Decode every image to the end: a truncated file looks fine from its header.

    Records are not checked: they are too many.

    Args:
        splits: Images by split.
        on_bad_image: Whether unreadable images are an error, or only listed and left out.
        track: Display of the progress.
        workers: Threads; by default one per core, at most 8.
        processes: Processes that each check a part of the images. All of them get the result.
        at_most: Images of all splits up to which each is decoded; of more, `DRAWN` that are spread
            evenly. None for all, whatever their number.

    Raises:
        UnreadableError: There are unreadable images and `on_bad_image` is ``error``: those of all
            splits. Or all images of a split are unreadable.
    """
    files = {name: part for name, part in splits.items() if not isinstance(part, Records)}
    rows = _rows_to_decode(files, at_most)
    drawn = [chosen_samples(files[name], chosen) for name, chosen in rows.items()]
    # All splits in one go, so that processes and threads share the work evenly.
    found = iter(_check_all(list(chain.from_iterable(drawn)), track, workers, processes))
    checked, problems = {}, []
    for name, samples in splits.items():
        chosen = rows.get(name, range(0))
        checked[name] = _checked(samples, chosen, list(islice(found, len(chosen))))
        try:
            require_readable(checked[name].bad, len(chosen), on_bad_image)
        except UnreadableError as problem:
            problems.append(problem)
    if problems:
        raise UnreadableError.of_all(problems)
    return checked


def require_readable(bad: Sequence[ImageProblem], total: int, on_bad_image: OnBadImage) -> None:
    """Refuse unreadable images, where they are to be refused.

    Args:
        bad: File and reason of those that cannot be read.
        total: Images, readable or not.
        on_bad_image: Whether they are an error or left out.

    Raises:
        UnreadableError: There are some and `on_bad_image` is ``error``, or all are unreadable.
    """
    # With none left there is nothing to train or to evaluate on.
    if bad and (on_bad_image == "error" or len(bad) == total):
        raise UnreadableError(bad, total)


def _rows_to_decode(
    splits: Mapping[str, Sequence[Sample]], at_most: int | None
) -> dict[str, Sequence[int]]:
    total = sum(map(len, splits.values()))
    if at_most is None or total <= at_most:
        return {name: range(len(samples)) for name, samples in splits.items()}
    shares = {
        name: min(len(samples), -(-DRAWN * len(samples) // total))
        for name, samples in splits.items()
    }
    return {
        name: np.linspace(0, len(splits[name]) - 1, share).round().astype(int).tolist()
        for name, share in shares.items()
    }


class _Check(NamedTuple):
    problem: str | None
    has_turn: bool = False
    is_dim: bool = False
    has_frames: bool = False
    format: str = ""


def _check_all(
    samples: Sequence[Sample], track: Track, workers: int | None, processes: Processes
) -> list[_Check]:
    if not samples:
        return []
    part = processes.part_of(samples)

    def check() -> list[_Check]:
        checks = in_threads(_check_one, part, workers=workers)
        return list(track(checks, "checking images", len(part)))

    return list(chain.from_iterable(processes.each(check)))


def _check_one(sample: Sample) -> _Check:
    try:
        decoded = decode_image(sample.path)
        return _Check(None, *decoded[1:])
    except DataError as problem:
        return _Check(problem.reason)


def _checked(
    samples: Sequence[Sample], rows: Sequence[int], checks: Sequence[_Check]
) -> CheckedSamples:
    """Return what is known of samples, some or all of which were decoded; none of records."""
    if isinstance(samples, Records):
        return CheckedSamples(good=samples, bad=())
    bad = {row: check.problem for row, check in zip(rows, checks, strict=True) if check.problem}
    kept = [row for row in range(len(samples)) if row not in bad] if bad else None
    return CheckedSamples(
        good=samples if kept is None else chosen_samples(samples, kept),
        bad=tuple((samples[row].path, problem) for row, problem in bad.items()),
        turned=sum(check.has_turn for check in checks),
        dim=sum(check.is_dim for check in checks),
        frames=sum(check.has_frames for check in checks),
        formats=Counter(check.format for check in checks if check.problem is None),
        looked_at=len(rows) if len(rows) < len(samples) else None,
    )
