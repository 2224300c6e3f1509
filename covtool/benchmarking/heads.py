"""Every head against average pooling, a textbook iSQRT-COV and the published layer's arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from covtool.benchmarking.inputs import feature_map
from covtool.benchmarking.measuring import Cost, describe_machine, measure
from covtool.benchmarking.names import parse_head
from covtool.benchmarking.published_isqrt import published_isqrt
from covtool.layers import CovariancePooling
from covtool.ops.covariance import covariance_pool, triu_vec
from covtool.ops.eigen_gradients import GRADIENTS
from covtool.ops.spectral import matrix_sqrt_eigh
from covtool.progress import Track, silent
from covtool.specs import HeadSpec
from covtool.variants import HEADS

SHAPES = ("16x256x7x7", "16x256x14x14")
TEXTBOOK = "textbook"
PUBLISHED = "published"
BASELINE = "gap"
NUM_CLASSES = 1000  # as ImageNet has; the classifier is most of the parameters
RULED = "mpn"  # the head that every gradient rule is measured in


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadCost:
    """A head at one shape.

    Attributes:
        shape: BxDxHxW, as asked for.
        head: Name in the table, with ``:rule`` behind it where it is not the default rule.
        cost: Time and memory of pooling alone: the map comes reduced, without a classifier.
        parameters: Number in a linear classifier for 1,000 classes and in the pooling itself.
        to_gap: Time over that of average pooling.
        to_textbook: Time of the textbook form over this one's: how many times faster it is.
        root_error: Distance from the exact square root in float64, relative to its norm; None
            where no square root is approximated.
    """

    shape: str
    head: str
    cost: Cost
    parameters: int
    to_gap: float
    to_textbook: float
    root_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadBenchmark:
    """The table.

    Attributes:
        machine: Description of the machine.
        dtype: Precision of the feature maps.
        repetitions: Each time is the median of so many.
        rows: One for each head, by shape.
    """

    machine: str
    dtype: str
    repetitions: int
    rows: tuple[HeadCost, ...]


def textbook_isqrt(features: Tensor, *, num_iterations: int = 5) -> Tensor:
    """Compute iSQRT-COV as in the paper, on D x D matrices, without its N x N centring matrix."""
    cov = covariance_pool(features)
    identity = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
    trace = cov.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]
    root, inverse_root = cov / trace, identity.expand_as(cov)
    for _ in range(num_iterations):
        step = 0.5 * (3 * identity - inverse_root @ root)
        root, inverse_root = root @ step, step @ inverse_root
    return root * trace.sqrt()


def all_heads() -> tuple[str, ...]:
    """Return every head, and the square root with every gradient rule."""
    rules = tuple(f"{RULED}:{rule.name}" for rule in GRADIENTS if rule.name != "exact")
    return (*HEADS.names, *rules)


def benchmark_heads(
    shapes: Sequence[str] = SHAPES,
    *,
    heads: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    dtype: str = "float32",
    repetitions: int = 15,
    track: Track = silent,
) -> HeadBenchmark:
    """Measure heads on random nonnegative feature maps.

    Args:
        shapes: Shapes like ``16x256x7x7``: batch, channels after the reduction, height, width.
        heads: Names as in `all_heads`; None for all. Average pooling, the textbook form and the
            published layer's arithmetic come along in any case.
        device: Device to compute on.
        dtype: Precision of the feature maps: ``float32``, ``bfloat16``, ``float16``, ``float64``.
        repetitions: Each time is the median of so many.
        track: Shows the progress.

    Raises:
        ArgumentError: A shape or a head does not exist.
    """
    rows: list[HeadCost] = []
    for shape in shapes:
        features = feature_map(shape, device, getattr(torch, dtype))
        rows += _rows(shape, features, heads or all_heads(), repetitions, track)
    return HeadBenchmark(
        machine=describe_machine(device), dtype=dtype, repetitions=repetitions, rows=tuple(rows)
    )


def _rows(
    shape: str, features: Tensor, heads: Sequence[str], repetitions: int, track: Track
) -> list[HeadCost]:
    channels = features.shape[1]
    layers: dict[str, nn.Module] = {
        name: _layer(name, channels).to(features.device, features.dtype)
        # the baseline once, also where `heads` names it
        for name in dict.fromkeys((BASELINE, *heads))
    }
    compared = {TEXTBOOK: lambda x: triu_vec(textbook_isqrt(x)), PUBLISHED: published_isqrt}
    functions = {**compared, **layers}
    costs = measure(functions, features, repetitions=repetitions, track=track)
    # In float64: the reference has to be closer to the truth than all that it judges.
    exact = matrix_sqrt_eigh(covariance_pool(features.double()))
    approximations = {TEXTBOOK: textbook_isqrt, **_roots(layers)}

    def row(name: str) -> HeadCost:
        layer = layers.get(name)
        inputs = layer.num_features if layer else channels * (channels + 1) // 2
        own = sum(p.numel() for p in layer.parameters()) if layer else 0
        root = approximations.get(name)
        return HeadCost(
            shape=shape,
            head=name,
            cost=costs[name],
            parameters=own + (inputs + 1) * NUM_CLASSES,
            to_gap=costs[name].total_ms / costs[BASELINE].total_ms,
            to_textbook=costs[TEXTBOOK].total_ms / costs[name].total_ms,
            root_error=None if root is None else _relative_error(root(features), exact),
        )

    return [row(name) for name in functions]


def _layer(name: str, channels: int) -> nn.Module:
    head, rule = parse_head(name)
    spec = {"head": head, "dim": channels, "reduction": "none"}
    if rule:
        spec["gradient"] = rule
    return HEADS[head].build(channels, HeadSpec(**spec))


def _roots(layers: dict[str, nn.Module]) -> dict[str, partial]:
    return {
        name: layer.matrix
        for name, layer in layers.items()
        if HEADS[name.partition(":")[0]].is_root and isinstance(layer, CovariancePooling)
    }


def _relative_error(root: Tensor, exact: Tensor) -> float:
    return ((root.double() - exact).norm() / exact.norm()).item()
