"""Likelihood and calibration of a classifier's probabilities."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from covtool.evaluation.classification.columns import Column
from covtool.ops.calibration_error import (
    adaptive_calibration_error,
    expected_calibration_error,
)
from covtool.ops.temperature import negative_log_likelihood


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbabilityFigures:
    """Figures of the probabilities at one temperature, in float64.

    Attributes:
        temperature: Number that the logits were divided by.
        nll: Mean negative log-likelihood of the labels, in nats.
        ece: Expected calibration error over 15 bins of equal width, in percent (Guo et al., ICML
            2017).
        adaptive_ece: The same over 15 bins of equally many images, in percent.
    """

    temperature: float
    nll: float
    ece: float
    adaptive_ece: float

    @property
    def in_words(self) -> str:
        """Likelihood and calibration error in one line."""
        return f"negative log-likelihood {self.nll:.4g}, ECE {self.ece:.2f} %"


@dataclass(slots=True)
class ProbabilityCounts:
    """What the figures at one temperature need of each batch.

    Attributes:
        temperature: Number to divide logits by.
        losses: Sum of each batch's negative log-likelihoods.
        doubts: 1 - the probability of each image's most probable class.
    """

    temperature: float
    losses: list[float] = field(default_factory=list)
    doubts: Column = field(default_factory=Column)

    @classmethod
    def of_all(cls, parts: Iterable["ProbabilityCounts"]) -> "ProbabilityCounts":
        """Return the counts of all processes' images."""
        first, *others = parts
        for part in others:
            first.losses += part.losses
            first.doubts.add(part.doubts.rows)
        return first

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Count a batch.

        Args:
            logits: Shape (B, K).
            targets: Outputs that would be right, shape (B,).
        """
        logits, targets = logits.cpu(), targets.cpu()  # not every device has float64
        likelihoods = negative_log_likelihood(logits, targets, self.temperature)
        self.losses.append(float(likelihoods.sum()))
        self.doubts.add(doubt_of(logits, self.temperature))

    def result(self, right: Tensor) -> ProbabilityFigures:
        """Return the figures.

        Args:
            right: Whether each image's most probable class is its own, shape (N,).
        """
        confidences = 1 - self.doubts.rows
        return ProbabilityFigures(
            temperature=self.temperature,
            nll=sum(self.losses) / len(right),
            ece=100 * expected_calibration_error(confidences, right),
            adaptive_ece=100 * adaptive_calibration_error(confidences, right),
        )


def doubt_of(logits: Tensor, temperature: float) -> Tensor:
    """Return 1 - the probability of the most probable class, (B,) in float64 on the CPU.

    Source:
        Hendrycks, Gimpel. "A Baseline for Detecting Misclassified and Out-of-Distribution Examples
        in Neural Networks", ICLR 2017.
    """
    probabilities = (logits.cpu().double() / temperature).softmax(dim=1)
    # The others' sum, not 1 minus the largest: near 1, all images would be equal.
    others = probabilities.scatter(1, probabilities.argmax(dim=1, keepdim=True), 0)
    return others.sum(dim=1)
