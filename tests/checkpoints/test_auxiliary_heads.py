"""Auxiliary heads of GoogLeNet and Inception v3 are known, left out, and said to be."""

import pytest
import torch
import torchvision
from families import some_images
from tolerances import EXACT
from torch import nn
from torch.testing import assert_close

from covtool.backbones.create import create_model
from covtool.checkpoints import identify, open_model
from covtool.checkpoints.auxiliary_heads import LEFT_OUT
from covtool.checkpoints.model_file import save
from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe

IMAGES = InputSpec(size=(64, 64))


@pytest.fixture(scope="module")
def googlenet() -> nn.Module:
    """With five classes, and auxiliary heads that still have a thousand."""
    torch.manual_seed(0)
    model = torchvision.models.googlenet(aux_logits=True, init_weights=False).eval()
    model.fc = nn.Linear(1024, 5)
    return model


def answers(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(some_images(IMAGES))


def test_a_checkpoint_with_auxiliary_heads_is_opened_without_them(googlenet, tmp_path) -> None:
    torch.save(googlenet.state_dict(), tmp_path / "birds.pth")
    opened = open_model(tmp_path / "birds.pth")
    assert opened.recipe.base.arguments == {"aux_logits": False}
    assert opened.recipe.num_classes == 5
    assert_close(answers(opened.model), answers(googlenet), **EXACT)
    assert isinstance(opened.model.train()(some_images(IMAGES)), torch.Tensor)
    assert LEFT_OUT in opened.notes
    assert any(note.startswith("Not used of the file: aux") for note in opened.notes)
    assert any("--mean 0.5 --std 0.5" in note for note in opened.notes)


def test_auxiliary_heads_under_other_names_are_left_out_as_well(googlenet, tmp_path) -> None:
    state = {f"net_{n.replace('.', '_', 1)}": t for n, t in googlenet.state_dict().items()}
    torch.save(state, tmp_path / "birds.pth")
    assert identify(tmp_path / "birds.pth", arch="torchvision:googlenet").num_classes == 5
    opened = open_model(tmp_path / "birds.pth", arch="torchvision:googlenet")
    assert_close(answers(opened.model), answers(googlenet), **EXACT)
    assert not any(name.startswith("aux") for name in opened.model.state_dict())


def test_published_weights_change_their_images_as_torchvision_has_them(googlenet, tmp_path) -> None:
    published = tmp_path / "googlenet-1378be20.pth"  # the name in torchvision's own table
    torch.save(googlenet.state_dict(), published)
    opened = open_model(published)
    assert opened.recipe.base.arguments == {"aux_logits": False, "transform_input": True}
    assert opened.model.transform_input
    assert not any("--mean" in note for note in opened.notes)


def test_a_file_of_covtool_that_still_has_them_loses_them(tmp_path) -> None:
    base = BaseSpec(library="torchvision", name="googlenet")
    recipe = Recipe(
        base=base, num_classes=5, input=IMAGES, provenance=Provenance(covtool_version="test")
    )
    model = create_model(base, num_classes=5)
    assert any(name.startswith("aux1.") for name in model.state_dict())
    model.recipe = recipe
    opened = open_model(save(model, tmp_path / "old.safetensors"))
    assert opened.recipe.base.arguments == {"aux_logits": False}
    assert opened.notes == (LEFT_OUT,)
    assert_close(answers(opened.model), answers(model), **EXACT)


def test_a_name_is_built_without_them() -> None:
    opened = open_model("torchvision:googlenet", from_scratch=True)
    assert opened.recipe.base.arguments == {"aux_logits": False}
    assert not any(name.startswith("aux") for name in opened.model.state_dict())
