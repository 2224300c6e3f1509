"""The page of an evaluation of a classifier."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from covtool.pages import Page, Section, Text, write_page
from covtool.pages.records import Block
from covtool.reporting.against import SHOWN, Comparison, comparison_section
from covtool.reporting.class_sections import (
    class_section,
    confusion_files,
    confusion_section,
    pair_images,
)
from covtool.reporting.head_section import INTERVALS, head_blocks, how_section
from covtool.reporting.image_pictures import ImagePictures
from covtool.reporting.image_sections import (
    MISTAKES,
    least_sure,
    mistake_section,
    right_section,
    typical,
)
from covtool.reporting.prediction_file import write_predictions
from covtool.reporting.score_section import score_section
from covtool.reporting.subjects import Subject


def evaluation_page(subject: Subject, compared: Comparison | None = None) -> Page:
    """Return the page of an evaluation; images are read for it.

    Args:
        subject: The evaluation.
        compared: Comparison with another model; None without one.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    return Page(
        title=f"Evaluation of {Path(subject.model).name}",
        subtitle=measured_on(subject),
        head=evaluation_head(subject),
        sections=evaluation_sections(subject, compared),
        files=evaluation_files(subject),
    )


def measured_on(subject: Subject) -> str:
    """Return what the images are."""
    return (
        f"{subject.done.data}, {subject.done.split}: "
        f"{subject.done.result.images:,} images of {len(subject.names):,} classes"
    )


def evaluation_head(subject: Subject) -> list[Block]:
    """Return the head line of an evaluation, and what its ranges are."""
    return [*head_blocks(subject), Text(paragraphs=[INTERVALS])]


def evaluation_sections(subject: Subject, compared: Comparison | None = None) -> list[Section]:
    """Return the sections of an evaluation, whose images are read for them; see `evaluation_page`.

    Their names, and those of their tables and figures, are once in a page.
    """
    shown = [subject.done.paths[k] for k in _shown(subject, compared)] if subject.done.paths else []
    if subject.nearest is not None:
        shown += [path for paths in subject.nearest.paths.values() for path in paths]
    pictures = ImagePictures(shown, exif=subject.done.input.exif)
    return [
        confusion_section(subject, pictures),
        class_section(subject),
        mistake_section(subject, pictures),
        right_section(subject, pictures),
        score_section(subject),
        *([] if compared is None else [comparison_section(compared, pictures)]),
        how_section(subject),
    ]


def evaluation_files(subject: Subject) -> dict[str, Callable[[Path], None]]:
    """Return what writes the files beside the page, by their names."""
    return {
        "predictions.csv": partial(write_predictions, subject),
        **confusion_files(subject),
    }


def write_evaluation(
    subject: Subject,
    folder: Path,
    compared: Comparison | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write the page of an evaluation; see `evaluation_page` and `covtool.pages.write_page`."""
    return write_page(folder, evaluation_page(subject, compared), overwrite=overwrite)


def _shown(subject: Subject, compared: Comparison | None) -> Iterator[int]:
    yield from subject.mistakes[:MISTAKES]
    for positions in pair_images(subject).values():
        yield from positions
    yield from least_sure(subject)
    yield from typical(subject).values()
    if compared is not None:
        for is_first in (True, False):
            yield from compared.only(first=is_first)[:SHOWN]
