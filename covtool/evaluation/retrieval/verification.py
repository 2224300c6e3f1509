"""Verification: two images are of one identity where their distance is at most a threshold."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from covtool.errors import ArgumentError, DataError
from covtool.evaluation.retrieval.pair_counts import PairCounts

RATES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Rates of false accepts for which the rate of true accepts is given."""
_CURVE = tuple(10 ** (-step / 4) for step in range(1, 33))  # four points a decade, down to 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What a threshold does: pairs at most that far apart are accepted as one identity.

    Attributes:
        asked_rate: Rate of false accepts that was asked for, at most.
        threshold: Largest distance that is accepted; None where no pair may be.
        false_accept_rate: FAR: accepted share of pairs of two identities, in percent.
        false_reject_rate: FRR: refused share of pairs of one identity, in percent.
    """

    asked_rate: float
    threshold: float | None
    false_accept_rate: float
    false_reject_rate: float

    @property
    def true_accept_rate(self) -> float:
        """TPR: accepted share of pairs of one identity, in percent."""
        return 100 - self.false_reject_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationResult:
    """How well a threshold on the distance tells pairs of one identity from others.

    Attributes:
        same_pairs: Pairs of one identity: each query with each of its matches.
        different_pairs: Pairs of two identities: each query with every other image that counts.
        auc: Area under ROC in percent: how often a pair of one identity is closer than one of two.
        auc_error: Largest error of `auc`, in percent; 0 where all distances were sorted.
        equal_error_rate: FAR where it equals FRR, in percent, between the two nearest thresholds.
        equal_error_bounds: Bounds of that rate by these thresholds, in percent.
        equal_error_threshold: Threshold there.
        at_rates: Thresholds for `RATES`, as far as there are pairs enough for one false accept.
        roc: The curve, four points for each decade of FAR.
        is_exact: Whether all distances were sorted; else they were counted in bins, each 2^-11 of
            its distance wide, and thresholds are ends of bins.
    """

    same_pairs: int
    different_pairs: int
    auc: float
    auc_error: float
    equal_error_rate: float
    equal_error_bounds: tuple[float, float]
    equal_error_threshold: float
    at_rates: tuple[OperatingPoint, ...]
    roc: tuple[OperatingPoint, ...]
    is_exact: bool

    @property
    def inexactness(self) -> str:
        """How exact the figures are, in words; empty where all distances were sorted."""
        return "" if self.is_exact else f"in bins: ROC AUC within {self.auc_error:.2g} %"

    @property
    def pairs_in_words(self) -> str:
        """How many pairs there are of either kind, and how exact the figures of them are."""
        how = f", {self.inexactness}" if self.inexactness else ""
        return f"{self.same_pairs:,} of one identity, {self.different_pairs:,} of two{how}"

    def figures(self) -> tuple[tuple[str, float], ...]:
        """Return names and values in percent, for people."""
        rates = [(f"TPR@FAR={p.asked_rate:g}", p.true_accept_rate) for p in self.at_rates]
        return (("ROC AUC", self.auc), ("EER", self.equal_error_rate), *rates)


def verification_figures(
    counts: PairCounts, to_distance: Callable[[float], float] = float
) -> VerificationResult | None:
    """Return the figures of pairs, in float64; None without pairs of two identities.

    Args:
        counts: Numbers of pairs by their distance.
        to_distance: Function from a distance in `counts` to one in the metric's own unit.
    """
    same, different = int(counts.same.sum()), int(counts.different.sum())
    if not same or not different:
        return None
    accepted = np.cumsum(counts.same) / same
    false = np.cumsum(counts.different)
    # Of pairs at the same distance, which one is closer is not known: half counts.
    tied = float((counts.same / same) @ (counts.different / different)) / 2
    above = float((counts.same / same) @ (1 - false / different))
    equal, bounds, at = _equal_error(accepted, false / different)

    def point(rate: float) -> OperatingPoint:
        # As `threshold_at`: the most accepts that are allowed, in whole pairs.
        last = int(np.searchsorted(false, int(rate * different), side="right")) - 1
        found = last >= 0
        return OperatingPoint(
            asked_rate=rate,
            threshold=to_distance(float(counts.distances[last])) if found else None,
            false_accept_rate=100 * float(false[last] / different) if found else 0.0,
            false_reject_rate=100 * (1 - float(accepted[last])) if found else 100.0,
        )

    return VerificationResult(
        same_pairs=same,
        different_pairs=different,
        auc=100 * (above + tied),
        auc_error=0.0 if counts.is_exact else 100 * tied,
        equal_error_rate=100 * equal,
        equal_error_bounds=(100 * bounds[0], 100 * bounds[1]),
        equal_error_threshold=to_distance(float(counts.distances[at])),
        at_rates=tuple(point(rate) for rate in RATES if rate * different >= 1),
        roc=tuple(point(rate) for rate in _CURVE if rate * different >= 1),
        is_exact=counts.is_exact,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairHistogram:
    """Pairs by their distance, in bins of one width.

    Attributes:
        edges: Ends of the bins, ascending, one more than bins.
        same: Pairs of one identity in each bin.
        different: Pairs of two identities in each bin.
    """

    edges: tuple[float, ...]
    same: tuple[int, ...]
    different: tuple[int, ...]


def pair_histogram(
    counts: PairCounts, to_distance: Callable[[float], float] = float, *, bins: int = 60
) -> PairHistogram:
    """Return numbers of pairs in bins of one width, from the smallest distance to the largest."""
    distances = np.array([to_distance(float(distance)) for distance in counts.distances])
    if not len(distances):
        return PairHistogram(edges=(0.0, 1.0), same=(0,), different=(0,))
    edges = np.histogram_bin_edges(distances, bins)
    same, different = (
        np.histogram(distances, edges, weights=numbers)[0].round().astype(int)
        for numbers in (counts.same, counts.different)
    )
    return PairHistogram(
        edges=tuple(edges.tolist()), same=tuple(same.tolist()), different=tuple(different.tolist())
    )


def _equal_error(accepted: np.ndarray, false: np.ndarray) -> tuple[float, tuple[float, float], int]:
    """Return the rate at which ROC, straight between its points, has FAR = FRR.

    Args:
        accepted: Share of accepted pairs of one identity, for ascending thresholds.
        false: Share of accepted pairs of two identities.

    Returns:
        The rate; the rates that bound it; and the first threshold where FAR is not below FRR.
    """
    rejected = 1 - accepted
    at = int(np.argmax(false >= rejected))  # the last one accepts all: 1 >= 0
    far, frr = float(false[at]), float(rejected[at])
    far_before, frr_before = (float(false[at - 1]), float(rejected[at - 1])) if at else (0.0, 1.0)
    gap, gap_before = far - frr, frr_before - far_before
    share = gap_before / (gap + gap_before)
    rate = far_before + share * (far - far_before)
    return rate, (max(far_before, frr), min(far, frr_before)), at


def threshold_at(different: Tensor, false_accept_rate: float) -> float:
    """Return the largest threshold that accepts at most a share of pairs of two identities.

    A pair is accepted where its distance is at most the threshold.

    Args:
        different: Distances of pairs of two identities, shape (n,).
        false_accept_rate: Share of them that may be accepted, from 0 to below 1.

    Returns:
        The threshold; just below the smallest distance where no pair may be accepted.

    Raises:
        ArgumentError: The rate is not in [0, 1).
        DataError: There are no pairs.

    Example:
        >>> distances = torch.arange(1.0, 11.0)
        >>> round(threshold_at(distances, 0.2), 4), int((distances <= 2.9999).sum())
        (3.0, 2)
    """
    if not 0 <= false_accept_rate < 1:
        raise ArgumentError(
            f"A rate of false accepts is from 0 to below 1, not {false_accept_rate}."
        )
    if not len(different):
        raise DataError("There are no pairs of two identities to choose a threshold on.")
    ordered = different.double().sort().values
    # All distances below the first one that must be refused are accepted, its equals are not.
    refused = ordered[int(false_accept_rate * len(ordered))]
    return torch.nextafter(refused, refused.new_tensor(-torch.inf)).item()
