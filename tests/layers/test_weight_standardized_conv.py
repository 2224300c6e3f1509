"""Weight standardization from a convolution's weights, against timm's."""

import pytest
import torch
from conv_rows import STANDARDIZED, features, layer_for, timms
from timm.layers import Conv2dSame, StdConv2d
from tolerances import FLOAT64
from torch import nn
from torch.testing import assert_close

from covtool.errors import SurgeryError
from covtool.layers import WeightStandardizedConv2d


@pytest.mark.parametrize(
    "shape", [{}, {"groups": 2}, {"stride": 2, "kernel_size": (2, 5)}], ids=str
)
@pytest.mark.parametrize("bias", [False, True])
def test_weight_standardized_is_timms_with_the_same_weights(
    bias: bool, shape: dict[str, object]
) -> None:
    arguments = {"kernel_size": 3, "bias": bias, "dtype": torch.float64, **shape}
    theirs = StdConv2d(4, 6, **arguments)
    plain = nn.Conv2d(4, 6, padding=theirs.padding, **arguments)
    plain.load_state_dict(theirs.state_dict())
    ours = WeightStandardizedConv2d.from_conv(plain)
    assert_close(ours(features()), theirs(features()), **FLOAT64)
    for layer in (ours, theirs):
        layer(features()).square().sum().backward()
    assert_close(ours.weight.grad, theirs.weight.grad, **FLOAT64)


def test_weight_standardized_pads_as_timm_does() -> None:
    theirs = timms("StdConv2dSame", kernel_size=3, stride=2)
    plain = Conv2dSame(4, 6, 3, stride=2, bias=False, dtype=torch.float64)
    plain.load_state_dict(theirs.state_dict())
    ours = WeightStandardizedConv2d.from_conv(plain)
    theirs.eps = 1e-6
    assert_close(ours(features()), theirs(features()), **FLOAT64)


@pytest.mark.parametrize("name", STANDARDIZED)
def test_filters_are_not_standardized_twice(name: str) -> None:
    with pytest.raises(SurgeryError, match=f"A {name} standardizes its filters already"):
        layer_for("weight-standardized", timms(name, kernel_size=3))
