"""Base of every pooling layer between a feature map and a linear classifier."""

from torch import Tensor, nn

from covtool.layers.graph_leaf import as_leaf
from covtool.layers.reduction import make_reduction


class GlobalPooling(nn.Module):
    """Brings a map into channels-first order, reduces its channels, and pools it.

    Subclasses define `pool`, from (B, D, H, W) to (B, num_features).

    Args:
        in_features: Channels of the backbone's feature map, C.
        dim: Channels after the reduction, D.
        reduction: A name in `covtool.layers.reduction.REDUCTIONS`.

    Attributes:
        layout: Order of the input's axes: NCHW, NHWC or NLC (tokens).
        num_prefix_tokens: Tokens at the front of an NLC input that are no positions.
        reduced_features: Channels that are pooled: D, or C without a reduction.
        post_bn: Last module that the pooled vector goes through; a batch norm or nothing.
        num_features: Length of the pooled vector.

    Shape:
        (B, C, H, W), (B, H, W, C) or (B, N, C) -> (B, num_features)
    """

    num_features: int

    def __init__(self, in_features: int, *, dim: int = 256, reduction: str = "none") -> None:
        super().__init__()
        self.in_features = in_features
        self.post_bn: nn.Module = nn.Identity()
        self.layout = "NCHW"
        self.num_prefix_tokens = 0
        self.reduction, self.reduced_features = make_reduction(reduction, in_features, dim)

    def forward(self, features: Tensor) -> Tensor:
        if (node := as_leaf(self, features)) is not None:
            return node
        return self.post_bn(self.pool(self.reduction(self.channels_first(features))))

    def pool(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def is_identity(self) -> bool:
        """Return False: maps are pooled. timm calls this method of its pooling layers."""
        return False

    def channels_first(self, features: Tensor) -> Tensor:
        """Return the map as (B, C, H, W); tokens become a map of one row."""
        if self.layout == "NHWC":
            return features.permute(0, 3, 1, 2)
        # Covariances ignore where a position is: one row is enough.
        if self.layout == "NLC":
            return features[:, self.num_prefix_tokens :].mT.unsqueeze(2)
        return features
