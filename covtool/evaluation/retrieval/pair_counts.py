"""Pairs of one identity and of two, counted by their distance in bounded memory."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from covtool.evaluation.retrieval.memory_plan import SearchSize
from covtool.evaluation.retrieval.relevance import SameIdentity

MOST_SORTED = 2**20
"""Pairs whose distances are sorted, at most; those of more are counted in bins."""
SORTING = 64
"""Bytes for each pair that is sorted, at most."""
SHARE = 8
"""Part of the memory allowed that sorting may take."""

_KEPT_BITS = 11  # of a float32's mantissa: a bin is 2^-11 of its distance wide, at most
_DROPPED_BITS = 23 - _KEPT_BITS
_SMALLEST, _LARGEST = 2.0**-16, 2.0**24  # distances beyond share the first bin and the last
_FIRST = (127 - 16) << _KEPT_BITS
_BINS = ((127 + 24) << _KEPT_BITS) - _FIRST + 1
_AT_ONCE = 2**17

COUNTING = 3 * 8 * _BINS
"""Bytes of the bins, at most."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairCounts:
    """Numbers of pairs up to each of some distances, ascending.

    Attributes:
        distances: Distances in float64, shape (n,).
        same: Pairs of one identity at that distance, above the one before, in int64.
        different: Pairs of two identities, likewise.
        is_exact: Whether these are all distances that occur; else pairs of a bin count as of its
            largest distance.
    """

    distances: np.ndarray
    same: np.ndarray
    different: np.ndarray
    is_exact: bool


def is_sorted(size: SearchSize, memory_bytes: int) -> bool:
    """Return whether the distances of a search are sorted: few enough, for the memory allowed."""
    pairs = size.queries * size.gallery
    return pairs <= MOST_SORTED and SORTING * pairs <= max(memory_bytes // SHARE, COUNTING)


def counting_bytes(size: SearchSize, memory_bytes: int) -> int:
    """Return bytes that counting the pairs of a search takes, at most."""
    if not size.has_pairs:
        return 0
    pairs = size.queries * size.gallery
    return SORTING * pairs if is_sorted(size, memory_bytes) else COUNTING


class PairTally:
    """Counts pairs of a search, block by block.

    Args:
        size: The counts of the search.
        memory_bytes: Memory that the search may take.
    """

    def __init__(self, size: SearchSize, memory_bytes: int) -> None:
        self._sorted = is_sorted(size, memory_bytes)
        self._distances: list[tuple[Tensor, Tensor]] = []
        self._counts = None if self._sorted else torch.zeros(2, _BINS, dtype=torch.int64)

    def add(self, compared: Tensor, base: Tensor, same: SameIdentity) -> None:
        """Count the pairs of a block of queries.

        Args:
            compared: Distances but for a number for each query, shape (B, G); stays as it is.
            base: Number for each query that makes them distances, shape (B, 1).
            same: Images of the queries' identities: matches are pairs of one identity, all images
                that are none of these pairs of two.
        """
        rows, columns = (same.is_match | same.is_ignored).nonzero(as_tuple=True)
        of_no_pair = rows, same.positions[rows, columns]
        if self._counts is None:
            # Rounding leaves tiny negative distances between equal images.
            distances = (compared + base).clamp_min_(0)
            of_same = distances.gather(1, same.positions)[same.is_match]
            distances[of_no_pair] = torch.inf
            self._distances.append((of_same, distances[distances < torch.inf]))
            return
        bins = _bins_of(compared, base)
        of_same = bins.gather(1, same.positions)[same.is_match]
        bins[of_no_pair] = _BINS - 1
        self._counts[0] += torch.bincount(of_same, minlength=_BINS)
        self._counts[1] += torch.bincount(bins.view(-1), minlength=_BINS)
        self._counts[1, -1] -= len(rows)

    def counts(self) -> PairCounts:
        """Return the counts of all pairs so far."""
        if self._counts is None:
            parts = [torch.cat(list(part)).numpy() for part in zip(*self._distances, strict=True)]
            return _sorted_counts(*parts)
        used = self._counts.sum(0).nonzero()[:, 0]
        same, different = self._counts[:, used].numpy()
        return PairCounts(
            distances=_largest_of(used).double().numpy(),
            same=same,
            different=different,
            is_exact=False,
        )


def _sorted_counts(same: np.ndarray, different: np.ndarray) -> PairCounts:
    distances = np.unique(np.concatenate([same, different]))
    # Numbers up to and with each distance; their differences are those at it.
    counts = []
    for values in (same, different):
        values.sort()
        up_to = np.searchsorted(values, distances, side="right")
        counts.append(np.diff(up_to, prepend=0))
    return PairCounts(
        distances=distances.astype(np.float64), same=counts[0], different=counts[1], is_exact=True
    )


def _bins_of(compared: Tensor, base: Tensor) -> Tensor:
    """Return the bin of each distance, by the first bits of its float32."""
    bins = torch.empty(compared.shape, dtype=torch.int32)
    # A few rows at a time stay in the processor's cache between the steps.
    step = max(1, _AT_ONCE // compared.shape[1])
    for start in range(0, len(compared), step):
        part = slice(start, start + step)
        distances = (compared[part] + base[part]).clamp_(_SMALLEST, _LARGEST)
        # The bits of floats that are not negative are in the order of the floats.
        bins[part] = distances.view(torch.int32) >> _DROPPED_BITS
    return bins.sub_(_FIRST)


def _largest_of(bins: Tensor) -> Tensor:
    """Return the largest distance of each bin."""
    bits = ((bins + _FIRST + 1) << _DROPPED_BITS) - 1
    return bits.to(torch.int32).view(torch.float32)
