"""Laws of the surgery on convolutions, over families of networks and the table of operators."""

import copy
from pathlib import Path

import pytest
import torch
from families import FAMILIES, LARGE, family, lively_, some_images
from tolerances import EXACT
from torch import Tensor, nn
from torch.testing import assert_close

from covtool.backbones.convolutions import find_convolutions, select
from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints.model_file import load, save
from covtool.errors import ArgumentError, SurgeryError, UnknownVariantError
from covtool.layers import ConvOperator
from covtool.specs import ConvolutionSpec, HeadSpec, InputSpec, Provenance, Recipe
from covtool.surgery import apply_convolutions, apply_head, plan_convolutions, plan_head
from covtool.variants import CONVOLUTIONS

IMAGES = InputSpec(size=(64, 64))


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return lively_(create_model(parse_name("test_resnet")[0], num_classes=5))


def answers(model: nn.Module, batch: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(batch)


def relative_error(given: Tensor, wanted: Tensor) -> float:
    return ((given - wanted).norm() / wanted.norm()).item()


def operated(model: nn.Module, images: InputSpec = IMAGES, **spec: object):
    plan = plan_convolutions(model, ConvolutionSpec(**spec), images)
    return apply_convolutions(model, plan), plan


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in FAMILIES],
)
def test_linear_cosine_weighted_linearly_is_the_network_itself(name: str) -> None:
    model, images = family(name)
    model = lively_(copy.deepcopy(model))
    batch = some_images(images)
    same, plan = operated(model, images, conv="linear", weighting="linear", target=("all",))
    assert len(plan.layers) == len(find_convolutions(model, images.size, images.channels))
    assert all(isinstance(same.get_submodule(s.path), ConvOperator) for s in plan.layers)
    assert relative_error(answers(same, batch), answers(model, batch)) < 1e-4


@pytest.mark.parametrize("name", CONVOLUTIONS.names)
def test_plan_changes_nothing_and_application_a_copy_only(name: str, resnet: nn.Module) -> None:
    before = copy.deepcopy(resnet.state_dict())
    model, _ = operated(resnet, conv=name)
    assert not any(isinstance(m, ConvOperator) for m in resnet.modules())
    for key, tensor in resnet.state_dict().items():
        assert_close(tensor, before[key], **EXACT)
        assert_close(model.state_dict()[key], before[key], **EXACT)


@pytest.mark.parametrize("name", CONVOLUTIONS.names)
def test_state_dict_loads_into_the_source_architecture_and_back(
    name: str, resnet: nn.Module
) -> None:
    model, plan = operated(resnet, conv=name)
    source = create_model(parse_name("test_resnet")[0], num_classes=5)
    into_source = source.load_state_dict(model.state_dict(), strict=False)
    assert not into_source.missing_keys
    own = {key.rpartition(".")[0] for key in into_source.unexpected_keys}
    assert own == {site.path for site in plan.layers}
    back = model.load_state_dict(source.state_dict(), strict=False)
    assert not back.unexpected_keys
    batch = some_images(IMAGES)
    assert_close(answers(source, batch), answers(resnet, batch), **EXACT)


@pytest.mark.parametrize("name", CONVOLUTIONS.names)
def test_saved_file_answers_like_the_model(name: str, resnet: nn.Module, tmp_path: Path) -> None:
    model, plan = operated(resnet, conv=name, radius_per="layer", target=("spatial",))
    model.recipe = Recipe(
        base=parse_name("test_resnet")[0],
        operations=(plan.spec,),
        num_classes=5,
        input=IMAGES,
        provenance=Provenance(covtool_version="0"),
    )
    torch.manual_seed(3)
    reloaded = load(save(model, tmp_path / "model.safetensors"))
    assert reloaded.recipe == model.recipe
    batch = some_images(IMAGES)
    assert_close(answers(reloaded, batch), answers(model, batch), **EXACT)


@pytest.mark.parametrize("name", CONVOLUTIONS.names)
def test_converting_twice_is_refused(name: str, resnet: nn.Module) -> None:
    model, _ = operated(resnet, conv=name)
    with pytest.raises(SurgeryError, match="operator already"):
        plan_convolutions(model, ConvolutionSpec(conv=name), IMAGES)


def test_other_layers_may_become_another_operator_later(resnet: nn.Module) -> None:
    first, _ = operated(resnet, conv="tanh", target=("pointwise",))
    both, plan = operated(first, conv="ball", target=("spatial",))
    operators = [m for m in both.modules() if isinstance(m, ConvOperator)]
    assert {m.spec.conv for m in operators} == {"tanh", "ball"}
    assert all(site.kind == "spatial" for site in plan.layers)


def test_default_leaves_out_the_stem_and_the_shortcuts(resnet: nn.Module) -> None:
    sites = find_convolutions(resnet, IMAGES.size, 3)
    roles = {site.path: site.role for site in sites}
    assert {p for p, r in roles.items() if r == "stem"} == {"conv1.0", "conv1.3", "conv1.6"}
    assert {p for p, r in roles.items() if r == "shortcut"} == {
        f"layer{n}.0.downsample.1" for n in (2, 3, 4)
    }
    _, plan = operated(resnet)
    assert {s.path for s in plan.layers} == {p for p, r in roles.items() if r == "body"}


@pytest.mark.parametrize(
    ("name", "size", "stem", "shortcuts"),
    [
        ("test_efficientnet", 64, {"conv_stem"}, 0),
        ("test_convnext", 64, {"stem.0"}, 0),
        ("regnetx_002", 64, {"stem.conv"}, 4),
        ("torchvision:resnet18", 64, {"conv1"}, 3),
        ("torchvision:regnet_y_400mf", 64, {"stem.0"}, 4),
        ("test_vit", 160, {"patch_embed.proj"}, 0),
    ],
)
def test_stem_and_shortcuts_are_found_in_other_families(
    name: str, size: int, stem: set[str], shortcuts: int
) -> None:
    sites = find_convolutions(create_model(parse_name(name)[0], num_classes=2), (size, size), 3)
    assert {s.path for s in sites if s.role == "stem"} == stem
    assert sum(s.role == "shortcut" for s in sites) == shortcuts


def test_targets_and_exclusions_are_words_or_names(resnet: nn.Module) -> None:
    sites = find_convolutions(resnet, IMAGES.size, 3)

    def chosen(target: tuple[str, ...], exclude: tuple[str, ...] = ()) -> set[str]:
        return {site.path for site in select(sites, target, exclude)}

    everything = {site.path for site in sites}
    assert chosen(("all",)) == everything
    assert chosen(("all",), ("layer1", "conv1.*")) == {
        p for p in everything if not p.startswith(("layer1.", "conv1."))
    }
    assert chosen(("layer?.0.conv1", "layer4")) >= {"layer1.0.conv1", "layer4.0.downsample.1"}
    assert chosen(("spatial", "pointwise")) == chosen(())
    assert "conv1.0" not in chosen(("spatial",))


def test_layers_of_a_covtool_head_are_left_out(resnet: nn.Module) -> None:
    images = InputSpec(size=(96, 96))
    with_head = apply_head(resnet, plan_head(resnet, HeadSpec(head="cov", dim=8), images))
    _, plan = operated(with_head, images, conv="tanh", target=("all",))
    assert not any(site.role == "head" for site in plan.layers)


@pytest.mark.parametrize(
    ("asked", "kind", "message"),
    [
        ({"conv": "tahn"}, UnknownVariantError, "Did you mean 'tanh'"),
        ({"angular": "cosin"}, UnknownVariantError, "Did you mean 'cosine'"),
        ({"target": ("layer9",)}, ArgumentError, "--target 'layer9' fits no convolution"),
        ({"exclude": ("depthwise",)}, ArgumentError, "--exclude 'depthwise' fits no"),
        ({"exclude": ("all",)}, SurgeryError, "No convolution"),
        ({"beta": 0.3}, SurgeryError, "takes no --beta"),
        ({"conv": "sphere", "radius": 2.0}, SurgeryError, "takes no --radius"),
        ({"conv": "weight-standardized", "angular": "linear"}, SurgeryError, "no --angular"),
        ({"weighting": "liner"}, UnknownVariantError, "Did you mean 'linear'"),
        ({"target": ("layr1",)}, ArgumentError, "names like layer1"),
        ({"k": 0.5}, SurgeryError, "--angular sigmoid"),
        ({"projection_norm": 2.0}, SurgeryError, "--weight-projection"),
        ({"weighted_gradients": True, "weighting": "linear"}, SurgeryError, "--weighting none"),
        ({"calibrated": True, "radius": 2.0}, SurgeryError, "--calibrate"),
        ({"layers": ("layer9.conv",)}, SurgeryError, "not in this model"),
    ],
)
def test_what_makes_no_sense_is_refused(
    asked: dict, kind: type[Exception], message: str, resnet: nn.Module
) -> None:
    with pytest.raises(kind, match=message):
        plan_convolutions(resnet, ConvolutionSpec(**asked), IMAGES)


def test_network_without_other_convolutions_than_its_stem_is_refused() -> None:
    model = create_model(parse_name("test_vit")[0], num_classes=2)
    with pytest.raises(SurgeryError, match="No convolution of VisionTransformer"):
        plan_convolutions(model, ConvolutionSpec(), InputSpec(size=(160, 160)))


def test_shared_convolution_stays_shared(resnet: nn.Module) -> None:
    model = copy.deepcopy(resnet)
    model.layer1[0].conv2 = model.layer1[0].conv1
    operated_model, _ = operated(model)
    block = operated_model.layer1[0]
    assert isinstance(block.conv1, ConvOperator)
    assert block.conv2 is block.conv1


class Unknown(nn.Conv2d):
    """A convolution that may do anything."""


def test_convolution_of_an_unknown_class_is_left_with_the_reason(resnet: nn.Module) -> None:
    model = copy.deepcopy(resnet)
    model.layer1[0].conv1 = Unknown(32, 32, 3, padding=1)
    plan = plan_convolutions(model, ConvolutionSpec(), IMAGES)
    assert [path for path, _ in plan.left] == ["layer1.0.conv1"]
    with pytest.raises(SurgeryError, match=r"layer1.0.conv1: A Unknown"):
        plan_convolutions(model, ConvolutionSpec(target=("layer1.0.conv1",)), IMAGES)


@pytest.mark.parametrize("name", ["nf_resnet26", "resnetv2_50x1_bit"])
def test_standardized_convolutions_of_timm_are_followed_exactly(name: str) -> None:
    torch.manual_seed(0)
    model = lively_(create_model(parse_name(name)[0], num_classes=2))
    batch = some_images(IMAGES)
    same, plan = operated(model, conv="linear", weighting="linear", target=("all",))
    assert plan.layers
    assert relative_error(answers(same, batch), answers(model, batch)) < 1e-4
