"""Compact bilinear pooling as a layer."""

from torch import Tensor

from covtool.layers.global_pooling import GlobalPooling
from covtool.ops.power_normalization import shifted_signed_sqrt, signed_sqrt, unit_length
from covtool.ops.precision import at_least_float32, full_precision
from covtool.ops.sketch import CountSketch
from covtool.ops.tensor_sketch import compact_bilinear_pool

# The sketch of a product needs two hashes that are independent of each other.
SEEDS = {"first": 1, "second": 2}


class CompactBilinearPooling(GlobalPooling):
    """Tensor Sketch of the second moments, signed square root, unit length.

    The hashes are buffers: a saved model keeps its own.

    Args:
        in_features: Channels of the backbone's feature map, C.
        dim: Channels after the reduction, D.
        reduction: ``conv-bn-relu``, ``linear`` or ``none``.
        sketch_size: Length of the pooled vector, m.

    Attributes:
        thresh: Shift of `covtool.ops.power_normalization.shifted_signed_sqrt`, for published
            weights; None for `signed_sqrt`.

    Shape:
        (B, C, H, W) -> (B, sketch_size)

    Source:
        Gao, Beijbom, Zhang, Darrell. "Compact Bilinear Pooling", CVPR 2016.
    """

    def __init__(
        self, in_features: int, *, dim: int = 256, reduction: str = "none", sketch_size: int = 8192
    ) -> None:
        super().__init__(in_features, dim=dim, reduction=reduction)
        self.num_features = sketch_size
        self.thresh: float | None = None
        for name, seed in SEEDS.items():
            sketch = CountSketch.draw(self.reduced_features, sketch_size, seed=seed)
            self.register_buffer(f"{name}_buckets", sketch.buckets)
            self.register_buffer(f"{name}_signs", sketch.signs)

    def sketch(self, name: str) -> CountSketch:
        """Return the count sketch called ``first`` or ``second``."""
        return CountSketch(
            buckets=getattr(self, f"{name}_buckets"),
            signs=getattr(self, f"{name}_signs"),
            size=self.num_features,
        )

    def pool(self, features: Tensor) -> Tensor:
        with full_precision(features):
            sketched = compact_bilinear_pool(
                at_least_float32(features), self.sketch("first"), self.sketch("second")
            )
            return unit_length(self._root(sketched, features[0, 0].numel())).to(features.dtype)

    def _root(self, sketched: Tensor, positions: int) -> Tensor:
        if self.thresh is None:
            return signed_sqrt(sketched)
        # Published for the sum over the positions; here it is their mean.
        return shifted_signed_sqrt(sketched, thresh=self.thresh / positions)
