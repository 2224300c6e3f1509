"""Laws of head surgery, over families of networks and over the table of heads."""

import copy

import pytest
import torch
from families import CLASSES, FAMILIES, LARGE, family, some_images
from tolerances import EXACT
from torch import Tensor, nn
from torch.testing import assert_close

from covtool.backbones.create import create_model, parse_name
from covtool.backbones.sites import find_sites
from covtool.errors import SurgeryError, UnknownVariantError
from covtool.specs import HeadSpec, InputSpec, LastStrideSpec
from covtool.surgery import (
    apply_head,
    apply_last_stride,
    plan_head,
    plan_last_stride,
    pooling_of,
)
from covtool.variants import HEADS

PARAMETERS = [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in FAMILIES]


@pytest.fixture(params=PARAMETERS)
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, InputSpec]:
    return family(request.param)


@pytest.fixture
def resnet() -> tuple[nn.Module, InputSpec]:
    return family("test_resnet")


def answers(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(images)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_plan_changes_nothing_and_apply_leaves_the_original_alone(network) -> None:
    model, images = network
    before, batch = snapshot(model), some_images(images)
    expected = answers(model, batch)
    operated = apply_head(model, plan_head(model, HeadSpec(dim=8), images, num_classes=3))
    assert answers(operated, batch).shape == (2, 3)
    assert_close(snapshot(model), before, **EXACT)
    assert_close(answers(model, batch), expected, **EXACT)


def test_untouched_tensors_keep_their_names_and_values(network) -> None:
    model, images = network
    plan = plan_head(model, HeadSpec(dim=8), images, num_classes=3)
    before, after = model.state_dict(), apply_head(model, plan).state_dict()
    gone = (plan.sites.classifier, *plan.bypassed)
    for name, tensor in before.items():
        if not name.startswith(tuple(f"{path}." for path in gone)):
            assert_close(after[name], tensor, **EXACT)


def test_fused_head_keeps_every_logit(network) -> None:
    model, images = network
    operated = apply_head(model, plan_head(model, HeadSpec(dim=8, fuse="gap"), images))
    batch = some_images(images)
    assert torch.equal(answers(operated, batch), answers(model, batch))
    kept = set(model.state_dict()) - set(operated.state_dict())
    assert kept == set()


def test_fused_head_learns_from_the_new_features(network) -> None:
    model, images = network
    plan = plan_head(model, HeadSpec(dim=8, fuse="gap"), images)
    operated = apply_head(model, plan).train()
    operated(some_images(images, 4)).logsumexp(dim=1).sum().backward()
    gradient = operated.get_submodule(plan.sites.classifier).weight.grad
    assert gradient[:, plan.sites.in_features :].abs().sum() > 0


def test_tapping_an_earlier_map_bypasses_what_comes_after(network) -> None:
    model, images = network
    taps = find_sites(model, images.size).taps
    if len(taps) < 2:
        pytest.skip("one feature map only")
    batch = some_images(images)
    spec = HeadSpec(dim=8, tap=taps[-2].path)
    plan = plan_head(model, spec, images, num_classes=3)
    assert plan.bypassed
    assert answers(apply_head(model, plan), batch).shape == (2, 3)
    fused = plan_head(model, spec.model_copy(update={"fuse": "gap"}), images)
    assert torch.equal(answers(apply_head(model, fused), batch), answers(model, batch))


def test_forward_features_and_pre_logits_of_timm_still_work(network) -> None:
    model, images = network
    if not hasattr(model, "forward_head"):
        pytest.skip("torchvision has neither")
    plan = plan_head(model, HeadSpec(dim=8), images)
    operated, batch = apply_head(model, plan).eval(), some_images(images)
    with torch.no_grad():
        features = operated.forward_features(batch)
        assert_close(features, model.forward_features(batch), **EXACT)
        pooled = operated.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, plan.in_features)
    assert operated.get_classifier() is operated.get_submodule(plan.sites.classifier)


@pytest.mark.parametrize("head", HEADS.names)
def test_every_head_declares_its_size_and_trains(head: str, resnet) -> None:
    model, images = resnet
    for reduction in ("conv-bn-relu", "linear", "none"):
        spec = HeadSpec(head=head, dim=8, reduction=reduction)
        plan = plan_head(model, spec, images, num_classes=3)
        operated = apply_head(model, plan).train()
        operated(some_images(images, 4)).square().sum().backward()
        assert operated.get_submodule(plan.sites.classifier).in_features == plan.pooled_features
        for name, parameter in operated.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_every_head_has_summary_and_source() -> None:
    for head in HEADS:
        assert head.summary.endswith("."), head.name
        assert head.source, head.name


def test_copies_of_a_fused_and_tapped_model_are_independent(resnet) -> None:
    model, images = resnet
    tap = find_sites(model, images.size).taps[0].path
    operated = apply_head(model, plan_head(model, HeadSpec(dim=8, fuse="gap", tap=tap), images))
    duplicate, batch = copy.deepcopy(operated), some_images(images)
    for parameter in operated.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(answers(duplicate, batch), answers(model, batch))


def test_operated_model_compiles_without_a_graph_break(resnet) -> None:
    model, images = resnet
    batch = some_images(images)
    for spec in (HeadSpec(dim=8), HeadSpec(dim=8, fuse="gap")):
        operated = apply_head(model, plan_head(model, spec, images)).eval()
        compiled = torch.compile(operated, fullgraph=True, backend="eager")
        assert_close(answers(compiled, batch), answers(operated, batch))


def test_post_norm_batchnorm_has_its_own_statistics(resnet) -> None:
    model, images = resnet
    plan = plan_head(model, HeadSpec(dim=8, post_norm="batchnorm"), images)
    norm = pooling_of(apply_head(model, plan), plan).post_bn
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_features == 36


def test_last_stride_doubles_the_resolution_and_keeps_the_weights(resnet) -> None:
    model, images = resnet
    before = snapshot(model)
    operated = apply_last_stride(model, plan_last_stride(model, LastStrideSpec(), images))
    positions = [find_sites(m, images.size).default_tap.positions for m in (model, operated)]
    assert positions[1] == 4 * positions[0]
    assert_close(snapshot(operated), before, **EXACT)
    assert_close(snapshot(model), before, **EXACT)


@pytest.mark.parametrize("name", ["densenet121", "mobilenetv3_small_050", "torchvision:resnet18"])
def test_last_stride_finds_the_strided_layer_of_a_family(name: str) -> None:
    model, images = family(name)
    operated = apply_last_stride(model, plan_last_stride(model, LastStrideSpec(), images))
    positions = [find_sites(m, images.size).default_tap.positions for m in (model, operated)]
    assert positions[1] == 4 * positions[0]


def test_patches_that_do_not_overlap_cannot_lose_their_stride() -> None:
    model, images = family("test_convnext")
    with pytest.raises(SurgeryError, match="cannot do without its stride"):
        plan_last_stride(model, LastStrideSpec(), images)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (HeadSpec(head="gap", fuse="gap"), "is the average itself"),
        (HeadSpec(dim=4096), "more than the 96 channels"),
        (HeadSpec(dim=8, tap="layer9"), "no feature map named 'layer9'"),
        (HeadSpec(head="isqr"), "Did you mean 'isqrt'"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: HeadSpec, message: str, resnet) -> None:
    model, images = resnet
    with pytest.raises((SurgeryError, UnknownVariantError), match=message):
        plan_head(model, spec, images)


def test_a_model_is_not_operated_on_twice(resnet) -> None:
    model, images = resnet
    operated = apply_head(model, plan_head(model, HeadSpec(dim=8), images))
    with pytest.raises(SurgeryError, match="is a covtool head already"):
        plan_head(operated, HeadSpec(dim=8), images)


def test_one_position_has_no_covariance(resnet) -> None:
    model, _ = resnet
    with pytest.raises(SurgeryError, match="one position has no covariance"):
        plan_head(model, HeadSpec(dim=8, tap="layer4"), InputSpec(size=(16, 16)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torchvision:squeezenet1_1", "not a Linear layer"),
        ("deit_tiny_distilled_patch16_224", "2 classifiers: head, head_dist"),
        ("pit_ti_224", "no pooling module"),
    ],
)
def test_networks_without_such_a_head_are_refused_with_the_reason(name: str, reason: str) -> None:
    model = create_model(parse_name(name)[0], num_classes=CLASSES)
    with pytest.raises(SurgeryError, match=reason):
        find_sites(model)
