"""The best heads over two taps, found by the Gram matrices of heads on one.

Inner products of vectors that stand side by side add up: the sum of two Gram matrices is that of
the head over both taps, whose leave-one-out figure follows without its features. The best ones are
then fitted as `convert` would, so that their figures are its own.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor

from covtool.comparing.candidates import Candidate, planned
from covtool.comparing.head_on_maps import LABELS
from covtool.comparing.map_store import MapStore
from covtool.comparing.measuring import FittedHead, Fitting, all_features, without_row
from covtool.comparing.records import LeftOutRow
from covtool.errors import CovtoolError
from covtool.ops.ridge import fit_ridge_gram, mistakes
from covtool.specs import HeadSpec

_COLUMNS_AT_ONCE = 4096  # in float64
_FLOAT64 = 8


@dataclass
class PairSearch:
    """Looks for the best pairs among heads that were fitted on one tap.

    A pair has one head, with as many channels as the narrower tap allows. Heads beside the
    network's own features are left out: those would count twice.

    Args:
        fitting: The fitting of the network's heads.
        classes: Number of classes.
    """

    fitting: Fitting
    classes: int
    _singles: dict[HeadSpec, list[Candidate]] = field(default_factory=lambda: defaultdict(list))
    _grams: dict[tuple[HeadSpec, str, int], Tensor] = field(default_factory=dict)

    def add(self, fit: FittedHead) -> None:
        """Take up a head on one tap."""
        candidate = fit.candidate
        if not candidate.spec.fuse:
            self._singles[candidate.asked].append(candidate)
            self._grams[_key(candidate, candidate.spec.dim)] = _gram(fit, self.fitting.store)

    def best(self, count: int) -> Iterator[FittedHead | LeftOutRow]:
        """Yield the best pairs, fitted, the best by its Gram matrix first."""
        found = [
            (self._figure(first, second), asked, first, second)
            for asked, singles in self._singles.items()
            for first, second in combinations(singles, 2)
        ]
        # Stable: of equal ones the first heads and taps that were asked for.
        for _, asked, first, second in sorted(found, key=lambda one: -one[0])[:count]:
            taps = first.plan.tap.path, second.plan.tap.path
            dim = min(first.spec.dim, second.spec.dim)
            spec = asked.model_copy(update={"dim": dim, "tap": taps})
            try:
                candidate = planned(self.fitting.subject, asked, spec, taps)
            except CovtoolError as problem:
                yield without_row(self.fitting.subject, first, problem.message)
            else:
                yield self.fitting.one(candidate)

    def _figure(self, first: Candidate, second: Candidate) -> float:
        """Return the share of left-out images that are right with both; 0 where none can be."""
        dim = min(first.spec.dim, second.spec.dim)
        grams = [self._at(candidate, dim) for candidate in (first, second)]
        if any(gram is None for gram in grams):
            return 0.0
        labels = self.fitting.store.all_of(LABELS)
        targets = torch.nn.functional.one_hot(labels, self.classes).bool()
        with self.fitting.how.watch.of("heads"):
            fit = fit_ridge_gram(grams[0] + grams[1], targets, loss=mistakes)
        return (fit.left_out.argmax(dim=1) == labels).double().mean().item()

    def _at(self, candidate: Candidate, dim: int) -> Tensor | None:
        """Return the Gram matrix of a head with so many channels; None where it has none."""
        key = _key(candidate, dim)
        if key not in self._grams:
            spec = candidate.spec.model_copy(update={"dim": dim})
            taps = (candidate.plan.tap.path,)
            narrower = planned(self.fitting.subject, candidate.asked, spec, taps)
            fit = self.fitting.one(narrower)
            if isinstance(fit, LeftOutRow):
                return None
            self._grams[key] = _gram(fit, self.fitting.store)
        return self._grams[key]


def can_be_paired(candidates: Iterable[Candidate]) -> bool:
    """Return whether a head is there on two taps."""
    asked = Counter(candidate.asked for candidate in candidates if not candidate.spec.fuse)
    return max(asked.values(), default=0) > 1


def gram_bytes(heads: int, images: int) -> int:
    """Return bytes of the Gram matrices of so many heads."""
    return _FLOAT64 * heads * images**2


def _key(candidate: Candidate, dim: int) -> tuple[HeadSpec, str, int]:
    return candidate.asked, candidate.plan.tap.path, dim


def _gram(fit: FittedHead, store: MapStore) -> Tensor:
    """Return inner products of the centered features of all images, (n, n), in float64."""
    features = all_features(fit.head, store)
    gram = features.new_zeros(len(features), len(features), dtype=torch.float64)
    for columns in features.split(_COLUMNS_AT_ONCE, dim=1):
        block = columns.double()
        block -= block.mean(dim=0)
        gram.addmm_(block, block.mT)
    return gram
