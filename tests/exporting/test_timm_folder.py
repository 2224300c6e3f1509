"""Folders for timm: the same model, opened by timm alone, with the same images."""

import json

import pytest
import timm
import torch
from operation_cases import CASES, IMAGES
from safetensors import safe_open

from covtool.errors import ArgumentError, OutputExistsError, VerificationError
from covtool.exporting import timm_folder
from covtool.exporting.timm_folder import require_plain_timm, write_timm_folder
from covtool.specs import BaseSpec, HeadSpec, InputSpec, Provenance, Recipe
from covtool.surgery.describing import attach_recipe
from covtool.surgery.rebuild import rebuild

FILES = {"README.md", "config.json", "model.safetensors"}


def model_of(name, *, arguments=None, operations=(), library="timm", classes=3, **images):
    """A model of random weights, and of the operations of a recipe."""
    torch.manual_seed(0)
    recipe = Recipe(
        base=BaseSpec(library=library, name=name, arguments=arguments or {}),
        operations=operations,
        num_classes=classes,
        class_names=("owl", "wren", "`<b>") if classes == 3 else None,
        input=InputSpec(
            **{"size": (32, 32), "interpolation": "bicubic", "crop_pct": 0.9, **images}
        ),
        provenance=Provenance(covtool_version="0"),
    )
    model = rebuild(recipe)
    for module in model.modules():  # statistics as of a trained network
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    attach_recipe(model, recipe)
    return model.eval()


def assert_timm_opens_it(folder, model):
    images = model.recipe.input
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    batch = torch.rand(2, images.channels, *images.size)
    with torch.no_grad():
        assert torch.allclose(opened(batch), model(batch), rtol=1e-5, atol=1e-6)
    config = timm.data.resolve_data_config(model=opened)
    assert tuple(config["input_size"]) == (images.channels, *images.size)
    for name in ("mean", "std"):
        assert tuple(config[name]) == getattr(images, name)
    assert config["interpolation"] == images.interpolation
    assert config["crop_pct"] == images.crop_pct
    assert config["crop_mode"] == images.crop_mode
    return opened


GRAY = {"channels": 1, "mean": (0.5,), "std": (0.25,)}
PLAIN = {
    "resnet": {"name": "test_resnet"},
    "efficientnet": {"name": "test_efficientnet", "crop_mode": "squash"},
    "convnext": {"name": "test_convnext", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)},
    "mobilenet v3, of layers behind the pooling": {
        "name": "mobilenetv3_small_050",
        "size": (64, 64),
    },
    "vit": {"name": "test_vit", "size": (160, 160)},
    "vit of another size": {
        "name": "test_vit",
        "size": (64, 96),
        "arguments": {"img_size": [64, 96]},
    },
    "vit that averages": {
        "name": "test_vit",
        "size": (160, 160),
        "arguments": {"global_pool": "avg"},
    },
    "resnet of two poolings": {"name": "test_resnet", "arguments": {"global_pool": "catavgmax"}},
    "gray": {"name": "test_resnet", "arguments": {"in_chans": 1}, **GRAY},
    "byobnet": {"name": "test_byobnet"},
    "nfnet": {"name": "test_nfnet"},
    "one class": {"name": "test_resnet", "classes": 1},
}


@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_timm_opens_the_folder_as_the_same_model(case, tmp_path):
    model = model_of(**case)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folder = write_timm_folder(model, tmp_path / "net")
    assert {path.name for path in folder.iterdir()} == FILES
    assert_timm_opens_it(folder, model)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert {path.name for path in tmp_path.iterdir()} == {"net"}


def test_the_configuration_has_the_classes_and_nothing_of_other_weights(tmp_path):
    folder = write_timm_folder(model_of("test_resnet"), tmp_path / "net")
    config = json.loads((folder / "config.json").read_text())
    assert config["label_names"] == ["owl", "wren", "`<b>"]
    assert not {"url", "hf_hub_id", "tag", "license"} & set(config["pretrained_cfg"])
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert list(opened.pretrained_cfg["label_names"]) == ["owl", "wren", "`<b>"]
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(opened.state_dict())
        assert file.metadata() == {"format": "pt"}
    card = (folder / "README.md").read_text()
    assert "library_name: timm" in card
    assert "local-dir:FOLDER" in card


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_a_gap_head_of_the_networks_own_average_is_plain(name, tmp_path):
    head = HeadSpec(head="gap", reduction="none", own_average=True, tap=None)
    model = model_of(name, operations=(head,))
    assert_timm_opens_it(write_timm_folder(model, tmp_path / "net"), model)


def test_half_precision_is_kept_in_the_file(tmp_path):
    model = model_of("test_resnet").half()
    folder = write_timm_folder(model, tmp_path / "net")
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.get_tensor("fc.weight").dtype is torch.float16
    opened = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert torch.equal(opened.fc.weight, model.fc.weight.float())


NOT_PLAIN = {
    "torchvision": ({"name": "squeezenet1_1", "library": "torchvision"}, "torchvision"),
    "isqrt": ({"name": "test_resnet", "operations": (HeadSpec(dim=8),)}, "head is isqrt"),
    "a fused head": (
        {"name": "test_resnet", "operations": (HeadSpec(dim=8, fuse="gap"),)},
        "head is isqrt",
    ),
    "a tap": (
        {"name": "test_resnet", "operations": (HeadSpec(head="gap", tap="layer3"),)},
        "another map",
    ),
    "a reduction": (
        {"name": "test_resnet", "operations": (HeadSpec(head="gap", dim=8, reduction="linear"),)},
        "reduces",
    ),
}


@pytest.mark.parametrize("case, reason", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_timm_cannot_build_is_refused_with_the_reason(case, reason, tmp_path):
    model = model_of(**case)
    with pytest.raises(ArgumentError, match="timm cannot open") as caught:
        write_timm_folder(model, tmp_path / "net")
    assert reason in caught.value.reason
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_no_operation_but_a_plain_average_is_timms(case):
    operations = (case.spec,)
    recipe = Recipe(
        base=case.base,
        operations=operations,
        num_classes=5,
        input=IMAGES,
        provenance=Provenance(covtool_version="0"),
    )
    model = rebuild(recipe)
    attach_recipe(model, recipe)
    with pytest.raises(ArgumentError) as caught:
        require_plain_timm(model)
    assert "does not build" in caught.value.reason


def test_tensors_that_timm_does_not_have_are_noticed():
    model = model_of("test_resnet")
    model.fc = torch.nn.Linear(model.fc.in_features, 3, bias=False)
    with pytest.raises(ArgumentError) as caught:
        require_plain_timm(model)
    assert "fc.bias" in caught.value.reason


def test_a_folder_is_replaced_only_on_request_and_only_one_of_its_kind(tmp_path):
    folder = write_timm_folder(model_of("test_resnet"), tmp_path / "net")
    other = model_of("test_efficientnet")
    with pytest.raises(OutputExistsError):
        write_timm_folder(other, folder)
    assert "test_resnet" in (folder / "config.json").read_text()
    write_timm_folder(other, folder, overwrite=True)
    assert_timm_opens_it(folder, other)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ArgumentError, match="not a folder that covtool wrote"):
        write_timm_folder(other, folder, overwrite=True)
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert {path.name for path in tmp_path.iterdir()} == {"net"}


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "net").mkdir()
    write_timm_folder(model_of("test_resnet"), tmp_path / "net")
    assert {path.name for path in (tmp_path / "net").iterdir()} == FILES


def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path):
    model = model_of("test_resnet")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name, words in (("file", "no folder"), ("link", "a link"), ("a/b", "no folder")):
        with pytest.raises(ArgumentError, match=words):
            write_timm_folder(model, tmp_path / name, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


def _answers_otherwise(opened):
    opened.register_forward_hook(lambda module, given, answer: answer + 1)
    return opened


def _has_other_weights(opened):
    with torch.no_grad():
        opened.fc.weight += 1
    return opened


@pytest.mark.parametrize("change", [_answers_otherwise, _has_other_weights])
def test_nothing_is_left_where_timm_opens_another_model(change, tmp_path, monkeypatch):
    opens = timm_folder.open_timm_folder
    monkeypatch.setattr(timm_folder, "open_timm_folder", lambda folder: change(opens(folder)))
    with pytest.raises(VerificationError):
        write_timm_folder(model_of("test_resnet"), tmp_path / "net")
    assert not any(tmp_path.iterdir())


def test_what_timm_cannot_open_is_an_error_of_verification(tmp_path, monkeypatch):
    broken = {"architecture": "no_such_network", "pretrained_cfg": {}}
    monkeypatch.setattr(timm_folder, "timm_config", lambda recipe: broken)
    with pytest.raises(VerificationError, match="timm does not open"):
        write_timm_folder(model_of("test_resnet"), tmp_path / "net")
    assert not any(tmp_path.iterdir())
