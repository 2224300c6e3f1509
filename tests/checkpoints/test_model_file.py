"""covtool's own file: the structure comes from the recipe, the tensors come back as they were."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tolerances import EXACT
from torch import nn
from torch.testing import assert_close

from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints.model_file import RECIPE_KEY, is_covtool_file, load, read_recipe, save
from covtool.errors import CheckpointError, OutputExistsError, VerificationError
from covtool.specs import HeadSpec, InputSpec, LastStrideSpec, Provenance, Recipe
from covtool.surgery.rebuild import operate

OPERATIONS = {
    "none": (),
    "isqrt": (HeadSpec(dim=8),),
    "gap": (HeadSpec(head="gap"),),
    "fused": (HeadSpec(dim=8, fuse="gap"),),
    "fused and tapped": (HeadSpec(dim=8, fuse="gap", tap="layer3"),),
    "batch norm": (HeadSpec(dim=8, post_norm="batchnorm", pre_norm="frobenius"),),
    "last stride": (LastStrideSpec(), HeadSpec(dim=8, reduction="linear")),
}


def make_model(operations: tuple = (), name: str = "test_resnet") -> nn.Module:
    torch.manual_seed(0)
    recipe = Recipe(
        base=parse_name(name)[0],
        operations=operations,
        num_classes=5,
        class_names=tuple("abcde"),
        input=InputSpec(size=(96, 96)),
        provenance=Provenance(covtool_version="test"),
    )
    model = create_model(recipe.base, num_classes=5)
    for operation in operations:
        model = operate(model, operation, recipe.input, num_classes=5)
    model.recipe = recipe
    return model.eval()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_saved_model_comes_back_with_its_outputs_and_recipe(name: str, tmp_path) -> None:
    model = make_model(OPERATIONS[name])
    loaded = load(save(model, tmp_path / "model.safetensors"))
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert_close(loaded(images), model(images), **EXACT)
    assert_close(dict(loaded.state_dict()), dict(model.state_dict()), **EXACT)
    assert loaded.recipe == model.recipe
    assert not loaded.training


def test_channels_last_and_half_precision_models_can_be_saved(tmp_path) -> None:
    model = make_model(OPERATIONS["isqrt"]).to(memory_format=torch.channels_last)
    save(model, tmp_path / "last.safetensors")
    assert all(t.is_contiguous() for t in load_file(tmp_path / "last.safetensors").values())
    save(model.half(), tmp_path / "half.safetensors")
    assert next(load(tmp_path / "half.safetensors").parameters()).dtype == torch.float16


def test_existing_files_are_kept_unless_told_otherwise(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match="already exists"):
        save(make_model(), path)
    assert path.read_bytes() == b"precious"
    save(make_model(), path, overwrite=True)
    assert is_covtool_file(path)


def test_nothing_is_left_behind_when_verification_fails(tmp_path) -> None:
    def refuse(path) -> None:
        raise VerificationError("no")

    with pytest.raises(VerificationError):
        save(make_model(), tmp_path / "model.safetensors", verify=refuse)
    assert list(tmp_path.iterdir()) == []


def test_tensors_with_nan_are_saved_as_they_are(tmp_path) -> None:
    model = make_model()
    with torch.no_grad():
        model.fc.weight[0, 0] = float("nan")
    loaded = load(save(model, tmp_path / "model.safetensors"))
    assert loaded.fc.weight[0, 0].isnan()


def test_recipe_is_readable_text_in_the_file(tmp_path) -> None:
    path = save(make_model(OPERATIONS["isqrt"]), tmp_path / "model.safetensors")
    recipe = read_recipe(path)
    assert recipe.base.name == "test_resnet"
    assert recipe.operations[0].head == "isqrt"
    assert recipe.class_names == tuple("abcde")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"version": 99}, "version: Input should be 2"),
        ({"num_classes": 0}, "num_classes: Input should be greater"),
    ],
)
def test_recipes_of_another_schema_are_refused(change: dict, message: str, tmp_path) -> None:
    recipe = make_model().recipe.model_dump(mode="json") | change
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={RECIPE_KEY: json.dumps(recipe)})
    with pytest.raises(CheckpointError, match=message):
        read_recipe(path)


def test_a_file_of_version_1_gives_the_same_model_with_the_same_history(covtool, tmp_path) -> None:
    model = make_model(OPERATIONS["isqrt"])
    new = save(model, tmp_path / "new.safetensors")
    history = [
        "convert a.pth: head isqrt",
        "finetune on cars (--crop boxes): epoch 3 of 30, sgd, lr 0.0005",
        "a line by hand",
    ]
    recipe = model.recipe.model_dump(mode="json")
    provenance = {"covtool_version": "0.1", "history": history, "metrics": [], "untrained": []}
    recipe |= {"version": 1, "provenance": provenance}
    old = tmp_path / "old.safetensors"
    save_file(load_file(new), old, metadata={RECIPE_KEY: json.dumps(recipe)})
    assert_close(dict(load(old).state_dict()), dict(load(new).state_dict()), **EXACT)
    assert load(old).recipe.operations == load(new).recipe.operations
    assert load(old).recipe.provenance.history == tuple(history)
    assert load(save(load(old), tmp_path / "again.safetensors")).recipe == load(old).recipe
    _, out, _ = covtool("inspect", old)
    assert "History\n" + "".join(f"  {line}\n" for line in history) in out
    _, out, _ = covtool("inspect", old, "--json")
    assert json.loads(out)["history"] == history


def test_tensors_that_do_not_fit_the_recipe_are_refused(tmp_path) -> None:
    path = save(make_model(), tmp_path / "model.safetensors")
    tensors = load_file(path)
    tensors["fc.weight"] = torch.zeros(7, 96)
    recipe = read_recipe(path).model_dump(mode="json")
    save_file(tensors, path, metadata={RECIPE_KEY: json.dumps(recipe)})
    with pytest.raises(CheckpointError, match="do not fit its recipe"):
        load(path)


def test_other_files_are_no_covtool_files(tmp_path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    assert not is_covtool_file(path)
    assert not is_covtool_file(tmp_path / "missing.safetensors")
    with pytest.raises(CheckpointError, match="no covtool recipe"):
        load(path)
