"""Whether a ResNet was trained with its first ReLU, told by its running statistics.

The first batch norm gives each channel a known mean and deviation. With the ReLU or without it,
another mean reaches the first block, whose batch norms have recorded what they were fed.
"""

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

_GAINS = torch.linspace(0, 2, 21).tolist()  # of the max pooling, in deviations
_SPREADS = (0.4, 0.7, 1.0)  # of what it gives, in deviations
_EXPLAINED = 0.7  # share of the recorded means' variation that the better assumption explains
_BETTER = 2.0  # times the error of the other one
_FED_BY_THE_STEM = (
    ("layer1.0.conv1.weight", "layer1.0.bn1"),
    ("layer1.0.downsample.0.weight", "layer1.0.downsample.1"),
)


def has_first_relu(body: Mapping[str, Tensor]) -> bool | None:
    """Whether there is a ReLU behind the first batch norm of a ResNet.

    Args:
        body: Tensors under torchvision's names, also with IBN-Net's parts.

    Returns:
        None where the statistics do not tell, as those that were never recorded.
    """
    shift, scale = (body.get(f"bn1.{name}") for name in ("bias", "weight"))
    recorded = [found for pair in _FED_BY_THE_STEM if (found := _recorded(body, *pair))]
    if shift is None or scale is None or not recorded:
        return None
    weights, means = (torch.cat(parts) for parts in zip(*recorded, strict=True))
    shift, scale = shift.double(), scale.double().abs()
    total = (means - means.mean()).square().sum()
    plain = min(_error(weights, means, shift + gain * scale) for gain in _GAINS)
    rectified = min(
        _error(weights, means, _rectified(shift + gain * scale, spread * scale))
        for gain, spread in product(_GAINS, _SPREADS)
    )
    best, other = min(plain, rectified), max(plain, rectified)
    if not best < (1 - _EXPLAINED) * total or other < _BETTER * best:
        return None
    return rectified < plain


def _recorded(
    body: Mapping[str, Tensor], convolution: str, norm: str
) -> tuple[Tensor, Tensor] | None:
    """Rows of a convolution's weight, summed over its window, and the means of their outputs."""
    weight = body.get(convolution)
    mean = body.get(f"{norm}.running_mean", body.get(f"{norm}.BN.running_mean"))
    if weight is None or mean is None or weight.ndim != 4:
        return None
    return weight.double().sum(dim=(2, 3))[-len(mean) :], mean.double()


def _error(weights: Tensor, means: Tensor, fed: Tensor) -> float:
    return float((weights @ fed - means).square().sum())


def _rectified(mean: Tensor, deviation: Tensor) -> Tensor:
    """Mean of a normal variable of which the negative part became zero."""
    deviation = deviation.clamp_min(torch.finfo(deviation.dtype).tiny)
    normal = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    ratio = mean / deviation
    return mean * normal.cdf(ratio) + deviation * normal.log_prob(ratio).exp()
