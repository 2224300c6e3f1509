"""Models are counted on the meta device: as large as they are, and operated on as they are."""

import pytest
import torch
from families import FAMILIES, family
from torch import nn

from covtool.backbones import create
from covtool.backbones.convolutions import find_convolutions
from covtool.backbones.create import create_model, create_skeleton, parse_name
from covtool.backbones.model_size import activation_bytes, tensor_bytes, without_weights
from covtool.backbones.sites import find_sites
from covtool.errors import ArgumentError, CheckpointError
from covtool.free_memory import free_memory
from covtool.model_limit import largest_model, models_up_to
from covtool.specs import BaseSpec
from covtool.specs.base_arguments import ARGUMENTS, LARGEST_SIDE, base_problem

RESNET = BaseSpec(library="timm", name="test_resnet")


LARGE = {"vgg11", "swin_tiny_patch4_window7_224", "densenet121", "regnetx_002"} | {
    f"torchvision:{name}"
    for name in ("vgg11", "swin_t", "vit_b_16", "convnext_tiny", "densenet121", "efficientnet_b0")
}
"""Families whose smallest member takes seconds; their layers are those of the others."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LARGE)) for n in FAMILIES]
)
def test_a_skeleton_is_as_large_as_its_model_and_has_the_same_places(name):
    model, images = family(name)
    skeleton = create_skeleton(parse_name(name)[0], num_classes=11)
    assert all(t.is_meta for t in [*skeleton.parameters(), *skeleton.buffers()])
    assert {n: t.shape for n, t in skeleton.state_dict().items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }
    assert tensor_bytes(skeleton) == tensor_bytes(model)
    with without_weights():
        places = find_sites(skeleton, images.size), find_convolutions(skeleton, images.size, 3)
    assert places == (find_sites(model, images.size), find_convolutions(model, images.size, 3))


def test_counting_leaves_the_random_state_and_the_model_as_they_are():
    model = create_model(RESNET, num_classes=3)
    before, state = torch.get_rng_state(), {n: t.clone() for n, t in model.state_dict().items()}
    create_skeleton(RESNET, num_classes=3)
    activation_bytes(model, 3, (32, 32))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())


def test_activations_are_those_of_every_module_once():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(inplace=True)), nn.Flatten())
    assert activation_bytes(model, 3, (8, 4)) == 4 * 5 * 8 * 4
    with pytest.raises(ArgumentError, match="does not run on images of 4x8x4"):
        activation_bytes(model, 4, (8, 4))


def test_a_model_beyond_the_limit_is_refused_with_both_numbers():
    with (
        models_up_to(1_000_000),
        pytest.raises(CheckpointError, match=r"1\.5 MB, and at most 1\.0"),
    ):
        create_model(RESNET, num_classes=3)
    enough = BaseSpec(library="timm", name="vit_base_patch16_224", arguments={"img_size": 4096})
    with models_up_to(400_000_000), pytest.raises(CheckpointError, match="max-model-size"):
        create_model(enough, num_classes=3)


def test_the_limit_is_what_the_machine_has_free_unless_it_is_said():
    free = free_memory()
    assert largest_model() == pytest.approx(free, rel=0.5) if free else largest_model() is None
    with models_up_to(5):
        assert largest_model() == 5
        with models_up_to(None):
            assert largest_model() != 5


@pytest.mark.parametrize("library", ARGUMENTS)
def test_every_argument_has_bounds_and_refuses_other_types(library):
    for name in ARGUMENTS[library]:
        for value in ({}, {"a": 1}, [[1]], "junk", float("nan"), float("inf"), -1, 10**12):
            problem = base_problem(library, "resnet50", {name: value})
            assert problem and "\n" not in problem, (name, value)


@pytest.mark.parametrize("size", [LARGEST_SIDE + 1, [224, LARGEST_SIDE + 1], 0])
def test_image_sizes_of_an_architecture_are_bounded(size):
    assert "img_size" in base_problem("timm", "vit_base_patch16_224", {"img_size": size})


def test_a_name_with_other_characters_is_none():
    for name in ("hf-hub:a/b", "local-dir:x", "a/b", "a\n", "a b", "", "a.b.c", "ä", "a" * 300):
        assert "is not a name" in base_problem("timm", name, {})


def test_a_structure_that_takes_minutes_to_make_is_refused_in_seconds(monkeypatch):
    monkeypatch.setattr(create, "MOST_CALLS", 5_000)
    tables = BaseSpec(library="timm", name="maxvit_tiny_tf_224", arguments={"img_size": 4096})
    with pytest.raises(ArgumentError, match="calls of torch"):
        create_skeleton(tables, num_classes=3)
