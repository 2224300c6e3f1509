"""Laws that every head of the table passes, and every combination of gradient rules."""

from collections.abc import Iterable
from copy import deepcopy

import pytest
import torch
from covering import pairs
from tolerances import EXACT, FLOAT32_CHAIN, FLOAT64, HALF
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from covtool.layers import CovariancePooling
from covtool.ops.eigen_gradients import GRADIENTS as RULES
from covtool.specs import HeadSpec
from covtool.specs.operations import Gradient
from covtool.variants import EIGEN, HEADS, Head

CHANNELS, DIM = 12, 6
WITH_GRADIENT_RULE = [row for row in HEADS if "gradient" in row.options]
OWN_BACKWARD = {"mtp", "mpa"}  # the Lyapunov equation is solved by iteration
GRADIENTS = RULES.names
NOT_COMPILED = set(OWN_BACKWARD) | {row.name for row in WITH_GRADIENT_RULE}
RANDOM = {"dropcov"}  # only in training


def name_of(value: object) -> str:
    return value.name if isinstance(value, Head) else str(value)


def has_no_such_root(row: Head, gradient: str, **_: object) -> bool:
    """A logarithm is not a square root, whose iteration the rule differentiates."""
    return gradient == "newton-schulz" and row.name == "logm"


def every(rows: Iterable[Head] = HEADS) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", list(rows), ids=lambda row: row.name)


def random_map(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).relu().to(dtype)


def spec_for(row: Head, **changes: object) -> HeadSpec:
    spec = {"head": row.name, "dim": DIM, "reduction": "none", "sketch_size": 32}
    return HeadSpec(**{**spec, **changes})


def pooling(row: Head, channels: int = DIM, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    return row.build(channels, spec_for(row, **changes)).eval()


def in_float64(row: Head, **changes: object) -> nn.Module:
    wide = {"head_dtype": "float64"} if "head_dtype" in row.options else {}
    return pooling(row, **wide, **changes).double()


def matrices(layer: CovariancePooling, features: Tensor) -> Tensor:
    return layer.matrix(features)


def test_names_of_gradient_rules_are_those_of_the_spec() -> None:
    assert set(GRADIENTS) == set(Gradient.__args__)


def test_options_of_heads_are_fields_of_the_spec() -> None:
    for row in HEADS:
        assert row.options <= set(HeadSpec.model_fields), row.name


@every()
@pytest.mark.parametrize("reduction", ["none", "linear", "conv-bn-relu"])
def test_declared_size_is_the_real_one(row: Head, reduction: str) -> None:
    layer = pooling(row, CHANNELS, reduction=reduction)
    assert layer(random_map(2, CHANNELS, 3, 4)).shape == (2, layer.num_features)


@every([row for row in HEADS if "vec" in row.options])
def test_all_of_the_matrix_is_a_symmetric_matrix(row: Head) -> None:
    layer = in_float64(row, vec="full")
    vectors = layer(random_map(2, DIM, 3, 4, dtype=torch.float64))
    size = int(layer.num_features**0.5)
    whole = vectors.reshape(2, size, size)
    assert_close(whole, whole.mT, **FLOAT64)
    triangle = in_float64(row)(random_map(2, DIM, 3, 4, dtype=torch.float64))
    if layer.vectorize(whole).shape == vectors.shape and row.name != "bilinear":
        rows, columns = torch.triu_indices(size, size)
        assert_close(whole[:, rows, columns], triangle, **EXACT)


@every()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dtype_is_kept_and_the_input_left_alone(row: Head, dtype: torch.dtype) -> None:
    features = random_map(2, DIM, 3, 4, dtype=dtype)
    before = features.clone()
    assert pooling(row).to(dtype)(features).dtype == dtype
    assert_close(features, before, **EXACT)


@every()
@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (1, 3)], ids=str)
def test_order_of_the_positions_does_not_matter(row: Head, shape: tuple[int, int]) -> None:
    features = random_map(2, DIM, *shape, dtype=torch.float64)
    order = torch.randperm(shape[0] * shape[1], generator=torch.Generator().manual_seed(0))
    permuted = features.flatten(2)[:, :, order].reshape(features.shape)
    layer = in_float64(row)
    assert_close(layer(permuted), layer(features), **FLOAT64)


@every([row for row in HEADS if row.centered])
def test_shifting_all_positions_changes_nothing(row: Head) -> None:
    features = random_map(2, DIM, 3, 4, dtype=torch.float64)
    shift = torch.linspace(-2, 3, DIM, dtype=torch.float64)[:, None, None]
    layer = in_float64(row)
    assert_close(layer(features + shift), layer(features), **FLOAT64)


# The factor on the result when all features are multiplied by t.
SCALING = {
    "gap": lambda t: t,
    "gmp": lambda t: t,
    "gem": lambda t: t,
    "cov": lambda t: t**2,
    "isqrt": lambda t: t,
    "mpn": lambda t: t,
    "mpn+F": lambda t: 1.0,
    "mpn+M": lambda t: 1.0,
    "mtp": lambda t: t,
    "mpa": lambda t: t,
    "bilinear": lambda t: 1.0,
    "cbp": lambda t: 1.0,
}


@every([row for row in HEADS if row.name in SCALING])
@pytest.mark.parametrize("factor", [0.1, 7.0])
def test_scaling_law(row: Head, factor: float) -> None:
    features = random_map(2, DIM, 3, 4, dtype=torch.float64) + 0.1
    layer = in_float64(row)
    expected = SCALING[row.name](factor) * layer(features)
    smoothed = row.name in ("bilinear", "cbp")  # their signed root is, near zero
    assert_close(layer(factor * features), expected, rtol=1e-7, atol=1e-3 if smoothed else 1e-9)


@every([row for row in HEADS if row.name not in OWN_BACKWARD])
@pytest.mark.parametrize("shape", [(2, 4), (1, 3)], ids=str)
def test_gradient_agrees_with_finite_differences(row: Head, shape: tuple[int, int]) -> None:
    features = random_map(2, 4, *shape, dtype=torch.float64) + torch.rand(
        2, 4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    layer = in_float64(row, channels=4, dim=4)
    assert torch.autograd.gradcheck(layer, features.requires_grad_(), atol=1e-5)


def features_gradient(row: Head, features: Tensor, **changes: object) -> Tensor:
    features = features.clone().requires_grad_()
    pooled = in_float64(row, channels=features.shape[1], **changes)(features)
    weights = torch.linspace(-1, 1, pooled.numel(), dtype=pooled.dtype).reshape(pooled.shape)
    (pooled * weights).sum().backward()
    return features.grad


@every()
def test_activations_that_are_computed_again_give_the_same_gradient(row: Head) -> None:
    layer, features = in_float64(row), random_map(2, DIM, 3, 4, dtype=torch.float64)
    features.requires_grad_()
    plain, again = (
        torch.autograd.grad(vectors.square().sum(), features)[0]
        for vectors in (layer(features), checkpoint(layer, features, use_reentrant=False))
    )
    assert_close(again, plain, **EXACT)


@pairs(row=WITH_GRADIENT_RULE, gradient=GRADIENTS, unless=has_no_such_root, ids=name_of)
def test_every_gradient_rule_is_finite_nonzero_and_leaves_the_value(
    row: Head, gradient: str
) -> None:
    features = random_map(2, DIM, 3, 4, dtype=torch.float64)
    exact = features_gradient(row, features)
    gradients = features_gradient(row, features, gradient=gradient)
    assert gradients.isfinite().all()
    cosine = nn.functional.cosine_similarity(exact.flatten(), gradients.flatten(), dim=0)
    assert cosine > 0.5
    assert_close(in_float64(row, gradient=gradient)(features), in_float64(row)(features), **EXACT)


def tied_map() -> Tensor:
    """Features whose covariance has two pairs of equal eigenvalues, and one of zero."""
    basis = torch.linalg.qr(random_map(12, 12, dtype=torch.float64) - 0.3)[0]
    centered = basis[1:6] - basis[1:6].mean(dim=1, keepdim=True)
    rows = torch.linalg.svd(centered, full_matrices=False)[2]
    scales = torch.tensor([2.0, 2.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    turned = torch.linalg.qr(random_map(5, 5, dtype=torch.float64) - 0.4)[0]
    maps = turned @ (scales[:, None] * rows)
    return torch.cat([maps, torch.zeros(1, 12, dtype=torch.float64)]).reshape(1, DIM, 3, 4)


DEGENERATE = {
    "zero": torch.zeros(2, DIM, 3, 3),
    "one position": random_map(2, DIM, 1, 1),
    "constant": torch.full((2, DIM, 3, 3), 0.7),
    "rank one": random_map(2, 1, 3, 3).expand(2, DIM, 3, 3).clone(),
    "tied": tied_map().float(),
    "tiny": 1e-12 * random_map(2, DIM, 3, 3),
    "large": 1e4 * random_map(2, DIM, 3, 3),
    "one zero sample": torch.cat([torch.zeros(1, DIM, 3, 3), random_map(1, DIM, 3, 3)]),
}


@pairs(row=list(HEADS), name=list(DEGENERATE), training=[False, True], ids=name_of)
def test_degenerate_maps_have_finite_values_and_gradients(
    row: Head, name: str, training: bool
) -> None:
    features = DEGENERATE[name].clone().requires_grad_()
    pooled = pooling(row).train(training)(features)
    pooled.square().sum().backward()
    assert pooled.isfinite().all()
    assert features.grad.isfinite().all()


@pairs(
    name=list(DEGENERATE),
    gradient=GRADIENTS,
    row=WITH_GRADIENT_RULE,
    unless=has_no_such_root,
    ids=name_of,
)
def test_every_rule_is_finite_for_degenerate_maps(row: Head, gradient: str, name: str) -> None:
    features = DEGENERATE[name].clone().requires_grad_()
    pooling(row, gradient=gradient)(features).square().sum().backward()
    assert features.grad.isfinite().all()


@pairs(
    row=list(HEADS),
    name=["random", "zero", "constant", "one position"],
    dtype=[torch.bfloat16, torch.float16],
    ids=name_of,
)
def test_half_precision_autocast_is_finite_and_close(
    row: Head, dtype: torch.dtype, name: str
) -> None:
    features = DEGENERATE.get(name, random_map(2, DIM, 3, 4)).to(dtype)
    if name == "one position" and row.centered:
        features = features.float()
    layer, given = pooling(row), features.clone().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        pooled = layer(given)
    pooled.float().square().sum().backward()
    assert given.grad.isfinite().all()
    expected = layer(features.float())
    scale = expected.abs().max().clamp_min(1)
    assert_close(pooled.float() / scale, expected / scale, **HALF)


@every([row for row in HEADS if row.name not in NOT_COMPILED])
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*_prims_common.check:FutureWarning")  # inductor's own
def test_compiles_as_one_graph_where_there_is_no_solver(row: Head) -> None:
    layer = pooling(row)
    compiled = torch.compile(layer, fullgraph=True)
    features = random_map(2, DIM, 3, 4)
    assert_close(compiled(features), layer(features), **FLOAT32_CHAIN)


@every([row for row in HEADS if row.name not in NOT_COMPILED])
def test_traces_as_one_graph_where_there_is_no_solver(row: Head) -> None:
    layer = pooling(row)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    features = random_map(2, DIM, 3, 4)
    assert_close(compiled(features), layer(features), **FLOAT32_CHAIN)


@every()
def test_state_dict_makes_another_layer_the_same(row: Head) -> None:
    first = pooling(row, CHANNELS, reduction="conv-bn-relu")
    torch.manual_seed(99)
    second = row.build(CHANNELS, spec_for(row, reduction="conv-bn-relu")).eval()
    second.load_state_dict(deepcopy(first.state_dict()), strict=True)
    features = random_map(2, CHANNELS, 3, 4)
    assert_close(second(features), first(features), **EXACT)


@every([row for row in HEADS if "gradient" in row.options or row.name == "isqrt"])
@pytest.mark.parametrize("positions", [(1, 4), (5, 5)], ids=str)
def test_float32_is_close_to_float64(row: Head, positions: tuple[int, int]) -> None:
    features = random_map(2, DIM, *positions)
    close = pooling(row)(features).double()
    assert_close(close, in_float64(row)(features.double()), rtol=1e-4, atol=1e-4)


def test_heads_compute_eigendecompositions_in_float64_unless_told() -> None:
    for row in HEADS:
        if not row.options >= EIGEN:
            continue
        features = 100 * random_map(2, DIM, 4, 4)
        wide = in_float64(row)(features.double())
        errors = [
            (pooling(row, **told)(features).double() - wide).abs().max()
            for told in ({}, {"head_dtype": "float32"})
        ]
        assert errors[0] <= 2 * wide.abs().max() * torch.finfo(torch.float32).eps
        assert errors[0] < errors[1]
