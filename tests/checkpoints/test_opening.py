import pytest
import timm
import torch
from checkpoint_files import prefixed, shapes_only, tiny_model
from safetensors.torch import save_file

import covtool
from covtool.checkpoints import open_model
from covtool.errors import CheckpointError, UnrecognizedCheckpointError


@pytest.fixture(scope="module")
def model():
    return tiny_model(num_classes=7)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def checkpoint(tmp_path, model):
    path = tmp_path / "test_resnet_birds.pth"
    torch.save({"state_dict": prefixed(model.state_dict(), "module.")}, path)
    return path


def assert_same_outputs(one, other, images):
    with torch.no_grad():
        assert torch.equal(one(images), other(images))


def test_a_checkpoint_becomes_the_model_that_it_came_from(checkpoint, model, images):
    opened = open_model(checkpoint)
    assert not opened.model.training
    assert_same_outputs(opened.model, model, images)
    state = opened.model.state_dict()
    assert all(torch.equal(state[name], t) for name, t in model.state_dict().items())


def test_the_recipe_says_what_was_opened(checkpoint):
    opened = open_model(str(checkpoint))
    recipe = opened.recipe
    assert opened.model.recipe is recipe
    assert (recipe.base.library, recipe.base.name) == ("timm", "test_resnet")
    assert (recipe.num_classes, recipe.operations, recipe.class_names) == (7, (), None)
    assert recipe.provenance.source == checkpoint.name
    assert recipe.provenance.source_sha256 == opened.checkpoint.sha256
    assert opened.checkpoint.prefix == "module."


def test_tensors_under_other_names_are_loaded_by_their_order(tmp_path, model, images):
    modules: dict[str, str] = {}
    state = {}
    for name, tensor in model.state_dict().items():
        module, _, leaf = name.rpartition(".")
        state[f"{modules.setdefault(module, f'part{len(modules)}')}.{leaf}"] = tensor
    torch.save(state, tmp_path / "test_resnet.pth")
    opened = open_model(tmp_path / "test_resnet.pth")
    assert opened.identification.match == "order"
    assert "by the order of shapes" in opened.notes[0]
    assert_same_outputs(opened.model, model, images)


def test_a_file_without_a_classifier_gets_a_new_one_and_says_so(tmp_path, model):
    state = {n: t for n, t in model.state_dict().items() if not n.startswith("fc.")}
    torch.save(state, tmp_path / "test_resnet.pth")
    assert open_model(tmp_path / "test_resnet.pth").recipe.num_classes == 1000
    opened = open_model(tmp_path / "test_resnet.pth", num_classes=5)
    assert opened.recipe.num_classes == opened.model.num_classes == 5
    assert any("no classifier: a new one for 5 classes" in note for note in opened.notes)
    fresh = opened.model.state_dict()
    assert all(torch.equal(fresh[name], tensor) for name, tensor in state.items())


def test_another_number_of_classes_makes_a_new_classifier_and_says_so(checkpoint, model):
    opened = open_model(checkpoint, num_classes=3)
    assert opened.model.fc.out_features == 3
    assert any("classifier for 7 classes is replaced" in note for note in opened.notes)
    name = next(iter(model.state_dict()))
    assert torch.equal(opened.model.state_dict()[name], model.state_dict()[name])


def test_other_input_channels_are_kept(tmp_path):
    torch.save(tiny_model(in_chans=1).state_dict(), tmp_path / "gray.pth")
    recipe = open_model(tmp_path / "gray.pth", arch="test_resnet").recipe
    assert recipe.base.arguments == {"in_chans": 1}
    assert recipe.input.channels == 1
    assert len(recipe.input.mean) == len(recipe.input.std) == 1


def test_torchvision_cannot_take_other_input_channels(tmp_path):
    with torch.device("meta"):
        state = shapes_only(timm.create_model("resnet18", in_chans=4))
    torch.save(state, tmp_path / "four.pth")
    with pytest.raises(CheckpointError, match="images of 4 channels"):
        open_model(tmp_path / "four.pth", arch="torchvision:resnet18")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_and_it_is_said(tmp_path, model, dtype):
    state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in model.state_dict().items()}
    save_file(state, tmp_path / "test_resnet.safetensors")
    opened = open_model(tmp_path / "test_resnet.safetensors")
    assert any("float16 are loaded as float32" in note for note in opened.notes)
    assert torch.equal(opened.model.fc.weight.detach(), state["fc.weight"].float())


def test_ignored_entries_are_named(tmp_path, model):
    state = {**prefixed(model.state_dict(), "model."), "loss.weight": torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "test_resnet.ckpt")
    notes = open_model(tmp_path / "test_resnet.ckpt").notes
    assert "Not used of the file: loss.weight (1 in all)." in notes


def test_the_images_can_be_told(checkpoint):
    told = {"mean": (0.5,), "size": (64, 64)}
    images = open_model(checkpoint, input=told).recipe.input
    assert (images.mean, images.size) == ((0.5,), (64, 64))


def test_an_unknown_architecture_is_refused_with_the_nearest(tmp_path, model):
    state = dict(model.state_dict())
    state["layer1.0.conv1.weight"] = torch.zeros(7, 3)
    torch.save(state, tmp_path / "test_resnet.pth")
    with pytest.raises(UnrecognizedCheckpointError, match="of no architecture") as caught:
        open_model(tmp_path / "test_resnet.pth")
    assert caught.value.reason.count("%") >= 1  # what shares less than half is not near
    assert "test_resnet" in caught.value.reason
    assert "--arch" in caught.value.hint


def test_tensors_of_nothing_known_are_refused(tmp_path):
    torch.save({"a": torch.zeros(12345, 7)}, tmp_path / "odd.pth")
    with pytest.raises(UnrecognizedCheckpointError, match="Not one of its tensors"):
        open_model(tmp_path / "odd.pth")


def test_an_architecture_by_name_starts_from_scratch_where_it_is_told_to():
    opened = open_model("test_resnet.r160_in1k", from_scratch=True, num_classes=4)
    assert (opened.recipe.base.name, opened.recipe.num_classes) == ("test_resnet", 4)
    assert opened.recipe.provenance.source == "test_resnet.r160_in1k"
    assert opened.checkpoint is None
    assert any("random" in note for note in opened.notes)


def test_torchvisions_models_have_a_prefix():
    opened = open_model("torchvision:squeezenet1_1", from_scratch=True)
    assert (opened.recipe.base.library, opened.recipe.num_classes) == ("torchvision", 1000)


@pytest.mark.parametrize("name", ["test_resnet", "hf-hub:timm/some_model"])
def test_without_a_network_it_is_said_what_to_do(name, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=f"weights of {name} cannot be fetched") as caught:
        open_model(name)
    assert "pass its path" in caught.value.hint


@pytest.mark.parametrize("name", ["resnet5O", "torchvision:resnet5O"])
def test_what_is_neither_a_file_nor_a_name_gets_suggestions(name):
    with pytest.raises(CheckpointError, match="resnet5O") as caught:
        open_model(name)
    assert "resnet50" in str(caught.value)


def test_a_name_that_looks_like_a_path_is_taken_for_one(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        open_model(tmp_path / "nowhere" / "resnet50.pth")
    with pytest.raises(CheckpointError, match="does not exist"):
        open_model("resnet50.pth")


def test_a_covtool_file_is_opened_as_what_it_is(tmp_path, checkpoint, images):
    opened = open_model(checkpoint)
    covtool.save(opened.model, tmp_path / "own.safetensors")
    again = open_model(tmp_path / "own.safetensors", input={"crop_pct": 1.0})
    assert again.checkpoint.format == "covtool"
    assert again.recipe.provenance == opened.recipe.provenance
    assert again.recipe.input.crop_pct == 1.0
    assert_same_outputs(again.model, opened.model, images)
    with pytest.raises(CheckpointError, match="does not fit resnet18"):
        open_model(tmp_path / "own.safetensors", arch="resnet18")


def test_a_pretrained_tag_must_exist(checkpoint):
    with pytest.raises(CheckpointError, match="pretrained tag of test_resnet named 'nope'"):
        open_model("test_resnet.nope")
    with pytest.raises(CheckpointError, match="pretrained tag of test_resnet named 'nope'"):
        open_model(checkpoint, arch="test_resnet.nope")
    assert open_model(checkpoint, arch="test_resnet.r160_in1k").recipe.base.name == "test_resnet"
