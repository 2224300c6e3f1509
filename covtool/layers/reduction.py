"""The 1x1 convolution that narrows a feature map before its covariance is taken."""

from collections.abc import Callable

from torch import nn

from covtool.errors import UnknownVariantError


def conv_bn_relu(in_features: int, dim: int) -> nn.Sequential:
    """1x1 convolution, batch norm, ReLU: as published with MPN-COV and iSQRT-COV."""
    reduction = linear(in_features, dim)
    reduction.add_module("bn", nn.BatchNorm2d(dim))
    reduction.add_module("act", nn.ReLU(inplace=True))
    return reduction


def linear(in_features: int, dim: int) -> nn.Sequential:
    """1x1 convolution alone; a bias would change no covariance."""
    # Named as in timm: conv, bn, act.
    reduction = nn.Sequential()
    reduction.add_module("conv", nn.Conv2d(in_features, dim, kernel_size=1, bias=False))
    nn.init.kaiming_normal_(reduction.conv.weight, mode="fan_out", nonlinearity="relu")
    return reduction


def none(in_features: int, dim: int) -> nn.Identity:
    """Return the identity: the covariance of all channels is taken."""
    return nn.Identity()


REDUCTIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "conv-bn-relu": conv_bn_relu,
    "linear": linear,
    "none": none,
}


def make_reduction(name: str, in_features: int, dim: int) -> tuple[nn.Module, int]:
    """Return the reduction called `name`, and the channels that come out of it.

    Raises:
        UnknownVariantError: There is no such reduction.
    """
    if name not in REDUCTIONS:
        raise UnknownVariantError("reduction", name, tuple(REDUCTIONS))
    return REDUCTIONS[name](in_features, dim), in_features if name == "none" else dim
