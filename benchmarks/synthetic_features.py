"""Features like those of a second-order head on a fine-grained data set, made anew at each call."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LATENT = 512
SEPARATION = 0.2  # standard deviation of class centers, of that within classes
DRAWN = 1000  # rows at a time
BATCH = 64  # rows of a batch, as a network gives them
WHITE = 0.05  # variance of what is independent in each feature, of all the rest


@dataclass
class SyntheticFeatures:
    """Rows (n, d) in float32 with labels: class centers and deviations whose variances fall as 1/k.

    512 directions hold the classes and nearly all of the variance; the rest is white. The mean is
    three standard deviations from zero, as that of features which are positive.

    Each batch is part of one buffer, and void with the next. Buffer and directions are there from
    the start, so that what is held beyond them is what was made of the features.
    """

    rows: int
    features: int
    classes: int

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        spread = torch.arange(1, LATENT + 1).rsqrt()
        spread /= spread.norm()
        self._directions = torch.randn(LATENT, self.features, generator=generator)
        self._directions *= spread[:, None]
        self._centers = SEPARATION * torch.randn(self.classes, LATENT, generator=generator)
        self._buffer = torch.zeros(min(self.rows, DRAWN), self.features)  # touched, so it is held

    def batches(self, size: int = BATCH, *, test: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features (b, d) and labels (b,), the same ones at each call."""
        generator = torch.Generator().manual_seed(1 + test)
        for start in range(0, self.rows, DRAWN):
            count = min(DRAWN, self.rows - start)
            labels = torch.randint(self.classes, (count,), generator=generator)
            latent = self._centers[labels] + torch.randn(count, LATENT, generator=generator)
            white = self._buffer[:count].normal_(generator=generator).mul_(WHITE**0.5)
            white.addmm_(latent, self._directions).add_(3)
            yield from zip(white.split(size), labels.split(size), strict=True)
