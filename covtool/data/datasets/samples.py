"""A labeled image of a data set, and a draw of as many from each class."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file and its label, an index into the class names."""

    path: Path
    label: int


def draw_evenly(
    samples: Sequence[Sample], limit: int | None, *, seed: int = 0
) -> tuple[Sample, ...]:
    """Draw at most `limit` samples, evenly from the classes, in the order of `samples`.

    Args:
        samples: Samples to draw from.
        limit: Largest number of samples; None for all.
        seed: Seed of the draw.
    """
    if limit is None or limit >= len(samples):
        return tuple(samples)
    of_class = defaultdict(list)  # in the order of first occurrence, on which the draw depends
    for position, sample in enumerate(samples):
        of_class[sample.label].append(position)
    for label, positions in of_class.items():
        random.Random(f"{seed} {label}").shuffle(positions)
    # The classes take turns; one that has no more images left is passed over.
    rounds = ((p[turn] for p in of_class.values() if turn < len(p)) for turn in range(len(samples)))
    chosen = [position for positions in rounds for position in positions][:limit]
    return tuple(samples[position] for position in sorted(chosen))
