"""What a page of an evaluation is about."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from covtool.evaluation.classification.answers import ImageAnswers
from covtool.evaluation.evaluate import Evaluation
from covtool.ops.class_figures import ClassFigures, class_figures
from covtool.ops.confusion import Confusions, confusions
from covtool.reporting.ranged_figures import Ranged, classifier_figures

Look = Callable[[Path, int], Image.Image]
"""An image and an output of the model, to a picture of where the network looks for that class; a
`CovtoolError` where there is no map, which says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingImage:
    """A training image that is near to another image.

    Attributes:
        path: Its file; None where that is not certain to be the same image.
        name: Name to show; empty where it is not known.
        class_name: Its class; empty where it is not known.
        similarity: Cosine with the other image.
    """

    path: Path | None
    name: str
    class_name: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestTraining:
    """The training images nearest to others, by the input of the classifier.

    Attributes:
        data: Name of their data set.
        images: They, nearest first, by the position of the other image.
        notes: What cannot be shown or was left out, and why; assumptions about the data set.
    """

    data: str
    images: Mapping[int, Sequence[TrainingImage]]
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> list[Path]:
        """Files of all of them that have one."""
        every = (image.path for images in self.images.values() for image in images)
        return [path for path in every if path is not None]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An evaluation, and what is known about it.

    Attributes:
        done: The evaluation, its answers kept.
        model: Name of the model, as the user gave it.
        command: The command that repeats it; empty where there was none.
        nearest: Nearest training images of the mistakes; None where there are none.
        look: Where the network looks; None where no maps are asked for.
    """

    done: Evaluation
    model: str
    command: str = ""
    nearest: NearestTraining | None = None
    look: Look | None = None

    @property
    def answers(self) -> ImageAnswers:
        """The answer for each image."""
        if self.done.answers is None:
            raise ValueError("The evaluation has kept no answers.")
        return self.done.answers

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the model's outputs."""
        return self.done.result.class_names

    @cached_property
    def is_right(self) -> np.ndarray:
        """Whether each image gets its class, (N,)."""
        return (self.answers.right == self.answers.given).numpy()

    @cached_property
    def figures(self) -> ClassFigures:
        """Figures of each class."""
        return class_figures(self.answers.right, self.answers.given, len(self.names))

    @cached_property
    def ranged(self) -> Mapping[str, Ranged]:
        """Figures with their ranges, which resampling takes some time for."""
        return classifier_figures(self.done.result, self.answers)

    @cached_property
    def confusions(self) -> Confusions:
        """The pairs of classes that occur, with their images."""
        return confusions(self.answers.right, self.answers.given, len(self.names))

    @cached_property
    def mistakes(self) -> list[int]:
        """Positions of images that are taken for another class, by their loss, largest first."""
        loss = self.answers.loss.numpy()
        wrong = np.flatnonzero(~self.is_right)
        return wrong[np.argsort(-loss[wrong], kind="stable")].tolist()
