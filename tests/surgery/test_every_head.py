"""Every head of the table in a network: planned, applied, fused, calibrated, saved, loaded."""

from pathlib import Path

import pytest
import torch
from tolerances import EXACT, FLOAT32
from torch import Tensor, nn
from torch.testing import assert_close

from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints.model_file import load, save
from covtool.errors import ArgumentError, SurgeryError, UnknownVariantError
from covtool.specs import HeadSpec, InputSpec, Provenance, Recipe
from covtool.surgery import apply_head, calibrate_head_, plan_head
from covtool.variants import HEADS

IMAGES = InputSpec(size=(96, 96))
BATCH = torch.rand(6, 3, 96, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return create_model(parse_name("test_resnet")[0], num_classes=4)


def spec(name: str, **changes: object) -> HeadSpec:
    sketch = {"sketch_size": 64} if "sketch_size" in HEADS[name].options else {}
    return HeadSpec(**{"head": name, "dim": 8, **sketch, **changes})


def answers(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(BATCH)


@pytest.mark.parametrize("name", HEADS.names)
def test_saved_file_answers_like_the_model(name: str, network: nn.Module, tmp_path: Path) -> None:
    plan = plan_head(network, spec(name), IMAGES, num_classes=5)
    model = apply_head(network, plan)
    base, _ = parse_name("test_resnet")
    model.recipe = Recipe(
        base=base,
        operations=(plan.spec,),
        num_classes=5,
        input=IMAGES,
        provenance=Provenance(covtool_version="0"),
    )
    torch.manual_seed(7)  # what loading draws at random must not matter
    reloaded = load(save(model, tmp_path / "model.safetensors"))
    assert_close(answers(reloaded), answers(model), **EXACT)


@pytest.mark.parametrize("name", [n for n in HEADS.names if n != "gap"])
def test_fused_head_keeps_every_logit(name: str, network: nn.Module) -> None:
    fused = apply_head(network, plan_head(network, spec(name, fuse="gap"), IMAGES))
    # Zeros are added: nothing changes but, for some lengths, the order in which BLAS sums.
    assert_close(answers(fused), answers(network), **FLOAT32)


@pytest.mark.parametrize("fuse", [None, "gap"])
@pytest.mark.parametrize("name", HEADS.names)
def test_calibrated_head_tells_its_own_images_apart(
    name: str, fuse: str | None, network: nn.Module
) -> None:
    if name == "gap" and fuse:
        pytest.skip("the average beside itself")
    reduction = "linear" if HEADS[name].second_order else "none"
    wanted = spec(name, fuse=fuse, reduction=reduction)
    plan = plan_head(network, wanted, IMAGES, num_classes=2, new_classes=True)
    model = apply_head(network, plan).eval()
    labels = torch.tensor([0, 1] * 9)
    images = torch.rand(18, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    images[labels == 1, :, ::2] *= 0.2
    done = calibrate_head_(model, plan, [(images, labels)], num_images=18)
    with torch.no_grad():
        assert (model(images).argmax(dim=1) == labels).double().mean() > 0.8
    assert 0 <= done.left_out_top_1 <= 100


def test_matrix_may_be_taken_whole(network: nn.Module) -> None:
    plan = plan_head(network, spec("isqrt", vec="full"), IMAGES)
    assert plan.pooled_features == 64
    assert apply_head(network, plan).get_submodule(plan.sites.classifier).in_features == 64


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"head": "isqrt", "alpha": 0.3}, "takes no --alpha.*\n.*--iterations.*\n.*mpn, "),
        ({"head": "gap", "vec": "full"}, "takes no --vec"),
        ({"head": "cov", "gradient": "pade"}, "takes no --gradient"),
        ({"head": "mpn", "iterations": 7}, "takes no --iterations"),
    ],
)
def test_option_that_a_head_does_not_take_is_refused(
    asked: dict, message: str, network: nn.Module
) -> None:
    with pytest.raises(SurgeryError, match=message):
        plan_head(network, HeadSpec(dim=8, **asked), IMAGES)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"head": "logm", "gradient": "newton-schulz"}, "square root"),
        ({"head": "mpn", "alpha": 0.3, "gradient": "newton-schulz"}, "square root"),
        ({"head": "mpn", "gradient": "pade", "gradient_order": 1}, "at least 2"),
        ({"head": "mpn", "gradient_order": 3}, "no order"),
    ],
)
def test_gradient_rule_that_does_not_fit_is_refused_before_anything_runs(
    asked: dict, message: str, network: nn.Module
) -> None:
    with pytest.raises(ArgumentError, match=message):
        plan_head(network, HeadSpec(dim=8, **asked), IMAGES)


def test_unknown_head_is_guessed(network: nn.Module) -> None:
    with pytest.raises(UnknownVariantError, match="Did you mean 'bilinear'"):
        plan_head(network, HeadSpec(head="bilinaer"), IMAGES)


def test_hidden_layers_of_a_vgg_may_stay() -> None:
    torch.manual_seed(0)
    model = create_model(parse_name("torchvision:alexnet")[0], num_classes=4)
    images = InputSpec(size=(96, 96))
    plan = plan_head(model, spec("isqrt", hidden="keep", tap="features.11"), images)
    operated = apply_head(model, plan)
    assert plan.widened == "classifier.1"
    assert operated.classifier[1].in_features == plan.pooled_features
    assert torch.equal(operated.classifier[4].weight, model.classifier[4].weight)
    assert operated(BATCH).shape == (6, 4)


def test_hidden_layers_that_are_not_there_cannot_stay(network: nn.Module) -> None:
    with pytest.raises(SurgeryError, match="--hidden"):
        plan_head(network, spec("isqrt", hidden="keep"), IMAGES)
    with pytest.raises(SurgeryError, match="Choose one"):
        plan_head(network, spec("isqrt", hidden="keep", fuse="gap"), IMAGES)
