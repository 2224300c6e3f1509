"""Other images than a file was made for: said, marked on the figure, refused where none can be."""

import json

import pytest
import torch
from families import some_images
from torch import nn
from torch.testing import assert_close
from toy_data import write_toy_data

from covtool.backbones.create import create_model
from covtool.backbones.image_size import take_size_
from covtool.checkpoints import load, open_model, save
from covtool.checkpoints.other_images import LARGEST, SMALLEST, compare_images
from covtool.errors import ArgumentError, CheckpointError, SurgeryError
from covtool.specs import BaseSpec, HeadSpec, InputSpec, Provenance, Recipe
from covtool.surgery.rebuild import rebuild

MADE = InputSpec(size=(96, 96))


ISQRT = (HeadSpec(dim=8),)
RESNET = BaseSpec(library="timm", name="test_resnet")
VIT = BaseSpec(
    library="timm",
    name="vit_tiny_patch16_224",
    arguments={"depth": 1, "embed_dim": 16, "num_heads": 2},
)


def written(folder, base=RESNET, images=MADE, operations=ISQRT):
    recipe = Recipe(
        base=base,
        operations=operations,
        num_classes=3,
        class_names=("blue", "green", "red"),
        input=images,
        provenance=Provenance(covtool_version="test"),
    )
    torch.manual_seed(0)
    model = rebuild(recipe)
    model.recipe = recipe
    return save(model, folder / "own.safetensors", overwrite=True)


@pytest.mark.parametrize(
    ("used", "words", "is_far"),
    [
        ({"size": (64, 64)}, "64x64 instead of 96x96 (0.67 times the side)", True),
        ({"size": (128, 128)}, "128x128 instead of 96x96 (1.3 times the side)", False),
        ({"size": (88, 96)}, "88x96 instead of 96x96", False),
        ({"mean": (0.5,) * 3}, "--mean 0.5,0.5,0.5 instead of 0.485,0.456,0.406", True),
        ({"std": (0.5,) * 3}, "--std 0.5,0.5,0.5 instead of 0.229,0.224,0.225", True),
    ],
)
def test_what_differs_from_what_a_file_was_made_for_is_said(used, words, is_far, tmp_path) -> None:
    opened = open_model(written(tmp_path), input=used)
    assert any(words in note for note in opened.notes)
    assert opened.is_far == is_far


def test_the_same_images_are_no_other_ones(tmp_path) -> None:
    for overrides in ({}, {"size": (96, 96)}, {"crop_pct": 1.0}):
        opened = open_model(written(tmp_path), input=overrides)
        assert opened.notes == ()
        assert not opened.is_far


def test_smaller_images_are_far_sooner_than_larger_ones() -> None:
    def is_far(ratio: float) -> bool:
        side = round(100 * ratio)
        return compare_images(InputSpec(size=(100, 100)), InputSpec(size=(side, side))).is_far

    assert [is_far(SMALLEST), is_far(LARGEST)] == [False, False]
    assert [is_far(SMALLEST - 0.01), is_far(LARGEST + 0.01)] == [True, True]


def test_a_map_of_one_position_is_refused_for_covariances_only(tmp_path) -> None:
    tiny = {"size": (16, 16)}
    with pytest.raises(SurgeryError, match="At 16x16 pixels the map that the head isqrt pools"):
        open_model(written(tmp_path), input=tiny)
    average = written(tmp_path, operations=(HeadSpec(head="gap"),))
    assert open_model(average, input=tiny).is_far


def test_position_embeddings_are_resampled_and_the_file_says_so(tmp_path) -> None:
    path = written(tmp_path, VIT, InputSpec(size=(224, 224)))
    opened = open_model(path, input={"size": (96, 96)})
    assert opened.recipe.base.arguments == {**VIT.arguments, "img_size": [96, 96]}
    assert any("position embeddings are resampled" in note for note in opened.notes)
    again = load(save(opened.model, tmp_path / "again.safetensors"))
    batch = some_images(InputSpec(size=(96, 96)))
    with torch.no_grad():
        assert_close(again(batch), opened.model(batch))


def test_a_name_takes_other_sizes_as_well() -> None:
    opened = open_model("vit_tiny_patch16_224", from_scratch=True, input={"size": (96, 96)})
    assert opened.model(some_images(opened.recipe.input)).shape == (2, 1000)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vgg11"])
def test_a_size_that_an_architecture_does_not_take_is_refused(name: str) -> None:
    base = BaseSpec(library="timm", name=name)
    with torch.device("meta"):
        structure = create_model(base, num_classes=2)
    model = structure.to_empty(device="cpu")
    with pytest.raises(ArgumentError, match=f"{name} does not take images of 30x30"):
        take_size_(model, base, (30, 30), 3)


def test_figures_on_far_images_are_marked(covtool, tmp_path) -> None:
    path, data = written(tmp_path), write_toy_data(tmp_path / "toy", train=1, val=2)
    arguments = ("evaluate", path, "--data", data, "-j", 0)
    code, out, _ = covtool(*arguments, "--img-size", 64)
    assert code == 0
    assert "Evaluated, FAR FROM THE IMAGES THAT THE FILE WAS MADE FOR" in out
    _, out, err = covtool(*arguments, "--img-size", 64, "--json")
    assert json.loads(out)["far_from_training"] is True
    assert "64x64 instead of 96x96" in err
    _, out, _ = covtool(*arguments, "--json")
    assert json.loads(out)["far_from_training"] is False


def test_features_of_a_single_position_end_with_2(covtool, tmp_path) -> None:
    path, data = written(tmp_path), write_toy_data(tmp_path / "toy", train=1, val=2)
    code, _, err = covtool("embed", path, data, "-o", "f.npz", "-j", 0, "--img-size", 16)
    assert code == 2
    assert "One position has no covariance" in err


def test_weights_that_are_no_numbers_are_refused_with_their_names(covtool, tmp_path) -> None:
    model = load(written(tmp_path))
    with torch.no_grad():
        nn.init.constant_(model.fc.bias, torch.inf)
        model.conv1[0].weight[0, 0, 0] = torch.nan
    path = save(model, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError, match="in 2 tensors") as caught:
        open_model(path)
    assert "conv1.0.weight (3 of 432)" in caught.value.reason
    assert "fc.bias (3 of 3)" in caught.value.reason
    data = write_toy_data(tmp_path / "toy", train=1, val=1)
    for command in (
        ("evaluate", path, "--data", data),
        ("embed", path, data, "-o", "f.npz"),
        ("convert", path, "--conv", "tanh"),
        ("finetune", path, "--data", data),
    ):
        code, _, err = covtool(*command)
        assert code == 3, command
        assert "fc.bias (3 of 3)" in err
    code, _, err = covtool("inspect", path)
    assert code == 0
    assert "conv1.0.weight" in err
