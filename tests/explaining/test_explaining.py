"""Maps of logits: shares against autograd, completeness over the table of heads, every family."""

from copy import deepcopy

import pytest
import torch
from families import family, lively_, some_images
from torch import Tensor, nn
from torch.testing import assert_close

from covtool.backbones.sites import find_sites
from covtool.errors import ArgumentError, ShapeError, SurgeryError
from covtool.explaining import explain
from covtool.explaining.grids import as_map
from covtool.explaining.shares import law_of, spread
from covtool.layers.global_pooling import GlobalPooling
from covtool.specs import HeadSpec, InputSpec
from covtool.surgery.head import apply_head, plan_head
from covtool.variants import HEADS, Head

DEGREES = {
    **dict.fromkeys(("gap", "gmp", "gem", "isqrt", "mpn", "mtp", "mpa"), 1.0),
    **dict.fromkeys(("cov", "dropcov"), 2.0),
    **dict.fromkeys(("mpn+F", "mpn+M", "bilinear", "cbp"), 0.0),
    **dict.fromkeys(("logm", "seb", "gaussian"), None),
}
"""Degree of each head's vector in the features; twice that in the covariance."""

SECOND_ORDER = [row for row in HEADS if row.second_order]
KINDS = (
    *("test_resnet", "mobilenetv3_small_050", "test_convnext", "test_vit"),
    *("torchvision:resnet18", "torchvision:mobilenet_v3_small"),
)
"""A network of each kind: plain, with layers behind its pooling, with tokens."""


def every(rows):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


class Net(nn.Module):
    """A head and a classifier: the image is the map."""

    def __init__(self, head: GlobalPooling, classes: int = 3) -> None:
        super().__init__()
        self.head = head
        self.fc = nn.Linear(head.num_features, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.head(images))


def net_of(row: Head, **changes: object) -> Net:
    torch.manual_seed(0)
    spec = {"head": row.name, "dim": 6, "reduction": "none", "sketch_size": 32, **changes}
    return Net(row.build(6, HeadSpec(**spec)).double()).double().eval()


def maps_of_six_channels(count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 6, 5, 4, generator=generator, dtype=torch.float64).relu()


def operated(name: str, head: str = "isqrt", **changes: object) -> tuple[nn.Module, InputSpec]:
    model, images = family(name)
    spec = HeadSpec(head=head, dim=8, **changes)
    torch.manual_seed(0)
    return lively_(apply_head(model, plan_head(model, spec, images))).eval(), images


@every(list(HEADS))
def test_each_head_has_the_degree_that_its_equation_says(row: Head) -> None:
    law = law_of(net_of(row).head.pool, maps_of_six_channels())
    assert law.degree == pytest.approx(DEGREES[row.name], abs=1e-4)
    assert law.is_centered == row.centered


@pytest.mark.parametrize(("alpha", "degree"), [(0.25, 0.5), (1.0, 2.0)])
def test_a_power_of_the_covariance_has_twice_its_degree(alpha: float, degree: float) -> None:
    net = net_of(HEADS["mpn"], alpha=alpha)
    assert law_of(net.head.pool, maps_of_six_channels()).degree == pytest.approx(degree, abs=1e-6)


@every([row for row in SECOND_ORDER if DEGREES[row.name]])
def test_shares_sum_to_the_logit_without_its_bias(row: Head) -> None:
    net, images = net_of(row), maps_of_six_channels()
    classes = torch.tensor([[0, 2], [1, 1]])
    found = explain(net, images, classes)
    expected = (net(images) - net.fc.bias).gather(1, classes)
    # mtp and mpa approximate the root, and their gradient is that of the root itself.
    tolerance = 2e-2 if row.name in ("mtp", "mpa") else 1e-5
    assert found.is_complete
    assert_close(found.totals, expected.detach(), rtol=tolerance, atol=tolerance)
    assert_close(found.response.double(), expected.detach(), rtol=1e-5, atol=1e-5)


@every([row for row in SECOND_ORDER if DEGREES[row.name] == 0])
def test_shares_of_a_head_over_its_norm_sum_to_zero_and_say_so(row: Head) -> None:
    found = explain(net_of(row), maps_of_six_channels(), torch.tensor([0, 2]))
    assert not found.is_complete
    assert "sum to 0" in found.note
    assert found.values.abs().max() > 1e-4
    assert_close(found.totals, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-5)


@every([row for row in SECOND_ORDER if DEGREES[row.name] is None])
def test_shares_of_a_head_without_a_degree_do_not_sum_to_the_logit_and_say_so(row: Head) -> None:
    found = explain(net_of(row), maps_of_six_channels(), torch.tensor([0, 2]))
    assert not found.is_complete
    assert "not homogeneous" in found.note
    assert (found.totals - found.response).abs().max() > 1e-3


def test_shares_are_the_quadratic_form_of_the_gradient_of_the_covariance() -> None:
    net, images = net_of(HEADS["cov"], vec="full"), maps_of_six_channels(1)
    found = explain(net, images, torch.tensor([1]))
    weight = net.fc.weight[1].reshape(6, 6).detach()
    centered = images[0].flatten(1) - images[0].flatten(1).mean(dim=1, keepdim=True)
    by_hand = torch.einsum("cp,cd,dp->p", centered, weight, centered) / 20
    assert_close(found.values.double().flatten(), by_hand, rtol=1e-5, atol=1e-6)


def test_grad_cam_of_an_average_is_the_positive_part_of_the_weighted_map() -> None:
    net, images = net_of(HEADS["gap"]), maps_of_six_channels()
    found = explain(net, images, torch.tensor([0, 2]))
    weights = net.fc.weight[[0, 2]].detach() / 20
    by_hand = torch.einsum("bc,bchw->bhw", weights, images).clamp_min(0)
    assert found.method == "grad-cam"
    assert_close(found.values.double(), by_hand, rtol=1e-5, atol=1e-6)


@every(SECOND_ORDER)
def test_grad_cam_is_refused_where_mean_gradients_are_rounding(row: Head) -> None:
    net, images = net_of(row), maps_of_six_channels()
    classes = torch.tensor([0, 2])
    if not row.centered:
        assert explain(net, images, classes, method="grad-cam").values.abs().max() > 1e-6
        return
    for exact in (net, net.float()):
        given = images.to(next(exact.parameters()).dtype)
        with pytest.raises(ArgumentError, match="subtracts the mean"):
            explain(exact, given, classes, method="grad-cam")
    assert explain(net, images.float(), classes).method == "shares"


def test_each_class_has_its_own_map_and_no_image_changes_those_of_another() -> None:
    net, images = net_of(HEADS["isqrt"]), maps_of_six_channels(3)
    together = explain(net, images, torch.tensor([[0, 1], [2, 0], [1, 1]]))
    assert together.values.shape == (3, 2, 5, 4)
    for row, (first, second) in enumerate([(0, 1), (2, 0), (1, 1)]):
        for column, output in enumerate((first, second)):
            alone = explain(net, images[row : row + 1], torch.tensor([output]))
            assert_close(alone.values[0], together.values[row, column], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("head", [None, "isqrt", "gem"])
def test_every_family_has_maps_and_is_as_before(name: str, head: str | None) -> None:
    model, images = family(name) if head is None else operated(name, head)
    model = deepcopy(model).train()
    model.requires_grad_(True)
    next(model.parameters()).requires_grad_(False)
    modes = [module.training for module in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    grads = [p.requires_grad for p in model.parameters()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    found = explain(model, some_images(images), torch.tensor([0, 3]))
    assert found.values.shape[0] == 2
    assert not found.values.requires_grad
    assert found.values.shape[1] == found.values.shape[2] > 1
    # Where everything speaks against a class, Grad-CAM is 0.
    assert found.values.abs().max() > 0 or found.method == "grad-cam"
    assert [module.training for module in model.modules()] == modes
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks
    assert [p.requires_grad for p in model.parameters()] == grads
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("fuse", [None, "gap"])
@pytest.mark.parametrize("name", ["test_resnet", "torchvision:resnet18"])
def test_shares_of_two_maps_and_of_a_fused_average_sum_to_the_logit(name, fuse) -> None:
    network, images = family(name)
    sites = find_sites(network, images.size)
    pair = tuple(tap.path for tap in sites.taps[-2:])
    model, images = operated(name, tap=pair, fuse=fuse)
    batch = some_images(images)
    found = explain(model, batch, torch.tensor([1, 4]))
    bias = model.get_submodule(sites.classifier).bias[[1, 4]]
    logits = model(batch)[[0, 1], [1, 4]] - bias
    assert found.is_complete
    assert_close(found.totals.float(), logits.detach(), rtol=2e-3, atol=2e-3)


def test_an_upright_image_has_an_upright_map_of_tokens() -> None:
    tokens = torch.arange(8.0).reshape(1, 1, 8)
    assert as_map(tokens, (64, 32)).shape == (1, 4, 2)
    with pytest.raises(SurgeryError, match="7 tokens are no grid"):
        as_map(tokens[..., :7], (64, 32))


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3), (9, 9)])
def test_a_map_on_another_grid_keeps_its_sum(size: tuple[int, int]) -> None:
    values = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    assert_close(spread(values, size).sum(dim=(1, 2)), values.sum(dim=(1, 2)))


def test_what_cannot_be_explained_is_refused() -> None:
    net, images = net_of(HEADS["isqrt"]), maps_of_six_channels()
    with pytest.raises(ArgumentError, match="outputs 0 to 2; classes are 0 to 3"):
        explain(net, images, torch.tensor([0, 3]))
    with pytest.raises(ShapeError, match="classes must have shape"):
        explain(net, images, torch.tensor([0]))
    with pytest.raises(ArgumentError, match="no method 'cam'"):
        explain(net, images, torch.tensor([0, 1]), method="cam")
    with pytest.raises(ArgumentError, match="the model has none"):
        explain(
            family("test_resnet")[0], torch.zeros(1, 3, 96, 96), torch.tensor([0]), method="shares"
        )
