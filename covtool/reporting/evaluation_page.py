"""The page of an evaluation of a classifier."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from covtool.pages import Page, Text, write_page
from covtool.reporting.against import SHOWN, Comparison, comparison_section
from covtool.reporting.class_sections import (
    class_section,
    confusion_section,
    pair_images,
    write_matrix,
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
    shown = [subject.done.paths[k] for k in _shown(subject, compared)] if subject.done.paths else []
    if subject.nearest is not None:
        shown += [path for paths in subject.nearest.paths.values() for path in paths]
    pictures = ImagePictures(shown, exif=subject.done.input.exif)
    sections = [
        confusion_section(subject, pictures),
        class_section(subject),
        mistake_section(subject, pictures),
        right_section(subject, pictures),
        score_section(subject),
        *([] if compared is None else [comparison_section(compared, pictures)]),
        how_section(subject),
    ]
    return Page(
        title=f"Evaluation of {Path(subject.model).name}",
        subtitle=f"{subject.done.data}, {subject.done.split}: "
        f"{subject.done.result.images:,} images of {len(subject.names):,} classes",
        head=[*head_blocks(subject), Text(paragraphs=[INTERVALS])],
        sections=sections,
        files={
            "predictions.csv": partial(write_predictions, subject),
            "confusion.csv": partial(write_matrix, subject),
        },
    )


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
