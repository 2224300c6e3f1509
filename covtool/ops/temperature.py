"""The temperature that makes labels likeliest: one number for all logits.

The negative log-likelihood is convex in the inverse temperature: its slope, the mean of what the
probabilities expect of the logits minus the logit of the label, grows. So the minimum is a root
between bounds, and nothing depends on a start or a step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from typing import Literal, Self

from torch import Tensor
from torch.nn import functional as F

from covtool.errors import ArgumentError, NonFiniteError, ShapeError

COLDEST, HOTTEST = 1e-4, 1e4
"""Bounds of a temperature, for whatever logits."""

AS_THEY_ARE = 1.0
"""Temperature of logits that are not divided."""

MOST_LOGITS = 1 << 24
"""Logits that a temperature is chosen on, 128 MiB: one number needs no more."""

_DIGITS = 1e-12  # of a temperature, relative
_CHUNK = 1 << 18  # logits at a time: 2 MiB stay in a processor's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperatureFit:
    """A temperature, and what bounded it.

    Attributes:
        temperature: Number to divide logits by.
        images: Number of images that it was chosen on.
        bound: ``surest`` where the likelihood alone would be surer than so few images show;
            ``hottest`` where the logits say nothing about the labels; None otherwise.
    """

    temperature: float
    images: int
    bound: Literal["surest", "hottest"] | None = None


def fit_temperature(logits: Tensor, labels: Tensor) -> TemperatureFit:
    """Return the temperature with the smallest negative log-likelihood.

    Where every image is right, the likelihood grows without end as the temperature falls. N images
    without a mistake do not show more than 1 - 1 / (N + 2), which Laplace's rule of succession
    estimates for the next one: the temperature is not let fall below 1 beyond that mean confidence.
    Where the logits as they are have it already, the temperature is 1: images that are right are no
    reason to be less sure.

    Args:
        logits: Shape (N, K), of images that the weights have not seen.
        labels: Class of each image, shape (N,).

    Raises:
        ShapeError: The shapes are not (N, K) and (N,).
        ArgumentError: There are no images, or a single class.
        NonFiniteError: A logit is not finite.

    Source:
        Guo, Pleiss, Sun, Weinberger. "On Calibration of Modern Neural Networks", ICML 2017,
        section 4.2.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
        >>> fit = fit_temperature(logits, torch.tensor([1, 1, 0]))
        >>> round(fit.temperature, 4)  # 2 / log 2: two of three are right
        2.8854
    """
    logits = _checked(logits, labels)
    # Differences to the largest logit: no exponential overflows, and no digits are lost.
    logits = logits - logits.amax(dim=1, keepdim=True)
    of_labels = float(logits.gather(1, labels[:, None]).mean())

    chunks = logits.split(max(_CHUNK // logits.shape[1], 1))
    images = len(logits)

    def slope(temperature: float) -> float:
        """Return how the mean loss grows with the inverse temperature."""
        expected = sum(
            float((part / temperature).softmax(dim=1).mul_(part).sum()) for part in chunks
        )
        return expected / images - of_labels

    def doubt(temperature: float) -> float:
        sure = (float((part / temperature).softmax(dim=1).amax(dim=1).sum()) for part in chunks)
        return 1 - sum(sure) / images

    if slope(HOTTEST) >= 0:
        return TemperatureFit(temperature=HOTTEST, images=images, bound="hottest")
    least_doubt = 1 / (images + 2)
    likeliest = _lowest(lambda temperature: -slope(temperature))
    if doubt(likeliest) >= least_doubt:
        return TemperatureFit(temperature=likeliest, images=images)
    surest = min(_lowest(lambda temperature: doubt(temperature) - least_doubt), AS_THEY_ARE)
    if likeliest >= surest:  # above 1, mistakes have called for it
        return TemperatureFit(temperature=likeliest, images=images)
    return TemperatureFit(temperature=surest, images=images, bound="surest")


def fit_held_out(logits: Tensor, labels: Tensor) -> TemperatureFit | None:
    """Return the temperature of held-out images; None where these give none.

    That is so with images of a single class, and with logits that are not finite.

    Args:
        logits: Shape (N, K); of more than `MOST_LOGITS`, every so many rows are taken.
        labels: Shape (N,).
    """
    if not len(labels) or bool((labels == labels[0]).all()) or not logits.isfinite().all():
        return None
    return fit_temperature(*_some(logits, labels))


def held_out_loss(logits: Tensor, labels: Tensor, fit: TemperatureFit) -> float:
    """Return the mean negative log-likelihood of the images that a temperature was chosen on.

    It is in nats, and at that temperature: what the order of the logits is worth, whatever their
    scale. It is a proper score: the true probabilities have the least expectation of it.

    Args:
        logits: Shape (N, K), as `fit_held_out` was given them.
        labels: Shape (N,), likewise.
        fit: What it returned.

    Source:
        Gneiting, Raftery. "Strictly Proper Scoring Rules, Prediction, and Estimation", JASA 2007.
    """
    logits, labels = _some(logits, labels)
    rows = max(_CHUNK // logits.shape[1], 1)
    parts = zip(logits.split(rows), labels.split(rows), strict=True)
    losses = (negative_log_likelihood(*part, fit.temperature).sum().item() for part in parts)
    return sum(losses) / len(labels)


def negative_log_likelihood(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the negative log-likelihood of each image's label in nats, shape (N,), float64.

    Args:
        logits: Shape (N, K).
        labels: Shape (N,).
        temperature: Number that logits are divided by.
    """
    return F.cross_entropy(logits.double() / temperature, labels, reduction="none")


def _some(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return every so many rows, `MOST_LOGITS` at most."""
    every = ceil(logits.numel() / MOST_LOGITS)
    return logits[::every], labels[::every]


def _checked(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.ndim != 2 or not len(logits):
        raise ShapeError.expected("logits", "(N, K) with N of 1 or more", logits)
    if labels.shape != logits.shape[:1]:
        raise ShapeError.expected("labels", f"({len(logits)},)", labels)
    if logits.shape[1] < 2:
        raise ArgumentError("The probability of a single class is 1 at every temperature.")
    if not logits.isfinite().all():
        raise NonFiniteError("A temperature needs finite logits.")
    return logits.double()


def _lowest(value: Callable[[float], float]) -> float:
    """Return the lowest temperature at which a number is not negative; it rises to one that is not.

    Source:
        Chandrupatla. "A new hybrid quadratic/bisection algorithm for finding the zero of a
        nonlinear function without using derivatives", Advances in Engineering Software 28, 1997.
    """
    low, high = _Point.at(value, COLDEST), _Point.at(value, HOTTEST)
    if low.value >= 0:
        return COLDEST
    share = 0.5  # of the way from the newest bound to the other one
    newest, other = high, low
    while abs(other.place - newest.place) > _DIGITS:
        middle = _Point.at(value, exp(newest.place + share * (other.place - newest.place)))
        if middle.is_above == newest.is_above:
            before = newest
        else:
            before, other = other, newest
        newest = middle
        share = _share(newest, other, before)
    return exp(max(newest.place, other.place))


@dataclass(frozen=True, slots=True)
class _Point:
    """The logarithm of a temperature, and the value there."""

    place: float
    value: float

    @classmethod
    def at(cls, value: Callable[[float], float], temperature: float) -> Self:
        return cls(log(temperature), value(temperature))

    @property
    def is_above(self) -> bool:
        return self.value >= 0


def _share(newest: _Point, other: _Point, before: _Point) -> float:
    """Return how far to go from the newest bound to the other: by a parabola, else half the way."""
    width = other.place - newest.place
    least = min(0.5, _DIGITS / 2 / abs(width)) if width else 0.5
    share = 0.5
    if other.value != before.value:
        places = (newest.place - other.place) / (before.place - other.place)
        values = (newest.value - other.value) / (before.value - other.value)
        if 1 - sqrt(1 - places) < values < sqrt(places):
            a, b, c = newest.value, other.value, before.value
            slope = (before.place - newest.place) / width
            share = a / (b - a) * c / (b - c) + slope * a / (c - a) * b / (c - b)
    return min(1 - least, max(least, share))
