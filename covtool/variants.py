"""Everything covtool can choose by name. A new variant is a new row here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from covtool.layers.compact_bilinear import CompactBilinearPooling
from covtool.layers.conv_operator import ConvOperator
from covtool.layers.covariance_pooling import (
    BatchNormCovariancePooling,
    BilinearPooling,
    CovariancePooling,
    DropCovPooling,
    MatrixFunction,
)
from covtool.layers.decoupled_conv import DecoupledConv2d
from covtool.layers.first_order import (
    AveragePooling,
    FirstOrderPooling,
    GeneralizedMeanPooling,
    MaxPooling,
)
from covtool.layers.global_pooling import GlobalPooling
from covtool.layers.weight_standardized_conv import WeightStandardizedConv2d
from covtool.ops import second_order
from covtool.ops.covariance import covariance_pool
from covtool.ops.isqrt import isqrt_covariance
from covtool.ops.magnitudes import MAGNITUDES, MagnitudeRow
from covtool.ops.spectral import differentiable
from covtool.ops.spectral_functions import SpectralFunction, logarithm, power
from covtool.registry import Registry
from covtool.specs import HeadSpec

# Options by what a head has: an average, a vector, a matrix, an eigendecomposition.
AVERAGE = frozenset({"head", "dim", "reduction", "tap", "hidden"})
VECTOR = AVERAGE | {"fuse"}
MATRIX = VECTOR | {"vec", "head_dtype"}
EIGEN = MATRIX | {"gradient", "gradient_order"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A way from a feature map to the classifier's input.

    Attributes:
        name: Word that `--head` takes.
        summary: One line, with a full stop.
        source: Publication that it is from.
        second_order: Whether it pools products of channels.
        centered: Whether the mean over the positions is taken out: it ignores constant shifts,
            and needs more than one position.
        is_root: Whether its matrix is, or approximates, the square root of the covariance.
        options: The fields of `HeadSpec` that it takes.
        reduction: Its reduction by default.
        build: Makes the pooling layer for C channels from a spec whose `reduction` is set.
    """

    name: str
    summary: str
    source: str
    second_order: bool = True
    centered: bool = True
    is_root: bool = False
    options: frozenset[str] = MATRIX
    reduction: str = "conv-bn-relu"
    build: Callable[[int, HeadSpec], GlobalPooling]


def _first_order(kind: type[FirstOrderPooling]) -> Callable[[int, HeadSpec], GlobalPooling]:
    def build(in_features: int, spec: HeadSpec) -> GlobalPooling:
        return kind(in_features, dim=spec.dim, reduction=spec.reduction)

    return build


def _matrix(
    function: Callable[[HeadSpec], MatrixFunction],
    *,
    kind: type[CovariancePooling] = CovariancePooling,
    dtype: str = "float32",
    extra_rows: int = 0,
) -> Callable[[int, HeadSpec], GlobalPooling]:
    """Builds a `CovariancePooling` of the matrix function that a spec asks for."""

    def build(in_features: int, spec: HeadSpec) -> GlobalPooling:
        # Of the heads only isqrt has this option, and its kind is the plain one.
        layer = BatchNormCovariancePooling if spec.post_norm == "batchnorm" else kind
        matrix, wanted = function(spec), spec.head_dtype or dtype
        # The eigendecompositions, as in the published code; head_dtype chooses otherwise.
        if wanted != "float32":
            matrix = partial(second_order.computed_in, matrix=matrix, dtype=getattr(torch, wanted))
        return layer(
            in_features,
            dim=spec.dim,
            reduction=spec.reduction,
            matrix=matrix,
            extra_rows=extra_rows,
            vec=spec.vec,
        )

    return build


def _isqrt(spec: HeadSpec) -> MatrixFunction:
    return partial(
        isqrt_covariance,
        num_iterations=spec.iterations,
        pre_norm=spec.pre_norm,
        # That one has parameters, and belongs to the layer.
        post_norm="none" if spec.post_norm == "batchnorm" else spec.post_norm,
    )


def _power(normalize: second_order.PostNorm | None = None) -> Callable[[HeadSpec], MatrixFunction]:
    def function(spec: HeadSpec) -> MatrixFunction:
        by = normalize
        # It has the eigenvalues of the covariance, and takes the largest to the same power.
        if by is second_order.by_spectral_norm:
            by = partial(by, alpha=spec.alpha)
        gradient = _gradient(spec, power(spec.alpha))
        return partial(second_order.power_covariance, alpha=spec.alpha, normalize=by, **gradient)

    return function


def _gradient(spec: HeadSpec, function: SpectralFunction) -> dict[str, object]:
    differentiable(function, spec.gradient, spec.gradient_order)  # refuse early
    return {"gradient": spec.gradient, "order": spec.gradient_order}


def _logarithm(spec: HeadSpec) -> MatrixFunction:
    gradient = _gradient(spec, logarithm(spec.eps))
    return partial(second_order.log_covariance, eps=spec.eps, **gradient)


def _scaled_root(spec: HeadSpec) -> MatrixFunction:
    return partial(second_order.scaled_root_covariance, **_gradient(spec, power()))


def _approximant(function: MatrixFunction) -> Callable[[HeadSpec], MatrixFunction]:
    # Without a degree the function's own default holds, which differs between the two.
    return lambda spec: partial(function, degree=spec.degree) if spec.degree else function


def _bilinear(in_features: int, spec: HeadSpec) -> GlobalPooling:
    # Its threshold is set afterwards: `_matrix` makes every kind with the same arguments.
    build = _matrix(lambda spec: second_order.second_moments, kind=BilinearPooling)
    pooling = build(in_features, spec)
    pooling.thresh = spec.thresh
    return pooling


def _compact_bilinear(in_features: int, spec: HeadSpec) -> GlobalPooling:
    pooling = CompactBilinearPooling(
        in_features, dim=spec.dim, reduction=spec.reduction, sketch_size=spec.sketch_size
    )
    pooling.thresh = spec.thresh
    return pooling


def _gaussian(spec: HeadSpec) -> MatrixFunction:
    return partial(second_order.gaussian_embedding, **_gradient(spec, power()))


HEADS = Registry(
    "head",
    [
        Head(
            name="gap",
            summary="Global average pooling: first order, for comparison.",
            source="Lin, Chen, Yan, ICLR 2014",
            second_order=False,
            centered=False,
            # Not `fuse`: the average beside the average adds nothing.
            options=AVERAGE | {"own_average"},
            reduction="none",
            build=_first_order(AveragePooling),
        ),
        Head(
            name="gmp",
            summary="Global max pooling: first order, for comparison.",
            source="Oquab, Bottou, Laptev, Sivic, CVPR 2015",
            second_order=False,
            centered=False,
            options=VECTOR,
            reduction="none",
            build=_first_order(MaxPooling),
        ),
        Head(
            name="gem",
            summary="Generalized mean with a learned power: first order, for comparison.",
            source="Radenovic, Tolias, Chum, TPAMI 2019",
            second_order=False,
            centered=False,
            options=VECTOR,
            reduction="none",
            build=_first_order(GeneralizedMeanPooling),
        ),
        Head(
            name="cov",
            summary="Covariance, not normalized.",
            source="Tuzel, Porikli, Meer, ECCV 2006",
            build=_matrix(lambda spec: covariance_pool),
        ),
        Head(
            name="isqrt",
            summary="Covariance, square-rooted by Newton-Schulz iteration.",
            source="Li, Xie, Wang, Gao, CVPR 2018",
            is_root=True,
            options=MATRIX | {"iterations", "pre_norm", "post_norm"},
            build=_matrix(_isqrt),
        ),
        Head(
            name="mpn",
            summary="Covariance to the power alpha, by eigendecomposition.",
            source="Li, Xie, Wang, Zuo, ICCV 2017",
            is_root=True,
            options=EIGEN | {"alpha"},
            build=_matrix(_power(), dtype="float64"),
        ),
        Head(
            name="mpn+F",
            summary="mpn over its Frobenius norm.",
            source="Li, Xie, Wang, Zuo, ICCV 2017",
            options=EIGEN | {"alpha"},
            build=_matrix(_power(second_order.by_frobenius_norm), dtype="float64"),
        ),
        Head(
            name="mpn+M",
            summary="mpn over its spectral norm.",
            source="Li, Xie, Wang, Zuo, ICCV 2017",
            options=EIGEN | {"alpha"},
            build=_matrix(_power(second_order.by_spectral_norm), dtype="float64"),
        ),
        Head(
            name="logm",
            summary="Matrix logarithm of the covariance plus eps (log-Euclidean).",
            source="Ionescu, Vantzos, Sminchisescu, ICCV 2015",
            options=EIGEN | {"eps"},
            build=_matrix(_logarithm, dtype="float64"),
        ),
        Head(
            name="mtp",
            summary="Covariance, square-rooted by a Taylor polynomial; Lyapunov gradient.",
            source="Song, Sebe, Wang, ICLR 2022",
            is_root=True,
            options=MATRIX | {"degree"},
            build=_matrix(_approximant(second_order.taylor_root_covariance)),
        ),
        Head(
            name="mpa",
            summary="Covariance, square-rooted by a Padé approximant; Lyapunov gradient.",
            source="Song, Sebe, Wang, ICLR 2022",
            is_root=True,
            options=MATRIX | {"degree"},
            build=_matrix(_approximant(second_order.pade_root_covariance)),
        ),
        Head(
            name="seb",
            summary="mpn, with more weight for images of small eigenvalues (scaling eigen branch).",
            source="Song, Sebe, Wang, TPAMI 2022",
            options=EIGEN,
            build=_matrix(_scaled_root, dtype="float64"),
        ),
        Head(
            name="bilinear",
            summary="Second moments, signed square root, unit length (B-CNN).",
            source="Lin, RoyChowdhury, Maji, ICCV 2015",
            centered=False,
            options=MATRIX | {"thresh"},
            build=_bilinear,
        ),
        Head(
            name="cbp",
            summary="Second moments, sketched to fewer numbers (compact bilinear pooling).",
            source="Gao, Beijbom, Zhang, Darrell, CVPR 2016",
            centered=False,
            options=VECTOR | {"sketch_size", "thresh"},
            build=_compact_bilinear,
        ),
        # The matrix holds the mean in its last row and column: 1 more than channels.
        Head(
            name="gaussian",
            summary="Mean and covariance in one positive matrix, square-rooted (G2DeNet).",
            source="Wang, Li, Zhang, CVPR 2017",
            centered=False,
            options=EIGEN,
            build=_matrix(_gaussian, dtype="float64", extra_rows=1),
        ),
        Head(
            name="dropcov",
            summary="Covariance, not normalized; channels dropped adaptively in training.",
            source="Wang et al., NeurIPS 2022",
            build=_matrix(lambda spec: covariance_pool, kind=DropCovPooling),
        ),
    ],
)


# Options by what an operator has: which layers, a scale, filters and an angle, a radius.
CHOSEN = frozenset({"target", "exclude", "layers", "calibrated"})
SCALED = CHOSEN | {"conv", "scale", "scale_per", "orthogonality"}
DECOUPLED = SCALED | {
    "angular",
    "k",
    "weighting",
    "weighted_gradients",
    "weight_projection",
    "projection_norm",
}
WITH_RADIUS = DECOUPLED | {"radius", "radius_per", "learn_radius", "unit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """An operator in a convolution's place.

    Attributes:
        name: Word that `--conv` takes.
        summary: One line, with a full stop.
        source: Publication that it is from.
        options: The fields of `ConvolutionSpec` that it takes.
        layer: Made from a convolution and a spec.
    """

    name: str
    summary: str
    source: str
    options: frozenset[str]
    layer: type[ConvOperator]


def _decoupled(row: MagnitudeRow) -> Convolution:
    options = WITH_RADIUS if row.takes_radius else DECOUPLED
    return Convolution(
        name=row.name,
        summary=row.summary,
        source=row.source,
        options=options if row.beta is None else options | {"beta"},
        layer=DecoupledConv2d,
    )


CONVOLUTIONS = Registry(
    "operator",
    [
        # A row for each magnitude: the equations are in `ops`, with their names.
        *map(_decoupled, MAGNITUDES),
        Convolution(
            name="weight-standardized",
            summary="Convolution with filters of mean 0 and variance 1.",
            source="Qiao, Wang, Liu, Shen, Yuille, 2019",
            options=SCALED,
            layer=WeightStandardizedConv2d,
        ),
    ],
)
