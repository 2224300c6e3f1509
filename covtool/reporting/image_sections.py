"""Images on an evaluation's page: mistakes, answers that were hardly right, typical ones."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from covtool.errors import CovtoolError
from covtool.pages import (
    Notes,
    Picture,
    PictureGroup,
    Pictures,
    Section,
    Text,
    Thumbnail,
    thumbnail,
)
from covtool.reporting.image_pictures import ImagePictures
from covtool.reporting.nearest_training import why_not_kept
from covtool.reporting.subjects import Subject

MISTAKES = 48
"""Mistakes that are shown, those of the largest loss."""
LEAST_SURE = 24
TYPICAL = 60
"""Classes of which the most typical image is shown."""

_REASONS = 3  # of missing maps: those of files that are gone may be as many as images


def least_sure(subject: Subject) -> list[int]:
    """Return positions of right answers, the least probable first."""
    probability = subject.answers.probability.numpy()
    right = np.flatnonzero(subject.is_right)
    return right[np.argsort(probability[right], kind="stable")][:LEAST_SURE].tolist()


def typical(subject: Subject) -> dict[int, int]:
    """Return the position of the most typical image of each class that is shown.

    The image nearest to the mean of its class, among those that are recognized, by the cosine of
    the classifier's inputs; by the probability where the model has no such inputs.
    """
    answers = subject.answers
    found: dict[int, int] = {}
    for k in subject.figures.right.nonzero()[:, 0].tolist():  # those with a recognized image
        of_class = (answers.right == k) & (answers.given == k)
        positions = of_class.nonzero()[:, 0]
        if answers.directions is None:
            likeness = answers.probability[positions]
        else:
            own = answers.directions[positions].float()
            likeness = own @ own.mean(0)
        found[k] = int(positions[likeness.argmax()])
        if len(found) == TYPICAL:
            break
    return found


def mistake_section(subject: Subject, pictures: ImagePictures) -> Section:
    """Return the mistakes, each with its classes, nearest training images and maps."""
    shown = subject.mistakes[:MISTAKES]
    if not subject.done.paths or not shown:
        reason = "There are none." if not shown else "Files of the images are not known."
        return Section(name="mistakes", title="Mistakes", blocks=[Text(paragraphs=[reason])])
    total = len(subject.mistakes)
    nearest, maps = subject.nearest, _maps(subject, shown)
    caption = [
        f"{len(shown)} of {total:,}, those of the largest loss first.",
        "Above each: the given class, then the right one, with their probabilities; the rank is "
        "the right one's among all classes, the most probable first.",
        "predictions.csv has all of them.",
        f"Beside each image: its nearest of {nearest.data}, by the classifier's input."
        if nearest
        else "",
        "Maps: where the network looks for the given class, and for the right one."
        if maps.drawn
        else "",
    ]
    block = Pictures(
        groups=[_mistake(subject, pictures, maps, position) for position in shown],
        caption=" ".join(filter(None, caption)),
    )
    notes = Notes(sentences=[*_notes_on_maps(maps), *_notes_on_nearest(subject)])
    return Section(name="mistakes", title="Mistakes", blocks=[notes, block])


def right_section(subject: Subject, pictures: ImagePictures) -> Section:
    """Return right answers that were least sure, and the most typical image of each class."""
    paths, names = subject.done.paths, subject.names
    if not paths:
        text = Text(paragraphs=["Files of the images are not known."])
        return Section(name="right", title="Right answers", blocks=[text])
    given = subject.answers.given.tolist()
    probability = subject.answers.probability.tolist()
    unsure = [
        PictureGroup(
            pictures=[
                pictures.of(
                    paths[position],
                    (
                        f"{names[given[position]]}, {100 * probability[position]:.1f} %",
                        paths[position].name,
                    ),
                    mark="right",
                )
            ]
        )
        for position in least_sure(subject)
    ]
    found = typical(subject)
    typical_ones = [
        PictureGroup(pictures=[pictures.of(paths[position], (names[k], paths[position].name))])
        for k, position in found.items()
    ]
    known = int((subject.figures.right > 0).sum())
    part = f" The first {len(found)} of {known:,} classes." if len(found) < known else ""
    how = "its class's mean, by the classifier's input"
    if subject.answers.directions is None:
        how = "certainty: the model has no linear classifier whose input could be compared"
    return Section(
        name="right",
        title="Right answers",
        blocks=[
            Pictures(title="Least sure", groups=unsure),
            Pictures(
                title="Most typical of each class",
                groups=typical_ones,
                caption=f"The recognized image nearest to {how}.{part}",
            ),
        ],
    )


def _mistake(
    subject: Subject, pictures: ImagePictures, maps: "_Maps", position: int
) -> PictureGroup:
    answers, names, path = subject.answers, subject.names, subject.done.paths[position]
    right, given = int(answers.right[position]), int(answers.given[position])
    image = pictures.of(
        path, (path.name, f"loss {float(answers.loss[position]):.3g}"), mark="wrong"
    )
    return PictureGroup(
        title=f"{names[given]} {100 * float(answers.probability[position]):.1f} %",
        lines=(
            f"is {names[right]} {100 * float(answers.right_probability[position]):.1f} %, "
            f"rank {int(answers.rank[position]) + 1}",
        ),
        pictures=[
            image,
            *_map_pictures(subject, maps, position),
            *_nearest(subject, pictures, position, right),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Maps:
    """Where the network looks.

    Attributes:
        drawn: Pictures by the image's position and the output.
        missing: Why there is none, likewise.
    """

    drawn: dict[tuple[int, int], Thumbnail] = field(default_factory=dict)
    missing: dict[tuple[int, int], str] = field(default_factory=dict)


def _maps(subject: Subject, positions: Iterable[int]) -> _Maps:
    """Return maps of the given and of the right class of images."""
    found = _Maps()
    if subject.look is None:
        return found
    for position in positions:
        for output in _outputs(subject, position).values():
            try:
                drawn = subject.look(subject.done.paths[position], output)
            except CovtoolError as problem:
                found.missing[position, output] = str(problem).replace("\n", " ")
            else:
                found.drawn[position, output] = thumbnail(drawn)
    return found


def _notes_on_maps(maps: _Maps) -> Iterator[str]:
    """Say why maps are missing, each reason once."""
    for reason, count in Counter(maps.missing.values()).most_common(_REASONS):
        number = f"{count} maps" if maps.drawn else "All maps"
        yield f"{number} of where the network looks are missing: {reason}"


def _notes_on_nearest(subject: Subject) -> Iterator[str]:
    """Say which training images cannot be shown, and why."""
    if subject.nearest is not None:
        yield from subject.nearest.notes
    elif (reason := why_not_kept(subject)) is not None:
        yield f"{reason} --train-data DIR finds them."


def _outputs(subject: Subject, position: int) -> dict[str, int]:
    answers = subject.answers
    return {"given": int(answers.given[position]), "right": int(answers.right[position])}


def _map_pictures(subject: Subject, maps: _Maps, position: int) -> list[Picture]:
    return [
        Picture(
            thumbnail=maps.drawn[position, output],
            lines=(f"looks for {subject.names[output]}",),
            about=f"{word} class of {subject.done.paths[position]}",
        )
        for word, output in _outputs(subject, position).items()
        if (position, output) in maps.drawn
    ]


def _nearest(subject: Subject, pictures: ImagePictures, position: int, right: int) -> list[Picture]:
    nearest = subject.nearest
    found = [] if nearest is None else nearest.images.get(position, ())
    shown = []
    for image in found:
        lines = (
            f"trained: {image.class_name or 'class not known'}",
            f"cosine {image.similarity:.3f}",
            *([image.name] if image.name else []),
        )
        mark = "right" if image.class_name == subject.names[right] else ""
        if image.path is None:
            about = image.name or "a training image"
            shown.append(Picture(thumbnail=None, lines=lines, about=about, mark=mark))
        else:
            shown.append(pictures.of(image.path, lines, mark=mark))
    return shown
