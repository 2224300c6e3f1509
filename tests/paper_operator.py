"""The decoupled operator from the paper's definition, a patch and a filter at a time."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

# Liu et al., CVPR 2018, for α = 1: β of segmented and mixed in units of α; the logarithms of ‖x‖/ρ.
MAGNITUDE: dict[str, Callable[[float, float, float], float]] = {
    "sphere": lambda norm, radius, beta: 1.0 if norm > 0 else 0.0,
    "ball": lambda norm, radius, beta: min(norm, radius) / radius,
    "tanh": lambda norm, radius, beta: math.tanh(norm / radius),
    "linear": lambda norm, radius, beta: norm,
    "segmented": lambda norm, radius, beta: (
        norm if norm <= radius else radius + beta * (norm - radius)
    ),
    "log": lambda norm, radius, beta: math.log(1 + norm / radius),
    "mixed": lambda norm, radius, beta: norm + beta * math.log(1 + norm / radius),
}


def sigmoid(theta: float, k: float) -> float:
    start = math.exp(-math.pi / (2 * k))
    turn = math.exp(theta / k - math.pi / (2 * k))
    return (1 + start) / (1 - start) * (1 - turn) / (1 + turn)


ANGULAR: dict[str, Callable[[float, float], float]] = {
    "linear": lambda theta, k: 1 - 2 * theta / math.pi,
    "cosine": lambda theta, k: math.cos(theta),
    "sigmoid": sigmoid,
    "square-cosine": lambda theta, k: math.copysign(math.cos(theta) ** 2, math.cos(theta)),
}

WEIGHTING: dict[str, Callable[[float], float]] = {
    "none": lambda norm: 1.0,
    "linear": lambda norm: norm,
    "tanh": math.tanh,
}

GEOMETRIES: dict[str, dict[str, object]] = {
    "pointwise": {"kernel_size": 1},
    "pointwise, strided": {"kernel_size": 1, "stride": 2, "bias": False},
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "asymmetric": {"kernel_size": (2, 3), "stride": (1, 2), "padding": (0, 2)},
    "dilated": {"kernel_size": 3, "padding": (1, 2), "dilation": (1, 2)},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "depthwise": {"kernel_size": 3, "padding": 1, "groups": 4, "bias": False},
    "depthwise, twice": {"kernel_size": 3, "stride": 2, "groups": 4, "out_channels": 8},
    "one row, padded": {"kernel_size": (1, 3), "stride": (1, 2), "padding": (1, 1)},
    "valid": {"kernel_size": (3, 2), "padding": "valid", "stride": 2},
    "same": {"kernel_size": (3, 5), "padding": "same", "dilation": (2, 1)},
    "same, even": {"kernel_size": (2, 4), "padding": "same", "groups": 2},
    "reflected": {"kernel_size": 3, "padding": (1, 2), "padding_mode": "reflect"},
    "replicated": {"kernel_size": (2, 4), "padding": "same", "padding_mode": "replicate"},
    "circular": {"kernel_size": 3, "padding": 2, "stride": (2, 1), "padding_mode": "circular"},
}
"""Arguments of `torch.nn.Conv2d` with 4 channels and, if nothing else is said, 4 filters."""


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_conv(name: str) -> nn.Conv2d:
    """A convolution in float64 of one of the geometries."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        arguments = {"in_channels": 4, "out_channels": 4, **GEOMETRIES[name]}
        return nn.Conv2d(**arguments, dtype=torch.float64)


def source(position: int, size: int, mode: str) -> int | None:
    """The pixel that stands at a position, which may be outside the image; None for a zero."""
    if 0 <= position < size:
        return position
    return {
        "zeros": None,
        "reflect": -position if position < 0 else 2 * (size - 1) - position,
        "replicate": min(max(position, 0), size - 1),
        "circular": position % size,
    }[mode]


def padding_of(conv: nn.Conv2d) -> list[tuple[int, int]]:
    """Pixels added before and after, for height and width."""
    if conv.padding == "valid":
        return [(0, 0), (0, 0)]
    if conv.padding == "same":
        totals = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(amount, amount) for amount in conv.padding]


def taps(conv: nn.Conv2d, axis: int, size: int) -> list[list[int | None]]:
    """For each output position along an axis, the pixels under the kernel."""
    before, after = padding_of(conv)[axis]
    kernel, stride, dilation = conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis]
    starts = range(-before, size + after - dilation * (kernel - 1), stride)
    places = [[start + dilation * k for k in range(kernel)] for start in starts]
    return [[source(place, size, conv.padding_mode) for place in row] for row in places]


def patches(features: Tensor, conv: nn.Conv2d, group: int) -> Iterator[list[float]]:
    """What the filters of a group of channels look at, in the order of the output."""
    rows, columns = taps(conv, 0, features.shape[2]), taps(conv, 1, features.shape[3])
    width = features.shape[1] // conv.groups
    for image in features.tolist():
        channels = image[group * width : (group + 1) * width]
        for ys in rows:
            for xs in columns:
                yield [
                    0.0 if y is None or x is None else channel[y][x]
                    for channel in channels
                    for y in ys
                    for x in xs
                ]


def norm_of(vector: list[float]) -> float:
    return math.sqrt(sum(value * value for value in vector))


def angle_between(first: list[float], second: list[float]) -> float:
    """In radians; of a vector without a direction, a right angle."""
    product = sum(a * b for a, b in zip(first, second, strict=True))
    length = norm_of(first) * norm_of(second)
    return math.acos(min(max(product / length, -1.0), 1.0)) if length else math.pi / 2


def measure(features: Tensor, conv: nn.Conv2d) -> tuple[Tensor, Tensor, Tensor]:
    """‖x‖, θ and ‖w‖ for every patch and filter, (B, O, H', W')."""
    shape = [len(features), *(len(taps(conv, axis, features.shape[2 + axis])) for axis in (0, 1))]
    columns = []
    for index, weight in enumerate(conv.weight.detach().flatten(1).tolist()):
        group = index * conv.groups // conv.out_channels
        triples = [
            (norm_of(patch), angle_between(patch, weight), norm_of(weight))
            for patch in patches(features, conv, group)
        ]
        columns.append(torch.tensor(triples, dtype=torch.float64).reshape(*shape, 3))
    return torch.stack(columns, dim=1).unbind(dim=-1)


def each(function: Callable[..., float], *tensors: Tensor | float) -> Tensor:
    """A function of numbers, for every element."""
    wide = (torch.as_tensor(tensor, dtype=torch.float64) for tensor in tensors)
    broadcast = torch.broadcast_tensors(*wide)
    columns = zip(*(tensor.flatten().tolist() for tensor in broadcast), strict=True)
    values = [function(*numbers) for numbers in columns]
    return torch.tensor(values, dtype=torch.float64).reshape(broadcast[0].shape)
