"""Features like those of a second-order head on a fine-grained data set, made anew at each call."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LATENT = 512
SEPARATION = 0.2  # standard deviation of class centers, of that within classes
WHITE = 0.05  # variance of what is independent in each feature, of all the rest


@dataclass(frozen=True)
class SyntheticFeatures:
    """Rows (n, d) in float32 with labels: class centers and deviations whose variances fall as 1/k.

    512 directions hold the classes and nearly all of the variance; the rest is white. The mean is
    three standard deviations from zero, as that of features which are positive.
    """

    rows: int
    features: int
    classes: int

    def batches(self, size: int = 1000, *, test: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features (b, d) and labels (b,), the same ones at each call."""
        generator = torch.Generator().manual_seed(0)
        spread = torch.arange(1, LATENT + 1).rsqrt()
        spread /= spread.norm()
        directions = torch.randn(LATENT, self.features, generator=generator) * spread[:, None]
        centers = SEPARATION * torch.randn(self.classes, LATENT, generator=generator)
        generator.manual_seed(1 + test)
        for start in range(0, self.rows, size):
            count = min(size, self.rows - start)
            labels = torch.randint(self.classes, (count,), generator=generator)
            latent = centers[labels] + torch.randn(count, LATENT, generator=generator)
            white = torch.randn(count, self.features, generator=generator) * WHITE**0.5
            yield white.addmm_(latent, directions).add_(3), labels
