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
    """At most `limit` samples, as many of each class as there are, in the order of `samples`.

    Args:
        samples: What to draw from.
        limit: How many at most; None for all.
        seed: The same one draws the same samples.
    """
    if limit is None or limit >= len(samples):
        return tuple(samples)
    of_class = defaultdict(list)
    for position, sample in enumerate(samples):
        of_class[sample.label].append(position)
    for label, positions in of_class.items():
        random.Random(f"{seed} {label}").shuffle(positions)
    rounds = ((p[turn] for p in of_class.values() if turn < len(p)) for turn in range(len(samples)))
    chosen = [position for positions in rounds for position in positions][:limit]
    return tuple(samples[position] for position in sorted(chosen))
