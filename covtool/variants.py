"""Everything covtool can choose by name. A new variant is a new row here."""

from collections.abc import Callable
from dataclasses import dataclass

from covtool.layers.global_pooling import AveragePooling, CovariancePooling, GlobalPooling
from covtool.registry import Registry
from covtool.specs import HeadSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A way from a feature map to the classifier's input.

    Attributes:
        name: What `--head` takes.
        summary: One line, with a full stop.
        source: Where it was published.
        second_order: Whether it pools products of channels, and so ignores constant shifts.
        reduction: The reduction it has where nobody asks for another.
        build: Makes the pooling layer for C channels from a spec whose `reduction` is set.
    """

    name: str
    summary: str
    source: str
    second_order: bool
    reduction: str
    build: Callable[[int, HeadSpec], GlobalPooling]


def _gap(in_features: int, spec: HeadSpec) -> GlobalPooling:
    return AveragePooling(in_features, dim=spec.dim, reduction=spec.reduction)


def _isqrt(in_features: int, spec: HeadSpec) -> GlobalPooling:
    return CovariancePooling(
        in_features,
        dim=spec.dim,
        reduction=spec.reduction,
        num_iterations=spec.iterations,
        pre_norm=spec.pre_norm,
        post_norm=spec.post_norm,
    )


HEADS = Registry(
    "head",
    [
        Head(
            name="gap",
            summary="Global average pooling: first order, for comparison.",
            source="Lin, Chen, Yan, ICLR 2014",
            second_order=False,
            reduction="none",
            build=_gap,
        ),
        Head(
            name="isqrt",
            summary="Covariance, square-rooted by Newton-Schulz iteration.",
            source="Li, Xie, Wang, Gao, CVPR 2018",
            second_order=True,
            reduction="conv-bn-relu",
            build=_isqrt,
        ),
    ],
)
