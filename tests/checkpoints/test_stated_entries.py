from argparse import Namespace

import pytest
import torch

from covtool.checkpoints.metadata.entries import read_entries

IMAGENET = (0.485, 0.456, 0.406)


def read(loaded):
    return read_entries("the file", loaded)


def test_timms_arguments_tell_images_and_architecture():
    args = Namespace(
        model="resnet50",
        num_classes=12,
        img_size=None,
        input_size=[3, 160, 192],
        in_chans=None,
        crop_pct=0.9,
        mean=[0.1, 0.2, 0.3],
        std=[0.4, 0.5, 0.6],
        interpolation="bicubic",
        gp="avgmax",
    )
    said = read({"epoch": 1, "arch": "resnet50", "args": args, "metric": 70.1})
    assert said.architecture == "resnet50"
    assert said.num_classes == 12
    assert said.arguments == {"global_pool": "avgmax"}
    assert said.input == {
        "size": (160, 192),
        "channels": 3,
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
    }
    assert said.rest_is_librarys


@pytest.mark.parametrize(
    ("entries", "images"),
    [
        ({"config": {"image_size": 96}}, {"size": (96, 96)}),
        ({"pretrained_cfg": {"input_size": [1, 28, 32]}}, {"size": (28, 32), "channels": 1}),
        (
            {"args": {"val_crop_size": 224, "val_resize_size": 232, "interpolation": "bilinear"}},
            {
                "size": (224, 224),
                "crop_pct": 224 / 232,
                "interpolation": "bilinear",
                "mean": IMAGENET,
                "std": (0.229, 0.224, 0.225),
            },
        ),
        ({"hyper_parameters": {"model": {"img_size": "64"}}}, {"size": (64, 64)}),
        ({"MODEL": {}, "DATA": {"IMG_SIZE": 192}}, {"size": (192, 192)}),
        (
            {"cfg": {"data_preprocessor": {"mean": [123.675] * 3, "std": [51.0] * 3}}},
            {"mean": (0.485,) * 3, "std": (0.2,) * 3},
        ),
        ({"args": {"mean": [0, 0, 0], "std": [255] * 3}}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
        ({"args": {"mean": torch.tensor([0.5]), "std": "0.5"}}, {"mean": (0.5,), "std": (0.5,)}),
        (
            {"args": {"imagenet_default_mean_and_std": False}},
            {"mean": (0.5,) * 3, "std": (0.5,) * 3},
        ),
        ({"args": {"interpolation": 2}}, {"interpolation": "bilinear"}),
        ({"args": {"interpolation": "InterpolationMode.BICUBIC"}}, {"interpolation": "bicubic"}),
        ({"img_size": 96, "args": {"img_size": 224}}, {"size": (96, 96)}),
    ],
)
def test_images_are_read_in_many_spellings(entries, images):
    found = read(entries).input
    assert found.keys() == images.keys()
    for name, value in images.items():
        assert found[name] == (value if isinstance(value, str) else pytest.approx(value))


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ({"class_to_idx": {"b": 0, "a": 1}}, ("b", "a")),
        ({"class_to_idx": {"0": 0, "1": 1, "10": 2, "2": 3}}, ("0", "1", "10", "2")),
        ({"idx_to_class": {1: "a", 0: "b"}}, ("b", "a")),
        ({"id2label": {"10": "k", **{str(i): f"c{i}" for i in range(10)}}}, None),
        ({"label2id": {"a": "1", "b": "0"}}, ("b", "a")),
        ({"meta": {"CLASSES": ("b", "a")}}, ("b", "a")),
        ({"meta": {"dataset_meta": {"classes": ["b", "a"]}}}, ("b", "a")),
        ({"hyper_parameters": {"class_names": ["b", "a"]}}, ("b", "a")),
        ({"names": {0: "b", 1: "a"}}, ("b", "a")),
        ({"vocab": ["b", "a"]}, ("b", "a")),
        ({"hparams": {"config": {"label_names": ["b", "a"]}}}, ("b", "a")),
    ],
)
def test_class_names_are_in_the_order_of_their_indices(entries, names):
    expected = names or (*(f"c{i}" for i in range(10)), "k")
    assert read(entries).class_names == expected


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"class_to_idx": {"a": 1, "b": 2}}, "indices of its 2 classes are not 0 to 1"),
        ({"class_to_idx": {"a": 0, "b": 0}}, "indices of its 2 classes are not 0 to 1"),
        ({"classes": ["a", "b", "a"]}, "'a' is the name of 2 of its 3 classes"),
        ({"args": {"mean": [0.5] * 3, "std": [0.5, 0.0, 0.5]}}, "cannot be divided by"),
        ({"args": {"mean": [124.0] * 3, "std": [0.2] * 3}}, "is not possible for images"),
    ],
)
def test_nonsense_is_said_and_not_used(entries, problem):
    said = read(entries)
    assert problem in said.problems[0]
    assert said.class_names is None
    assert not said.input


@pytest.mark.parametrize(
    "entries",
    [
        {"id2label": {0: "LABEL_0", 1: "LABEL_1"}},
        {"classes": 12},
        {"labels": torch.zeros(3)},
        {"labels": [0, 1, 1]},
        {"state_dict": {"mean": torch.zeros(3), "std": torch.ones(3), "w": torch.zeros(2)}},
        {"args": {"mean": None, "img_size": "large", "crop_pct": True}},
        {"args": {"crop_pct": float("nan"), "img_size": -1}},
        [1, 2],
        None,
    ],
)
def test_what_means_nothing_says_nothing(entries):
    assert read(entries) is None


def test_an_architecture_is_read_in_many_spellings():
    said = read({"model": "mine", "args": {"backbone": "resnet18"}})
    assert (said.architecture, said.other_names) == ("mine", ("resnet18",))
    assert read({"arch": "mpncovresnet50"}).architecture == "mpncovresnet50"
    assert read({"name": "run 7"}) is None
    for word, name in (
        ("ResNet50", "resnet50"),
        ("efficientnet-b0", "efficientnet_b0"),
        ("hf-hub:timm/resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("resnet50.of_mine", "resnet50"),
        ("vit_small_patch16_224_dino", "vit_small_patch16_224.dino"),
        ("torchvision:resnet18", "torchvision:resnet18"),
    ):
        assert read({"hyper_parameters": {"model_name": word}}).architecture == name
