"""Operators in a convolution's place that the tests of their layers share."""

import pytest
import torch
from paper_operator import random_conv, random_tensor
from timm.layers import (
    Conv2dSame,
    ScaledStdConv2d,
    ScaledStdConv2dSame,
    StdConv2d,
    StdConv2dSame,
)
from torch import Tensor, nn

from covtool.layers import ConvOperator, DecoupledConv2d, WeightStandardizedConv2d
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.filters import WEIGHTINGS
from covtool.ops.magnitudes import MAGNITUDES
from covtool.specs import ConvolutionSpec

ROWS = {
    **{f"{name} linear": {"conv": name, "angular": "linear"} for name in MAGNITUDES.names},
    **{
        f"tanh {name}": {"angular": name, "weighting": "tanh"} for name in ANGULAR_ACTIVATIONS.names
    },
    **{f"ball, {name}": {"conv": "ball", "weighting": name} for name in WEIGHTINGS.names},
    "convolution": {"conv": "linear", "weighting": "linear"},
    "weight-standardized": {"conv": "weight-standardized"},
}
"""Each row of each table at least once, with both ways of computing it."""
every_row = pytest.mark.parametrize("row", ROWS)

HALVES = [torch.float16, torch.bfloat16]
DTYPES = [torch.float64, torch.float32, *HALVES]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
even_same = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

STANDARDIZED = {
    "StdConv2d": StdConv2d,
    "StdConv2dSame": StdConv2dSame,
    "ScaledStdConv2d": ScaledStdConv2d,
    "ScaledStdConv2dSame": ScaledStdConv2dSame,
}
TIMMS = {"Conv2dSame": Conv2dSame, **STANDARDIZED}


def features(*shape: int) -> Tensor:
    return random_tensor(*(shape or (2, 4, 5, 6)), seed=2)


def as_convolution() -> ConvolutionSpec:
    return ConvolutionSpec(conv="linear", weighting="linear", unit="none")


def layer_for(row: str, conv: nn.Conv2d, **changes: object) -> ConvOperator:
    """The operator of a row from a convolution, with a radius of 3 if nothing else is said."""
    spec = ConvolutionSpec(**{"unit": "none", "radius": 3.0, **ROWS[row], **changes})
    standardized = spec.conv == "weight-standardized"
    return (WeightStandardizedConv2d if standardized else DecoupledConv2d).from_conv(conv, spec)


def layer_of(row: str, geometry: str = "strided", **changes: object) -> ConvOperator:
    return layer_for(row, random_conv(geometry), **changes)


def timms(name: str, kernel_size: int | tuple[int, int], **shape: object) -> nn.Conv2d:
    """One of timm's convolutions in float64, with an epsilon, a gain and a scale of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        own = {"eps": 1e-3} if name in STANDARDIZED else {}
        own |= {"gamma": 1.7} if name.startswith("Scaled") else {}
        conv = TIMMS[name](4, 6, kernel_size, **own, **shape, dtype=torch.float64)
        if hasattr(conv, "gain"):
            nn.init.uniform_(conv.gain, 0.5, 2)
        return conv
