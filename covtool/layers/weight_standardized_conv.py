"""Weight standardization in a convolution's place, from its weights."""

from torch import Tensor, nn
from torch.nn import functional as F

from covtool.errors import SurgeryError
from covtool.layers.conv_operator import ConvOperator
from covtool.layers.conv_source import ConvKind
from covtool.ops.filters import standardize_filters


class WeightStandardizedConv2d(ConvOperator):
    """Convolution with filters of mean 0 and variance 1, times α.

    Source:
        Qiao, Wang, Liu, Shen, Yuille. "Micro-Batch Training with Batch-Channel Normalization and
        Weight Standardization", 2019.
    """

    @classmethod
    def kind_for(cls, conv: nn.Conv2d) -> ConvKind:
        kind = super().kind_for(conv)
        if kind.standardized:
            raise SurgeryError(f"A {type(conv).__name__} standardizes its filters already.")
        return kind

    def response(self, features: Tensor) -> Tensor:
        """Return the convolution with standardized filters, without the bias, (B, O, H', W')."""
        features, geometry = self.placed(features)
        # Not in `filters`, which are the old convolution's: calibration compares with those.
        return F.conv2d(features, self.scaled(standardize_filters(self.weight)), None, *geometry)
