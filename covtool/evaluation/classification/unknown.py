"""Scores that tell images of other classes from those that a model knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from covtool.backbones.device import sent_to
from covtool.backbones.module_modes import in_eval_mode
from covtool.data.loading.loaders import ImageLoader
from covtool.evaluation.classification.accuracy import checked_logits, in_precision_of
from covtool.evaluation.classification.neighbor_scorer import NeighborScorer
from covtool.evaluation.classification.probabilities import doubt_of
from covtool.ops.detection import (
    accepting_threshold,
    area_under_roc,
    false_positive_rate,
)
from covtool.processes import ALONE, Processes
from covtool.progress import Track, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionFigures:
    """How well one score tells unknown images from known ones, in percent.

    Attributes:
        auroc: Area under the receiver operating characteristic: share of the pairs of a known and
            an unknown image in which the unknown one has the higher score, ties by half.
        fpr_at_95: Share of the unknown images that are taken for known ones, where 95 % of the
            known ones are.
        threshold: The score up to which 95 % of the known ones are, in the score's own unit; the
            lowest such score that an image has.
    """

    auroc: float
    fpr_at_95: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownResult:
    """Scores of known and of unknown images, compared.

    Attributes:
        data: Name of the unknown images' folder or list.
        images: Number of them.
        doubt: Figures of 1 - the probability of the most probable class.
        distance: Figures of the distance to the training embeddings; None where the file keeps
            none.
    """

    data: str
    images: int
    doubt: DetectionFigures
    distance: DetectionFigures | None

    @property
    def scores(self) -> dict[str, DetectionFigures]:
        """The figures that there are, by the names of the scores."""
        found = {"distance": self.distance, "doubt": self.doubt}
        return {name: figures for name, figures in found.items() if figures is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScores:
    """Scores of images; the higher, the less an image is of a known class.

    Attributes:
        doubt: 1 - the probability of the most probable class, (N,) in float64.
        distance: Distance to the training embeddings, (N,); None without any.
        given: Output with the highest logit, the first of equals, (N,); None where it is known
            from elsewhere.
    """

    doubt: Tensor
    distance: Tensor | None
    given: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnknownScores:
    """The scores behind an `UnknownResult`, image by image.

    Attributes:
        known: Scores of the known images, in the order of the evaluation.
        unknown: Scores of the unknown ones, with the given outputs.
        paths: Files of the unknown ones; none where that is not certain.
    """

    known: ImageScores
    unknown: ImageScores
    paths: Sequence[Path] = ()

    @property
    def by_name(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Scores of known and of unknown images, by the names of `UnknownResult`."""
        pairs = {"doubt": (self.known.doubt, self.unknown.doubt)}
        if self.known.distance is not None and self.unknown.distance is not None:
            pairs["distance"] = (self.known.distance, self.unknown.distance)
        return pairs


def detection_figures(known: Tensor, unknown: Tensor) -> DetectionFigures:
    """Return the figures of a score, from its values on known and on unknown images."""
    return DetectionFigures(
        auroc=100 * area_under_roc(known, unknown),
        fpr_at_95=100 * false_positive_rate(known, unknown),
        threshold=accepting_threshold(known),
    )


def compare_scores(scores: UnknownScores, data: str) -> UnknownResult:
    """Return how well each score tells the unknown images from the known ones."""
    figures = {name: detection_figures(*pair) for name, pair in scores.by_name.items()}
    return UnknownResult(
        data=data,
        images=len(scores.unknown.doubt),
        doubt=figures["doubt"],
        distance=figures.get("distance"),
    )


def score_images(
    model: nn.Module,
    loader: ImageLoader,
    *,
    temperature: float,
    device: torch.device,
    track: Track = silent,
    processes: Processes = ALONE,
) -> ImageScores:
    """Return the scores of images, whose labels are not looked at.

    Args:
        model: Model on `device`, perhaps with training embeddings.
        loader: Images of this process, in the order of the ranks.
        temperature: Number that logits are divided by.
        device: Device that the model runs on.
        track: Display of the progress.
        processes: Processes that have parts of the images; all get the scores of all.

    Raises:
        NonFiniteError: A logit is not a number.
        ShapeError: The model does not return (B, K).
    """

    def measure() -> tuple[list[Tensor], list[Tensor], Tensor]:
        doubts, given = [], []
        with torch.no_grad(), in_eval_mode(model):
            for images, labels in track(loader, "scoring unknown images", len(loader)):
                images = in_precision_of(model, sent_to(device, images))
                logits = checked_logits(model(images), torch.zeros_like(labels))
                doubts.append(doubt_of(logits, temperature))
                given.append(logits.argmax(dim=1).cpu())
        return doubts, given, torch.empty(0) if scorer is None else scorer.take()

    scorer = NeighborScorer.of(model)
    if scorer is None:
        parts = processes.each(measure)
    else:
        with scorer:
            parts = processes.each(measure)
    return ImageScores(
        doubt=torch.cat([batch for doubts, _, _ in parts for batch in doubts]),
        distance=None if scorer is None else torch.cat([distances for *_, distances in parts]),
        given=torch.cat([batch for _, given, _ in parts for batch in given]),
    )
