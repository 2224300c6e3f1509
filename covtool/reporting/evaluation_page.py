"""The page of an evaluation of a classifier."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from covtool.data.datasets.found_images import counted
from covtool.pages import Page, Section, Text, write_page
from covtool.pages.records import Block
from covtool.reporting.against import SHOWN, Comparison, comparison_section, comparison_tile
from covtool.reporting.attack_section import attack_section
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
from covtool.reporting.nearest_training import nearest_kept, write_nearest
from covtool.reporting.prediction_file import write_predictions
from covtool.reporting.score_section import score_section
from covtool.reporting.subjects import Subject
from covtool.reporting.unknown_section import surest, unknown_section, write_unknown


def evaluation_page(subject: Subject, compared: Comparison | None = None) -> Page:
    """Return the page of an evaluation; images are read for it.

    Args:
        subject: The evaluation.
        compared: Comparison with another model; None without one.

    Raises:
        ArgumentError: matplotlib is not installed.
    """
    subject = with_nearest(subject)
    return Page(
        title=f"Evaluation of {Path(subject.model).name}",
        subtitle=measured_on(subject),
        head=evaluation_head(subject, compared),
        sections=evaluation_sections(subject, compared),
        files=evaluation_files(subject),
    )


def with_nearest(subject: Subject) -> Subject:
    """Return an evaluation with the nearest training images of the mistakes that a page shows.

    Those that it has stay; else they are of the images whose embeddings the model's file keeps.
    """
    if subject.nearest is not None or not subject.done.paths:
        return subject
    return replace(subject, nearest=nearest_kept(subject, subject.mistakes[:MISTAKES]))


def measured_on(subject: Subject) -> str:
    """Return what the images are."""
    there, outputs = int((subject.figures.images > 0).sum()), len(subject.names)
    of = f", of the {outputs:,} that the model knows" if there < outputs else ""
    return (
        f"{subject.done.data}, {subject.done.split}: "
        f"{counted(subject.done.result.images, 'image')} of {counted(there, 'class')}{of}"
    )


def evaluation_head(subject: Subject, compared: Comparison | None = None) -> list[Block]:
    """Return the head line of an evaluation, and what its ranges are."""
    added = () if compared is None else (comparison_tile(compared),)
    return [*head_blocks(subject, added), Text(paragraphs=[INTERVALS])]


def evaluation_sections(subject: Subject, compared: Comparison | None = None) -> list[Section]:
    """Return the sections of an evaluation, whose images are read for them; see `evaluation_page`.

    Nearest training images are those that it has, see `with_nearest`. The names of sections, of
    their tables and of their figures are once in a page.
    """
    shown = [subject.done.paths[k] for k in _shown(subject, compared)] if subject.done.paths else []
    if subject.nearest is not None:
        shown += subject.nearest.paths
    if (unknown := subject.done.unknown_scores) is not None:
        shown += [unknown.paths[at] for at in surest(unknown)]
    pictures = ImagePictures(shown, exif=subject.done.input.exif)
    return [
        confusion_section(subject, pictures),
        class_section(subject),
        mistake_section(subject, pictures),
        right_section(subject, pictures),
        score_section(subject),
        *([] if subject.done.attacked_answers is None else [attack_section(subject)]),
        *([] if subject.done.unknown_scores is None else [unknown_section(subject, pictures)]),
        *([] if compared is None else [comparison_section(compared, pictures)]),
        how_section(subject, None if compared is None else compared.second.model),
    ]


def evaluation_files(subject: Subject) -> dict[str, Callable[[Path], None]]:
    """Return what writes the files beside the page, by their names."""
    files = {
        "predictions.csv": partial(write_predictions, subject),
        **confusion_files(subject),
    }
    if subject.done.unknown_scores is not None:
        files["unknown.csv"] = partial(write_unknown, subject)
    if subject.nearest is not None:
        files["nearest_training.csv"] = partial(write_nearest, subject)
    return files


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
