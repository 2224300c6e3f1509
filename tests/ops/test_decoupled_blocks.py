"""Decoupled convolutions by blocks, against the same operators differentiated by autograd."""

from collections.abc import Callable

import pytest
import torch
from covering import pairs
from paper_operator import GEOMETRIES, random_conv, random_tensor
from tolerances import EXACT, FLOAT64
from torch import Tensor
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from covtool.ops import decoupled_blocks
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.decoupled import by_formula, decoupled_conv2d, patch_norm
from covtool.ops.decoupling import Decoupling
from covtool.ops.filters import filter_norm, weighted_by_nothing
from covtool.ops.magnitudes import MAGNITUDES
from covtool.ops.patches import Box, Geometry, kernel_size, with_amounts

ANGULAR = ANGULAR_ACTIVATIONS.names
PLACES = [name for name in GEOMETRIES if "padding_mode" not in GEOMETRIES[name]]
every_place = pytest.mark.parametrize("place", PLACES)
even_same = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
recorded = pytest.mark.filterwarnings("ignore:`torch.jit")
BLOCKS = {"one": 2**20, "one for each image": 1}
SPANS = {"together": 10**6, "block by block": 0}


def functions(magnitude: str, angular: str, radius: Tensor | None = None) -> Decoupling:
    chosen = torch.tensor(2.0, dtype=torch.float64) if radius is None else radius
    row = None if angular == "cosine" else ANGULAR_ACTIVATIONS[angular]
    return Decoupling(MAGNITUDES[magnitude], row, radius=lambda: chosen, beta=0.7)


def operands(place: str, count: int = 3) -> tuple[Tensor, Tensor, Geometry]:
    conv = random_conv(place)
    geometry = Geometry(conv.stride, conv.padding, conv.dilation, conv.groups)
    maps = random_tensor(count, 4, 5, 6).requires_grad_()
    return maps, conv.weight.detach().clone().requires_grad_(), geometry


def formula(maps: Tensor, weight: Tensor, chosen: Decoupling, geometry: Geometry) -> Tensor:
    if chosen.angular is None:
        return by_formula(chosen, geometry, maps, weight, None)
    size = filter_norm(weight)[:, 0]
    return by_formula(chosen, geometry, maps, weighted_by_nothing(weight), size)


def gradients(response: Tensor, *inputs: Tensor, **options: bool) -> tuple[Tensor, ...]:
    incoming = random_tensor(*response.shape, seed=7)
    return torch.autograd.grad(response, inputs, incoming, **options)


@pytest.fixture(params=BLOCKS, ids=str)
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(decoupled_blocks, "_BLOCK", BLOCKS[request.param])
    return request.param


def in_blocks(monkeypatch: pytest.MonkeyPatch, *, span: str = "together") -> None:
    monkeypatch.setattr(decoupled_blocks, "_BLOCK", 1)
    monkeypatch.setattr(decoupled_blocks, "_FILTERS", SPANS[span])


@even_same
@pairs(place=PLACES, magnitude=MAGNITUDES.names, angular=ANGULAR, span=list(SPANS), per=[1, 4])
def test_response_and_gradients_are_those_of_the_formula(
    place: str,
    magnitude: str,
    angular: str,
    span: str,
    per: int,
    block: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoupled_blocks, "_FILTERS", SPANS[span])
    maps, weight, geometry = operands(place)
    filters = 1 if per == 1 else len(weight)
    radius = torch.linspace(1, 3, filters, dtype=torch.float64)[:, None, None].requires_grad_()
    chosen = functions(magnitude, angular, radius)
    inputs = (maps, weight, radius) if MAGNITUDES[magnitude].takes_radius else (maps, weight)
    response = decoupled_conv2d(maps, weight, chosen, geometry)
    assert "_InBlocks" in response.grad_fn.name()
    expected = formula(maps, weight, chosen, geometry)
    assert_close(response, expected, **FLOAT64)
    assert_close(gradients(response, *inputs), gradients(expected, *inputs), **FLOAT64)


@pairs(magnitude=MAGNITUDES.names, angular=ANGULAR, place=["padded", "grouped", "depthwise"])
def test_gradients_of_the_gradients_are_those_of_the_formula(
    magnitude: str, angular: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks(monkeypatch)
    maps, weight, geometry = operands(place)
    chosen = functions(magnitude, angular)
    twice = []
    for function in (decoupled_conv2d, formula):
        response = function(maps, weight, chosen, geometry)
        first = gradients(response, maps, weight, create_graph=True)
        twice.append(gradients(first[0].square() + first[0], maps, weight))
    assert_close(*twice, **FLOAT64)


@pytest.mark.parametrize("angular", ANGULAR)
def test_two_layers_that_share_their_filters_count_each_path_once(angular: str) -> None:
    maps, weight, geometry = operands("padded")
    chosen = functions("tanh", angular)
    response = decoupled_conv2d(
        decoupled_conv2d(maps, weight, chosen, geometry), weight, chosen, geometry
    )
    once = gradients(response, maps, weight, retain_graph=True)
    assert_close(gradients(response, maps, weight, create_graph=True), once, **FLOAT64)


@pytest.mark.parametrize("angular", ANGULAR)
def test_inference_mode_has_the_same_response(angular: str) -> None:
    maps, weight, geometry = operands("padded")
    chosen = functions("tanh", angular)
    expected = decoupled_conv2d(maps, weight, chosen, geometry).detach()
    with torch.inference_mode():
        assert_close(decoupled_conv2d(maps, weight, chosen, geometry), expected, **EXACT)
        assert_close(decoupled_conv2d(maps.clone(), weight, chosen, geometry), expected, **EXACT)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("create_graph", [True, False])
def test_autocast_around_the_backward_pass_changes_nothing(
    create_graph: bool, in_place: bool
) -> None:
    maps, weight, geometry = operands("padded")
    maps, weight = (x.detach().float().requires_grad_() for x in (maps, weight))
    chosen = functions("tanh", "cosine", torch.tensor(2.0))

    def found(cast: bool) -> tuple[Tensor, ...]:
        response = decoupled_conv2d(maps, weight, chosen, geometry)
        response = response.relu_() if in_place else response.relu()
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            return torch.autograd.grad(response.sum(), (maps, weight), create_graph=create_graph)

    assert_close(found(True), found(False), **EXACT)


@pytest.mark.parametrize("angular", ANGULAR)
@pytest.mark.parametrize("change", [torch.relu_, lambda x: x.mul_(2), lambda x: x.add_(1)])
def test_the_response_may_be_changed_in_place(
    change: Callable[[Tensor], Tensor], angular: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks(monkeypatch)
    maps, weight, geometry = operands("padded")
    chosen = functions("tanh", angular)
    found = [
        gradients(change(function(maps, weight, chosen, geometry)), maps, weight)
        for function in (decoupled_conv2d, formula)
    ]
    assert_close(*found, **FLOAT64)


@pytest.mark.parametrize("angular", ANGULAR)
@pytest.mark.parametrize("change", [torch.relu, torch.relu_])
def test_hooks_decide_what_is_kept(
    change: Callable[[Tensor], Tensor], angular: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_blocks(monkeypatch)
    maps, weight, geometry = operands("padded")
    chosen = functions("tanh", angular)

    def changed(x: Tensor, w: Tensor) -> Tensor:
        return change(decoupled_conv2d(x, w, chosen, geometry))

    expected = gradients(changed(maps, weight), maps, weight)
    again = checkpoint(changed, maps, weight, use_reentrant=False)
    assert_close(gradients(again, maps, weight), expected, **EXACT)
    with save_on_cpu():
        moved = changed(maps, weight)
    assert_close(gradients(moved, maps, weight), expected, **EXACT)
    handed = list[Tensor]()
    with saved_tensors_hooks(lambda x: handed.append(x) or len(handed) - 1, handed.__getitem__):
        response = decoupled_conv2d(maps, weight, chosen, geometry)
    assert response.grad_fn is not None
    assert not [x for x in vars(response.grad_fn).values() if isinstance(x, Tensor)]
    assert_close(gradients(response.relu(), maps, weight), expected, **EXACT)


@pytest.mark.parametrize("angular", ANGULAR)
@pytest.mark.parametrize("place", ["padded", "grouped", "depthwise"])
def test_only_what_is_needed_gets_a_gradient(place: str, angular: str) -> None:
    maps, weight, geometry = operands(place)
    chosen = functions("ball", angular)
    both = gradients(decoupled_conv2d(maps, weight, chosen, geometry), maps, weight)
    for index, (x, w) in enumerate([(maps, weight.detach()), (maps.detach(), weight)]):
        response = decoupled_conv2d(x, w, chosen, geometry)
        assert_close(gradients(response, (x, w)[index])[0], both[index], **FLOAT64)


@pytest.mark.parametrize("angular", ANGULAR)
@pytest.mark.parametrize(
    ("place", "maps_kept"), [("pointwise", 1), ("padded", 1), ("depthwise", 2)]
)
def test_little_more_than_the_input_is_kept(place: str, maps_kept: int, angular: str) -> None:
    conv = random_conv(place)
    geometry = Geometry(conv.stride, conv.padding, conv.dilation, conv.groups)
    maps, weight = random_tensor(2, 4, 16, 16).requires_grad_(), conv.weight
    wide = {"pointwise": (64, 4, 1, 1), "padded": (64, 4, 3, 3)}
    if place in wide:
        weight = random_tensor(*wide[place]).requires_grad_()
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 8
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        response = decoupled_conv2d(maps, weight, functions("tanh", angular), geometry)
    kept.pop(response.untyped_storage().data_ptr(), None)  # the caller's as well
    # Depthwise has a norm for each value.
    of_its_size = maps_kept if angular != "cosine" or place == "depthwise" else 0
    few = 5 * response[:, 0].numel() + 3 * weight.numel() + 100
    assert sum(kept.values()) <= maps.numel() + of_its_size * response.numel() + few


def test_without_gradients_nothing_is_kept() -> None:
    maps, weight, geometry = operands("padded")
    with torch.no_grad():
        response = decoupled_conv2d(maps, weight, functions("tanh", "cosine"), geometry)
    assert response.grad_fn is None
    assert_close(response, formula(maps, weight, functions("tanh", "cosine"), geometry), **FLOAT64)


@pairs(magnitude=MAGNITUDES.names, angular=ANGULAR, place=["padded", "grouped", "depthwise"])
def test_patches_of_nothing_and_next_to_nothing_have_the_formulas_gradient(
    magnitude: str, angular: str, place: str
) -> None:
    maps, weight, geometry = operands(place)
    with torch.no_grad():
        maps[0] = 0
        maps[1] *= 1e-14
    chosen = functions(magnitude, angular)
    found = []
    for function in (decoupled_conv2d, formula):
        response = function(maps, weight, chosen, geometry)
        found.append((response, *gradients(response, maps, weight)))
    (response, by_maps, by_weight), (wanted, *expected) = found
    assert_close(response, wanted, **FLOAT64)
    assert_close((by_maps, by_weight), tuple(expected), **FLOAT64)
    assert by_maps.isfinite().all()


def test_a_radius_beyond_all_norms_has_a_finite_gradient() -> None:
    maps, weight, geometry = operands("padded")
    for radius in (1e30, 1e300):
        chosen = functions("tanh", "cosine", torch.tensor(radius, dtype=torch.float64))
        response = decoupled_conv2d(maps, weight, chosen, geometry)
        found = gradients(response, maps, weight)
        assert all(gradient.abs().max() < 1e-25 for gradient in found)
        assert all(gradient.isfinite().all() for gradient in found)


@pytest.mark.parametrize("angular", ANGULAR)
@pytest.mark.parametrize("place", ["pointwise", "padded", "grouped", "depthwise"])
def test_channels_last_stays_so_forward_and_backward(
    place: str, angular: str, span_by_block: None
) -> None:
    maps, weight, geometry = operands(place)
    plain = gradients(
        decoupled_conv2d(maps, weight, functions("tanh", angular), geometry), maps, weight
    )
    last = torch.channels_last
    x = maps.detach().contiguous(memory_format=last).requires_grad_()
    w = weight.detach().contiguous(memory_format=last).requires_grad_()
    response = decoupled_conv2d(x, w, functions("tanh", angular), geometry)
    assert response.is_contiguous(memory_format=last)
    found = gradients(response, x, w)
    assert found[0].is_contiguous(memory_format=last)
    assert_close(found, plain, **FLOAT64, check_stride=False)


@pytest.fixture(params=SPANS, ids=str)
def span_by_block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks(monkeypatch, span=request.param)


def test_norms_are_followed_once_for_each_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks(monkeypatch)
    maps, weight, geometry = operands("strided")
    seen: list[Tensor] = []
    chosen = functions("tanh", "linear")._replace(follow=seen.append)
    response = decoupled_conv2d(maps, weight, chosen, geometry)
    (first,) = gradients(response, maps, create_graph=True)
    gradients(first, maps)
    assert len(seen) == 1
    assert_close(seen[0], patch_norm(maps, kernel_size(weight), geometry).detach(), **FLOAT64)


@recorded
@pytest.mark.parametrize("angular", ANGULAR)
def test_transformations_of_functions_see_the_operations(angular: str) -> None:
    maps, weight, geometry = operands("padded")
    maps, weight = maps.detach(), weight.detach()
    chosen = functions("tanh", angular)

    def total(x: Tensor) -> Tensor:
        return decoupled_conv2d(x, weight, chosen, geometry).sum()

    expected = torch.stack([torch.func.grad(total)(x[None])[0] for x in maps])
    assert_close(torch.func.grad(total)(maps), expected, **FLOAT64)
    each = torch.func.vmap(torch.func.grad(lambda x: total(x[None])))(maps)
    assert_close(each, expected, **FLOAT64)
    direction = random_tensor(*maps.shape, seed=5)
    _, slope = torch.func.jvp(total, (maps,), (direction,))
    assert_close(slope, (expected * direction).sum(), **FLOAT64)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(maps, direction)
        tangent = torch.autograd.forward_ad.unpack_dual(total(dual)).tangent
    assert_close(tangent, slope, **FLOAT64)


@recorded
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_holds_operations() -> None:
    maps, weight, geometry = operands("padded")
    maps, weight, chosen = maps.detach(), weight.detach(), functions("tanh", "linear")
    traced = torch.jit.trace(lambda x: decoupled_conv2d(x, weight, chosen, geometry), maps)
    other = random_tensor(3, 4, 5, 6, seed=9)
    assert_close(traced(other), formula(other, weight, chosen, geometry), **FLOAT64)


@even_same
@every_place
@pytest.mark.parametrize("groups", [1, 2, 16])
def test_spreading_is_the_adjoint_of_adding_up(place: str, groups: int) -> None:
    conv = random_conv(place)
    geometry = Geometry(conv.stride, conv.padding, conv.dilation)
    maps, geometry = with_amounts(random_tensor(2, groups, 7, 6), conv.kernel_size, geometry)
    box = Box.of(conv.kernel_size, geometry)
    sums = box.sums(maps)
    ones = torch.ones(groups, 1, *conv.kernel_size, dtype=torch.float64)
    assert_close(sums, F.conv2d(maps, ones, None, *geometry[:3], groups), **FLOAT64)
    other = random_tensor(*sums.shape, seed=3)
    spread = box.spread(other, *maps.shape[2:])
    assert spread.shape == maps.shape
    assert_close((spread * maps).sum(), (other * sums).sum(), **FLOAT64)


@pytest.mark.parametrize("groups", [1, 8])
def test_a_box_with_more_zeros_than_it_reaches_has_its_adjoint_too(groups: int) -> None:
    box = Box((2, 3), (1, 1), (3, 4), (1, 1))
    maps = random_tensor(2, groups, 5, 6)
    sums = box.sums(maps)
    other = random_tensor(*sums.shape, seed=3)
    spread = box.spread(other, 5, 6)
    assert_close((spread * maps).sum(), (other * sums).sum(), **FLOAT64)


@even_same
@every_place
def test_padding_in_numbers_is_that_in_words(place: str) -> None:
    maps, weight, geometry = operands(place)
    padded, amounts = with_amounts(maps, kernel_size(weight), geometry)
    assert not isinstance(amounts.padding, str)
    expected = F.conv2d(maps, weight, None, *geometry)
    assert_close(F.conv2d(padded, weight, None, *amounts), expected, **FLOAT64)
    if not isinstance(geometry.padding, str):
        assert_close(padded, maps, **EXACT)
