"""Count sketch: a linear map to fewer numbers that keeps inner products on average."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class CountSketch:
    """Each input is added to one output, with a random sign.

    Attributes:
        buckets: Output that each input is added to, shape (d,), in [0, size).
        signs: Sign of each input, shape (d,), +1 or -1.
        size: Number of outputs, m.

    Source:
        Charikar, Chen, Farach-Colton. "Finding Frequent Items in Data Streams", ICALP 2002;
        for regression: Clarkson, Woodruff, STOC 2013.
    """

    buckets: Tensor
    signs: Tensor
    size: int

    @classmethod
    def draw(cls, num_features: int, size: int, *, seed: int = 0) -> "CountSketch":
        """Return a random sketch from d = `num_features` to `size` numbers."""
        generator = torch.Generator("cpu").manual_seed(seed)
        return cls(
            # Drawn on the CPU: the same seed gives the same sketch on every device.
            buckets=torch.randint(size, (num_features,), generator=generator, device="cpu"),
            signs=torch.randint(2, (num_features,), generator=generator, device="cpu") * 2.0 - 1.0,
            size=size,
        )

    def apply(self, features: Tensor) -> Tensor:
        """(n, d) -> (n, m)."""
        sketched = features.new_zeros(features.shape[0], self.size)
        return sketched.index_add(1, self.buckets, features * self.signs.to(features.dtype))

    def transpose(self, weight: Tensor) -> Tensor:
        """Return a linear map of sketched features as one of the features: (K, m) -> (K, d)."""
        return weight[:, self.buckets] * self.signs.to(weight.dtype)
