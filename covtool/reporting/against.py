"""Two models on the same images: what one has right and the other wrong."""

from dataclasses import dataclass

import numpy as np
import torch

from covtool.errors import DataError
from covtool.ops.mcnemar import McNemar, mcnemar
from covtool.ops.resampling import difference_intervals
from covtool.pages import (
    Column,
    Notes,
    PictureGroup,
    Pictures,
    Section,
    Table,
    Text,
    Tile,
)
from covtool.pages.records import Block
from covtool.reporting.doubts import doubts, doubts_of_other, is_guessed, other_doubts
from covtool.reporting.image_pictures import ImagePictures
from covtool.reporting.model_names import distinct_names
from covtool.reporting.paired_words import chance_of, likely_range
from covtool.reporting.subjects import Subject

SHOWN = 24
"""Images that are shown for each model."""
A_GUESS = "a guess: which output is which class is not known of both"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same images.

    Attributes:
        first: The model that the page is about.
        second: The other one.
        test: McNemar's test.
        gain: Accuracy of the first minus that of the second, its least and its largest likely
            value, shares of 1.
    """

    first: Subject
    second: Subject
    test: McNemar
    gain: tuple[float, float, float]

    @property
    def is_guess(self) -> bool:
        """Whether it is not known which output is which class, of either model."""
        return any(is_guessed(subject.done) for subject in (self.first, self.second))

    @property
    def gain_range(self) -> str:
        """The range of the gain in points of percent, or why there is none."""
        low, high = (100 * value for value in self.gain[1:])
        return likely_range(low, high, too_few="images")

    @property
    def doubts(self) -> list[str]:
        """What must be known about the figures of the second model."""
        return doubts_of_other(self.first.done, self.second.done)

    @property
    def names(self) -> tuple[str, str]:
        """Both models' names, as short as they can be told apart."""
        return distinct_names(self.first.model, self.second.model)

    def only(self, *, first: bool) -> list[int]:
        """Return positions that one alone has right, those that the other is surest of first."""
        one, other = (self.first, self.second) if first else (self.second, self.first)
        found = np.flatnonzero(one.is_right & ~other.is_right)
        loss = other.answers.loss.numpy()
        return found[np.argsort(-loss[found], kind="stable")].tolist()


def compare_subjects(first: Subject, second: Subject) -> Comparison:
    """Return the comparison of two models.

    Raises:
        DataError: They were not measured on the same images, or one of them says which.
    """
    own, other = first.done, second.done
    if not own.paths or own.paths != other.paths:
        raise DataError(
            f"{first.model} and {second.model} were not measured on the same images.",
            reason="Images that one of them cannot read are left out, or their files are unknown.",
            hint="Remove the unreadable images from the data set first.",
        )
    rights = [torch.from_numpy(subject.is_right).double() for subject in (first, second)]
    only = [int((a & ~b).sum()) for a, b in _pairs(first.is_right, second.is_right)]
    found = difference_intervals(*rights)
    gain = float(found.estimate), float(found.low), float(found.high)
    return Comparison(first=first, second=second, test=mcnemar(*only), gain=gain)


def comparison_section(compared: Comparison, pictures: ImagePictures) -> Section:
    """Return both models side by side."""
    (first, second), test = compared.names, compared.test
    known = doubts(compared.first.done)
    gain = 100 * compared.gain[0]
    sentence = (
        f"{first} has {gain:+.2f} points of top-1 against {second} (95 %: "
        f"{compared.gain_range}). It alone is right on {test.only_first:,} images, the other "
        f"alone on {test.only_second:,}; {chance_of(test)} (McNemar's exact test)."
    )
    blocks: list[Block] = [
        Notes(sentences=other_doubts(second, compared.doubts, known)),
        Text(paragraphs=[sentence]),
        _figures(compared),
        _differences(compared),
    ]
    for is_first, name in ((True, first), (False, second)):
        positions = compared.only(first=is_first)
        if positions:
            blocks.append(
                Pictures(
                    title=f"Right with {name} alone",
                    caption=f"{min(SHOWN, len(positions))} of {len(positions):,}, those of the "
                    "other's largest loss first.",
                    groups=[_image(compared, pictures, k) for k in positions[:SHOWN]],
                )
            )
    return Section(name="against", title=f"Against {second}", blocks=blocks)


def comparison_tile(compared: Comparison) -> Tile:
    """Return the difference of top-1 for the head of the page."""
    return Tile(
        name=f"top-1 against {compared.names[1]}",
        value=f"{100 * compared.gain[0]:+.2f}",
        detail=A_GUESS if compared.is_guess else f"points, {compared.gain_range}",
    )


def _pairs(first: np.ndarray, second: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    return (first, second), (second, first)


def _figures(compared: Comparison) -> Table:
    subjects = (compared.first, compared.second)
    results = [subject.done.result for subject in subjects]
    rows = [
        ("top-1 (%)", *(r.top_1 for r in results)),
        ("top-5 (%)", *(r.top_5 for r in results)),
        ("macro F1 (%)", *(r.macro["f1"] for r in results)),
        ("negative log-likelihood", *(r.probabilities.nll for r in results)),
        ("calibration error (%)", *(r.probabilities.ece for r in results)),
        ("images/s", *(r.images_per_s for r in results)),
    ]
    return Table(
        name="two-models",
        columns=(
            Column(title="figure"),
            *(Column(title=name, format=".4g") for name in compared.names),
        ),
        rows=rows,
    )


def _differences(compared: Comparison) -> Table:
    first, second = compared.first, compared.second
    rows = []
    for is_first in (True, False):
        for k in compared.only(first=is_first):
            right = first.names[int(first.answers.right[k])]
            given = [s.names[int(s.answers.given[k])] for s in (first, second)]
            rows.append((str(first.done.paths[k]), right, *given))
    titles = ("path", "right class", *compared.names)
    return Table(
        name="differences",
        title="Images that one alone has right",
        columns=[Column(title=title) for title in titles],
        rows=rows,
        shown=20,
    )


def _image(compared: Comparison, pictures: ImagePictures, position: int) -> PictureGroup:
    first, second = compared.first, compared.second
    path = first.done.paths[position]
    lines = [
        f"{name}: {subject.names[int(subject.answers.given[position])]} "
        f"{100 * float(subject.answers.probability[position]):.0f} %"
        for name, subject in zip(compared.names, (first, second), strict=True)
    ]
    right = first.names[int(first.answers.right[position])]
    return PictureGroup(pictures=[pictures.of(path, (f"is {right}", *lines))])
