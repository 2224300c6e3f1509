"""Intervals of a mean, and of the difference of two means, by resampling (bootstrap).

An interval is the percentile one. The figures are means, which are not biased, so that BCa would
only correct skewness, by less than the width of one image; and its correction of the bias counts
resamples below the estimate, which is off by half a step where values are 0 and 1. What percentiles
do lack is corrected: few units make them too narrow, and all images right would make them a point.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from covtool.errors import ArgumentError, ShapeError

LEVEL = 0.95
RESAMPLES = 4000
"""So many leave about 2 % of chance in the width of an interval at 95 %."""
FEWEST_UNITS = 5
"""Images, or groups of them, below which resampling says nothing."""

Bounds = tuple[float, float]
SHARE: Bounds = (0.0, 1.0)
"""Bounds of a value that is right or wrong, or of an average precision."""

_NUMBERS_AT_ONCE = 1 << 22  # counts of resampled images in memory: 32 MiB
_WHOLE_IN_FLOAT32 = 1 << 24
_EACH_BOUND = 2
"""Values that are added at each bound for a mean: Agresti and Coull's "plus four"."""
_EACH_SIGN = 1
"""Values that are added at each bound for a difference of pairs: Agresti and Min's two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """Settings of a resampling.

    Attributes:
        level: Share of such intervals that hold the true mean, between 0 and 1.
        resamples: Number of resamples.
        seed: Seed of the drawing.

    Raises:
        ArgumentError: The level is not between 0 and 1, or there are too few resamples for it.
    """

    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ArgumentError(f"The level of an interval is between 0 and 1, not {self.level:g}.")
        fewest = math.ceil(2 / (1 - self.level))
        if self.resamples < fewest:
            raise ArgumentError(
                f"An interval of level {self.level:g} needs at least {fewest} resamples, not "
                f"{self.resamples}."
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Intervals:
    """Means with their intervals, in the unit of the values, float64.

    The shape is (), or (rows,) where values had rows.

    Attributes:
        estimate: Mean over all images.
        low: Lower end, the estimate at most; NaN where resampling says nothing.
        high: Upper end, the estimate at least; NaN likewise.
        units: What was drawn: images, or groups of them.
    """

    estimate: Tensor
    low: Tensor
    high: Tensor
    units: int

    @property
    def holds_zero(self) -> Tensor:
        """Whether 0 is in each interval, so that a difference may be chance; NaN may be all."""
        return ~((self.low > 0) | (self.high < 0))


def mean_intervals(
    values: Tensor,
    *,
    groups: Tensor | None = None,
    bounds: Bounds | None = SHARE,
    settings: Resampling | None = None,
) -> Intervals:
    """Return the mean of values of images, with an interval.

    Every row sees the same resamples. Memory: a float64 copy of the values, and 100 MiB.

    Args:
        values: Value of each image, such as whether it is right, shape (n,) or (rows, n).
        groups: Group of each image, any integers, shape (n,), where images of a group are not
            independent: groups are drawn in place of images, and the mean is still that of images.
        bounds: Least and largest value that an image can have; None where there are none.
        settings: Level, number and seed of the resamples; None for the defaults.

    Returns:
        Intervals. Where images are drawn and bounds are known, two images at each bound are drawn
        with them, so that 100 of 100 right is not certain. Of fewer than `FEWEST_UNITS` units, and
        of equal values without bounds, the ends are NaN.

    Raises:
        ShapeError: The shapes are not as above, or there is no image.
        ArgumentError: A value is not finite, or outside of the bounds.

    Source:
        Efron, Tibshirani. "An Introduction to the Bootstrap", 1993, chapter 13; Hesterberg. "What
        Teachers Should Know About the Bootstrap", The American Statistician 2015, for few units;
        Agresti, Coull. "Approximate Is Better than 'Exact'", The American Statistician 1998.

    Example:
        >>> right = torch.arange(400) < 300
        >>> found = mean_intervals(right)
        >>> found.estimate.item(), round(found.low.item(), 2), round(found.high.item(), 2)
        (0.75, 0.7, 0.79)
    """
    added = () if bounds is None else bounds * _EACH_BOUND
    return _intervals(_checked(values, groups, bounds), groups, bounds, added, settings)


def difference_intervals(
    values: Tensor,
    reference: Tensor,
    *,
    groups: Tensor | None = None,
    bounds: Bounds | None = SHARE,
    settings: Resampling | None = None,
) -> Intervals:
    """Return the mean of `values` minus that of `reference` on the same images, with an interval.

    Both are resampled together: what is hard for both does not widen the interval. Nothing
    accounts for a reference that was chosen as the best of many rows on these images.

    Args:
        values: Value of each image, shape (n,) or (rows, n).
        reference: Value of the same images by the other model, shape (n,), or that of `values`.
        groups: See `mean_intervals`.
        bounds: Of both, see `mean_intervals`; where images are drawn, one with the largest
            difference in either direction is drawn with them.
        settings: Level, number and seed of the resamples; None for the defaults.

    Raises:
        ShapeError: The shapes are not as above, or there is no image.
        ArgumentError: A value is not finite, or outside of the bounds.

    Source:
        See `mean_intervals`; Agresti, Min. "Simple Improved Confidence Intervals for Comparing
        Matched Proportions", Statistics in Medicine 2005.

    Example:
        >>> better, worse = torch.arange(400) < 300, torch.arange(400) < 280
        >>> found = difference_intervals(better, worse)
        >>> round(found.estimate.item(), 3), bool(found.holds_zero)
        (0.05, False)
    """
    if reference.shape not in (values.shape, values.shape[-1:]):
        raise ShapeError.expected("reference", f"{tuple(values.shape)}", reference)
    apart = _checked(values, groups, bounds) - _checked(reference, groups, bounds)
    if bounds is None:
        return _intervals(apart, groups, None, (), settings)
    widest = bounds[1] - bounds[0]
    ends = (-widest, widest)
    return _intervals(apart, groups, ends, ends * _EACH_SIGN, settings)


def _checked(values: Tensor, groups: Tensor | None, bounds: Bounds | None) -> Tensor:
    """Return values in float64, (n,) or (rows, n)."""
    if values.ndim not in (1, 2) or not values.numel():
        raise ShapeError.expected("values of images", "(n,) or (rows, n)", values)
    if groups is not None and groups.shape != values.shape[-1:]:
        raise ShapeError.expected("groups", f"({values.shape[-1]},)", groups)
    numbers = values.detach().double()
    least, largest = (end.item() for end in numbers.aminmax())
    if not (math.isfinite(least) and math.isfinite(largest)):
        raise ArgumentError("A value of an image is not finite: no mean can be given.")
    if bounds is not None and not bounds[0] <= least <= largest <= bounds[1]:
        raise ArgumentError(
            f"Values of images are between {least:g} and {largest:g}, outside of "
            f"{bounds[0]:g} to {bounds[1]:g}.",
            hint="Give shares as 0 to 1, not in percent, or other bounds.",
        )
    return numbers


def _intervals(
    values: Tensor,
    groups: Tensor | None,
    bounds: Bounds | None,
    added: tuple[float, ...],
    settings: Resampling | None,
) -> Intervals:
    settings = settings or Resampling()
    rows = torch.atleast_2d(values)
    estimate = rows.mean(dim=1)
    sums, sizes = _units(rows, groups)
    units = len(sizes)
    low = high = torch.full_like(estimate, torch.nan)
    if units >= FEWEST_UNITS:
        tail = _tail(settings.level, units)
        if groups is None and added:
            more = sums.new_tensor(added)[:, None].expand(-1, sums.shape[1])
            sums, sizes = torch.cat([sums, more]), torch.cat([sizes, sizes.new_ones(len(added))])
        low, high = _ends(_resampled_means(sums, sizes, settings), tail)
        # Of equal units, resamples are equal: what has not been seen sets the ends.
        unseen = _unseen(estimate, bounds, settings.level, units)
        means = sums / sizes[:, None]
        is_flat = means.amin(dim=0) == means.amax(dim=0)
        low = torch.where(is_flat, unseen[0], torch.minimum(low, estimate))
        high = torch.where(is_flat, unseen[1], torch.maximum(high, estimate))
    shape = values.shape[:-1]
    return Intervals(
        estimate=estimate.reshape(shape),
        low=low.reshape(shape),
        high=high.reshape(shape),
        units=units,
    )


def _units(rows: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what is drawn: sums of values, (units, rows), and numbers of images, (units,)."""
    if groups is None:
        return rows.mT.contiguous(), rows.new_ones(rows.shape[1])
    names, place = torch.unique(groups, return_inverse=True)
    sums = rows.new_zeros(len(names), len(rows)).index_add_(0, place, rows.mT)
    return sums, torch.bincount(place).to(rows.dtype)


def _resampled_means(sums: Tensor, sizes: Tensor, settings: Resampling) -> Tensor:
    """Return the mean of each resample, (resamples, rows): how often each unit is drawn decides."""
    units = len(sums)
    # Right or wrong: whole numbers are exact in float32, which takes a third of the time.
    is_whole = bool((sums == sums.round()).all())
    if is_whole and units * max(sums.abs().max().item(), sizes.max().item()) < _WHOLE_IN_FLOAT32:
        sums, sizes = sums.float(), sizes.float()
    # Drawn on the CPU: the same seed gives the same resamples on every device.
    generator = torch.Generator("cpu").manual_seed(settings.seed)
    means = sums.new_empty(settings.resamples, sums.shape[1], dtype=torch.float64)
    for block in means.split(max(1, _NUMBERS_AT_ONCE // units)):
        counts = sums.new_empty(len(block), units)
        for row in counts:
            drawn = torch.randint(units, (units,), generator=generator, device="cpu")
            row.copy_(torch.bincount(drawn, minlength=units))
        block.copy_(counts @ sums).div_((counts @ sizes)[:, None].double())
    return means


def _ends(means: Tensor, tail: float) -> tuple[Tensor, Tensor]:
    """Return the quantiles of resampled means at `tail` from either end."""
    ordered = means.sort(dim=0).values
    place = max(math.floor(tail * (len(ordered) + 1)), 1)
    return ordered[place - 1], ordered[-place]


def _tail(level: float, units: int) -> float:
    """Return the share of resamples beyond each end.

    Percentiles are too narrow by the root of (n - 1) / n, and have the normal distribution's tails
    in place of Student's: Hesterberg's expanded percentiles are wider by as much.
    """
    normal = NormalDist()
    z = -normal.inv_cdf((1 - level) / 2)
    expanded = student_quantile(z, units - 1) * math.sqrt(units / (units - 1))
    return normal.cdf(-expanded)


def student_quantile(z: float, degrees: int) -> float:
    """Return the quantile of Student's t where the normal distribution's is `z`.

    Right to 1 % for 4 degrees of freedom and |z| below 2.6, better for more.

    Source:
        Abramowitz, Stegun. "Handbook of Mathematical Functions", 1964, 26.7.5.
    """
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / degrees**power for power, term in enumerate(terms, start=1))


def _unseen(
    estimate: Tensor, bounds: Bounds | None, level: float, units: int
) -> tuple[Tensor, Tensor]:
    """Return the ends where all units are equal.

    Units of another value may be so many that none would be drawn just as rarely as the level says
    (Clopper and Pearson's bound for none of n); at worst all of them are at one bound.
    """
    if bounds is None:
        return torch.full_like(estimate, torch.nan), torch.full_like(estimate, torch.nan)
    share = 1 - ((1 - level) / 2) ** (1 / units)
    return estimate + share * (bounds[0] - estimate), estimate + share * (bounds[1] - estimate)
