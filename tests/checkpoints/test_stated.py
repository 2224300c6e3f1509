"""What a file, its name and its folder say, from the file on the disk to the recipe."""

import json
from argparse import Namespace

import pytest
import timm
import torch
import yaml
from checkpoint_files import prefixed, shapes_only, tiny_model
from safetensors.torch import save_file

from covtool.backbones import pretrained
from covtool.checkpoints import open_model, opening
from covtool.checkpoints.foreign import read_checkpoint

UNNORMALIZED = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@pytest.fixture(scope="module")
def state():
    return tiny_model(num_classes=3).state_dict()


def saved(folder, content, name="net.pth"):
    folder.mkdir(parents=True, exist_ok=True)
    if name.endswith(".safetensors"):
        save_file(content, folder / name)
    else:
        torch.save(content, folder / name)
    return folder / name


def written(folder, name, content):
    text = yaml.safe_dump(content) if name.endswith("yaml") else json.dumps(content)
    (folder / name).write_text(text)


def assert_unnormalized(opened):
    images = opened.recipe.input
    assert (images.mean, images.std) == (UNNORMALIZED["mean"], UNNORMALIZED["std"])


def notes(opened):
    return "\n".join(opened.notes)


def test_timms_arguments_in_a_training_checkpoint_are_used_and_noted(tmp_path, state):
    args = Namespace(model="test_resnet", img_size=None, interpolation="", crop_pct=0.75)
    args.mean, args.std = [0.0] * 3, [1.0] * 3
    opened = open_model(saved(tmp_path, {"arch": "test_resnet", "state_dict": state, "args": args}))
    assert_unnormalized(opened)
    assert opened.recipe.input.crop_pct == 0.75
    assert "crop 0.75, mean 0, std 1 (the file itself)" in notes(opened)
    assert "Assumed" not in notes(opened)  # timm's script leaves the rest to timm


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_hubs_configuration_beside_the_weights_is_used_and_noted(tmp_path, state, name):
    path = saved(tmp_path, state, name)
    config = {"input_size": [3, 96, 96], "interpolation": "bilinear", "crop_pct": 0.8}
    config |= {"crop_mode": "border", "mean": [0.0] * 3, "std": [1.0] * 3}
    written(tmp_path, "config.json", {"architecture": "test_resnet", "pretrained_cfg": config})
    opened = open_model(path)
    assert_unnormalized(opened)
    images = opened.recipe.input
    assert (images.size, images.crop_mode, images.crop_pct) == ((96, 96), "border", 0.8)
    assert "Assumed" not in notes(opened)


def test_the_file_is_trusted_more_than_its_folder_and_the_difference_is_said(tmp_path, state):
    args = {"mean": [0.0] * 3, "std": [1.0] * 3}
    path = saved(tmp_path, {"state_dict": state, "args": args})
    written(tmp_path, "config.json", {"architecture": "test_resnet", "mean": [0.25] * 3})
    opened = open_model(path)
    assert_unnormalized(opened)
    assert "Mean 0.25 in config.json is not used: the file itself says mean 0." in notes(opened)


def test_a_configuration_of_another_architecture_is_not_believed(tmp_path, state):
    path = saved(tmp_path, state)
    written(tmp_path, "config.json", {"architecture": "resnet50", "mean": [0.0] * 3})
    opened = open_model(path, arch="test_resnet")
    assert opened.recipe.input.mean != UNNORMALIZED["mean"]
    assert "Not used: config.json, which is about resnet50" in notes(opened)


def test_transformers_processor_and_class_names_beside_the_weights_are_read(tmp_path, state):
    path = saved(tmp_path, state, "model.safetensors")
    labels = {"2": "c", "0": "z", "1": "a"}
    written(tmp_path, "config.json", {"model_type": "resnet", "id2label": labels})
    processor = {"size": {"shortest_edge": 120}, "do_center_crop": True, "crop_size": 96}
    processor |= {"resample": 1, "do_normalize": False}
    written(tmp_path, "preprocessor_config.json", processor)
    recipe = open_model(path, arch="test_resnet").recipe
    assert recipe.class_names == ("z", "a", "c")
    images = recipe.input
    assert (images.size, images.crop_pct, images.interpolation) == ((96, 96), 0.8, "lanczos")
    assert set(images.mean) == {0.0}
    assert set(images.std) == {1.0}


def test_arguments_of_a_run_beside_its_checkpoint_are_read(tmp_path, state):
    path = saved(tmp_path, {"state_dict": state}, "model_best.pth.tar")
    written(tmp_path, "args.yaml", {"model": "test_resnet", "mean": [0.0] * 3, "std": [1.0] * 3})
    assert_unnormalized(open_model(path))


def test_hyper_parameters_of_lightning_are_read(tmp_path, state):
    content = {
        "pytorch-lightning_version": "2.4.0",
        "state_dict": prefixed(state, "model."),
        "hyper_parameters": {"model": {"model_name": "test_resnet"}, "class_names": list("bca")},
        "datamodule_hyper_parameters": {"image_size": 64, "mean": [0.0] * 3, "std": [1.0] * 3},
    }
    opened = open_model(saved(tmp_path, content, "epoch=9.ckpt"))
    assert_unnormalized(opened)
    assert opened.recipe.input.size == (64, 64)
    assert opened.recipe.class_names == ("b", "c", "a")
    assert "The 3 classes are named by the file itself." in notes(opened)


def test_metadata_of_safetensors_are_read(tmp_path, state):
    metadata = {"format": "pt", "classes": '["b", "c", "a"]', "mean": "[0, 0, 0]", "std": "[1,1,1]"}
    save_file(state, tmp_path / "net.safetensors", metadata=metadata)
    opened = open_model(tmp_path / "net.safetensors", arch="test_resnet")
    assert_unnormalized(opened)
    assert opened.recipe.class_names == ("b", "c", "a")


def test_what_is_assumed_is_one_line_and_flags_take_it_out(tmp_path, state):
    path = saved(tmp_path, state, "mine.pth")
    (assumed,) = [n for n in open_model(path, arch="test_resnet").notes if "Assumed" in n]
    assert (
        "160 px, crop 0.95, bilinear, mean 0.5, std 0.5 (timm's test_resnet.r160_in1k)" in assumed
    )
    told = {"mean": (0.1,), "std": (0.1,), "size": (64, 64)}
    (assumed,) = [
        n for n in open_model(path, arch="test_resnet", input=told).notes if "Assumed" in n
    ]
    assert "crop 0.95, bilinear (timm's" in assumed
    told |= {"crop_pct": 1.0, "interpolation": "bicubic"}
    opened = open_model(path, arch="test_resnet", input=told)
    assert "Assumed" not in notes(opened)


def test_a_tag_that_the_user_names_tells_the_images(tmp_path, state):
    opened = open_model(saved(tmp_path, state), arch="test_resnet.r160_in1k")
    assert "timm's own, as --arch says" in notes(opened)
    assert "Assumed" not in notes(opened)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        (".", "test_resnet.r160_in1k.safetensors"),
        ("timm_test_resnet.r160_in1k", "model.safetensors"),
        ("models--timm--test_resnet.r160_in1k/snapshots/0a1b2c3d4e", "model.safetensors"),
    ],
)
def test_published_names_of_files_and_folders_are_read(tmp_path, state, folder, name):
    path = saved(tmp_path / folder, state, name)
    opened = open_model(path)
    assert opened.recipe.base.name == "test_resnet"
    assert "test_resnet.r160_in1k" in notes(opened)
    assert "Assumed" not in notes(opened)


@pytest.mark.parametrize(
    ("name", "architecture", "size", "crop", "resampling", "mean"),
    [
        ("resnet50-0676ba61.pth", "resnet50", 224, 0.875, "bilinear", 0.485),
        ("resnet50-11ad3fa6.pth", "resnet50", 224, 224 / 232, "bilinear", 0.485),
        ("vit_small_patch16_224.dino.pth", "vit_small_patch16_224", 224, 0.9, "bicubic", 0.485),
        ("dino_deitsmall16_pretrain.pth", "vit_small_patch16_224", 224, 0.9, "bicubic", 0.485),
        ("tf_efficientnet_b0_ap-f262efe1.pth", "tf_efficientnet_b0", 224, 0.875, "bicubic", 0.5),
    ],
)
def test_published_files_have_the_images_of_their_weights(
    tmp_path, name, architecture, size, crop, resampling, mean
):
    classes = 0 if "dino" in name else 1000
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=classes)
    opened = open_model(saved(tmp_path, shapes_only(model), name))
    images = opened.recipe.input
    assert opened.recipe.base.name == architecture
    assert (images.size, images.interpolation, images.mean[0]) == ((size, size), resampling, mean)
    assert images.crop_pct == pytest.approx(crop)
    assert f"(the name {name})" in notes(opened)
    assert "Assumed" not in notes(opened)


def test_names_that_do_not_fit_the_classifier_are_said_and_not_used(tmp_path, state):
    path = saved(tmp_path, {"state_dict": state, "classes": ["a", "b"]})
    opened = open_model(path, arch="test_resnet")
    assert opened.recipe.class_names is None
    assert "names 2 classes, the classifier has 3 outputs" in notes(opened)
    path = saved(tmp_path, {"state_dict": state, "class_to_idx": {"a": 0, "b": 1, "c": 1}})
    opened = open_model(path, arch="test_resnet")
    assert opened.recipe.class_names is None
    assert "Class names under 'class_to_idx' are not used" in notes(opened)


def test_a_new_classifier_has_none_of_the_files_names(tmp_path, state):
    path = saved(tmp_path, {"state_dict": state, "classes": ["a", "b", "c"]})
    assert open_model(path, arch="test_resnet", num_classes=4).recipe.class_names is None


def test_a_list_of_classes_of_another_length_is_said(tmp_path, state):
    path = saved(tmp_path, state)
    (tmp_path / "classes.txt").write_text("one\ntwo\n")
    opened = open_model(path, arch="test_resnet")
    assert opened.recipe.class_names is None
    assert "classes.txt names 2 classes, the classifier has 3 outputs" in notes(opened)


def test_a_list_of_classes_beside_the_file_names_them_where_it_fits(tmp_path, state):
    path = saved(tmp_path, state)
    (tmp_path / "labels.txt").write_text("one\ntwo\n")  # of something else
    (tmp_path / "classes.txt").write_text("2 two\n0 zero\n1 one\n")
    opened = open_model(path, arch="test_resnet")
    assert opened.recipe.class_names == ("zero", "one", "two")
    assert "named by classes.txt" in notes(opened)
    (tmp_path / "class_names.txt").write_text("x\ny\nz\n")
    opened = open_model(path, arch="test_resnet")
    assert opened.recipe.class_names is None
    assert "name the classes differently" in notes(opened)


@pytest.mark.parametrize(
    ("channels", "mean"),
    [(1, (0.2,)), (2, (0.2, 0.2)), (4, (0.1, 0.2, 0.3, 0.2)), (5, (0.1, 0.2, 0.3, 0.2, 0.2))],
)
def test_other_channels_than_rgb_have_statistics_that_make_sense(tmp_path, channels, mean):
    content = tiny_model(in_chans=channels).state_dict()
    args = {"mean": [0.1, 0.2, 0.3], "std": [0.1, 0.2, 0.3]}
    path = saved(tmp_path, {"state_dict": content, "args": args})
    opened = open_model(path, arch="test_resnet")
    images = opened.recipe.input
    assert images.channels == channels
    assert images.mean == images.std == pytest.approx(mean)
    assert f"The images have {channels} channel" in notes(opened)
    told = {"mean": [0.7] * channels, "std": [0.6] * channels}
    path = saved(tmp_path, {"state_dict": content, "args": told})
    images = open_model(path, arch="test_resnet").recipe.input
    assert (images.mean, images.std) == ((0.7,) * channels, (0.6,) * channels)


def test_statistics_of_a_wrong_number_of_channels_are_said_and_not_used(tmp_path, state):
    path = saved(tmp_path, {"state_dict": state, "args": {"mean": [0.1, 0.2], "std": [1.0] * 4}})
    opened = open_model(path, arch="test_resnet")
    assert opened.recipe.input.mean == (0.5, 0.5, 0.5)
    assert "mean of 2 numbers (the file itself) is not used" in notes(opened)


@pytest.mark.parametrize("share", [1e-320, 0.01])
def test_a_crop_that_images_cannot_have_is_said_and_not_used(tmp_path, state, share):
    path = saved(tmp_path, {"state_dict": state, "args": {"crop_pct": share}})
    opened = open_model(path, arch="test_resnet")
    assert opened.recipe.input.crop_pct == 0.95
    assert "Not used of the file itself: crop_pct: " in notes(opened)


def test_a_size_that_the_architecture_cannot_take_is_said_and_not_used(tmp_path):
    content = timm.create_model("test_vit", num_classes=3).state_dict()
    path = saved(tmp_path, {"state_dict": content, "args": {"img_size": 64}})
    opened = open_model(path, arch="test_vit")
    assert opened.recipe.input.size == (160, 160)
    assert "64 px (the file itself) are not used: test_vit takes 160 px only" in notes(opened)


def test_the_most_trusted_architecture_comes_first(tmp_path, state):
    content = {"state_dict": state, "arch": "test_resnet"}
    path = saved(tmp_path, content, "resnet50-0676ba61.pth")
    told = read_checkpoint(path).statements
    assert told.architectures == ("test_resnet", "resnet50.tv_in1k", "torchvision:resnet50")
    assert told.written_architecture == "test_resnet"
    assert told.with_architecture("resnet18").architectures[0] == "resnet18"
    assert (
        read_checkpoint(saved(tmp_path, state, "resnet18_best.pth")).statements.architectures == ()
    )
    assert (
        read_checkpoint(saved(tmp_path, state, "resnet18_best.pth")).statements.hinted_architecture
        == "resnet18"
    )


def test_broken_and_strange_files_beside_a_checkpoint_do_no_harm(tmp_path, state):
    path = saved(tmp_path, state)
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "args.yaml").write_text("a: !!python/object/apply:os.system [ls]")
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "labels.json").write_text("[1, 2, 3]")
    assert open_model(path, arch="test_resnet").recipe.class_names is None


def test_label_names_of_a_hubs_configuration_name_the_outputs(monkeypatch):
    config = {"num_classes": 3, "label_names": ["b", "c", "a"], "mean": [0.0] * 3}
    loaded, model = (config, "test_resnet", {}, None), tiny_model(num_classes=3)
    monkeypatch.setattr(opening, "own_file", lambda name: None)  # the repository is timm's
    monkeypatch.setattr(pretrained, "load_model_config_from_hf", lambda name: loaded)
    monkeypatch.setattr(timm, "create_model", lambda name, **others: model)
    recipe = open_model("hf-hub:me/birds").recipe
    assert recipe.class_names == ("b", "c", "a")
    assert recipe.input.mean == (0.0, 0.0, 0.0)


def test_configurations_inside_the_file_and_above_its_folder_are_read(tmp_path, state):
    processor = {"size": 64, "do_normalize": False, "resample": 3}
    path = saved(tmp_path, {"state_dict": state, "preprocessor_config": processor})
    opened = open_model(path, arch="test_resnet")
    assert (opened.recipe.input.size, opened.recipe.input.crop_mode) == ((64, 64), "squash")
    assert set(opened.recipe.input.std) == {1.0}
    path = saved(tmp_path / "version_0" / "checkpoints", {"state_dict": state})
    written(tmp_path / "version_0", "hparams.yaml", {"mean": [0.0] * 3, "std": [1.0] * 3})
    assert_unnormalized(open_model(path, arch="test_resnet"))


def test_old_spellings_of_timm_will_do_for_an_architecture(tmp_path):
    model = timm.create_model("vit_small_patch16_224", num_classes=0, depth=12)
    path = saved(tmp_path, shapes_only(model))
    images = open_model(path, arch="vit_small_patch16_224_dino").recipe.input
    assert images.mean == (0.485, 0.456, 0.406)
