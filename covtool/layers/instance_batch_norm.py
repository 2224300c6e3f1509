"""Instance norm of one half of the channels, batch norm of the other."""

import torch
from torch import Tensor, nn


class InstanceBatchNorm2d(nn.Module):
    """Instance norm of the first half of the channels, batch norm of the second.

    Args:
        num_features: Channels; of an odd number the smaller half comes first.

    Shape:
        (B, C, H, W) -> (B, C, H, W)

    Source:
        Pan, Luo, Shi, Tang. "Two at Once: Enhancing Learning and Generalization Capacities via
        IBN-Net", ECCV 2018; the parts have the names that the authors' files give them.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        first = num_features // 2
        # Without running statistics: an image is normalized by its own, in evaluation too.
        self.IN = nn.InstanceNorm2d(first, affine=True)
        self.BN = nn.BatchNorm2d(num_features - first)

    def forward(self, features: Tensor) -> Tensor:
        parts = features.split([self.IN.num_features, self.BN.num_features], dim=1)
        return torch.cat([self.IN(parts[0].contiguous()), self.BN(parts[1].contiguous())], dim=1)
