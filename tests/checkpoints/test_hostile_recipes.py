"""Recipes that ask for what they must not have: one CheckpointError, and nothing looked up."""

import json
import socket
import sys
from functools import cache

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_data import write_toy_data

from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints.model_file import RECIPE_KEY, load, read_recipe, save
from covtool.errors import CheckpointError
from covtool.specs import HeadSpec, InputSpec, Provenance, Recipe
from covtool.surgery.rebuild import operate

SECRET = "secret.pth"
HEAD = HeadSpec(head="isqrt", dim=8)


def base(**changes):
    return {"base": {"library": "timm", "name": "test_resnet", "arguments": {}} | changes}


def arguments(library="timm", name="test_resnet", **values):
    return base(library=library, name=name, arguments=values)


def images(**changes):
    return {"input": InputSpec(size=(32, 32)).model_dump(mode="json") | changes}


def operations(*done):
    return {"operations": list(done)}


def head(**changes):
    return operations(HEAD.model_dump(mode="json") | changes)


NAMES = {
    "hub": base(name="hf-hub:evil/x"),
    "hub with an underscore": base(name="hf_hub:evil/x"),
    "folder": base(name="local-dir:/tmp"),
    "address": base(name="http://evil.example/x"),
    "path": base(name="../../etc/passwd"),
    "line": base(name="test_resnet\nresnet18"),
    "escape": base(name="\x1b[2Jresnet18"),
    "tag": base(name="test_resnet.nobody"),
    "nothing": base(name=""),
    "unknown": base(name="resnet5000"),
    "long": base(name="r" * 100_000),
    "another library": base(library="torchvision", name="hf-hub:evil/x"),
    "segmentation": base(library="torchvision", name="fcn_resnet50"),
    "detection": base(library="torchvision", name="fasterrcnn_resnet50_fpn"),
    "quantized": base(library="torchvision", name="quantized_resnet18"),
}
ARGUMENTS = {
    "checkpoint": arguments(checkpoint_path=SECRET),
    "pretrained": arguments(pretrained=True),
    "configuration": arguments(pretrained_cfg={"file": SECRET}),
    "overlay": arguments(pretrained_cfg_overlay={"file": SECRET}),
    "features": arguments(features_only=True),
    "device": arguments(device="meta"),
    "dtype": arguments(dtype="float16"),
    "cache": arguments(cache_dir="/tmp"),
    "class": arguments(act_layer="torch.nn.ReLU"),
    "norm": arguments(norm_layer="layernorm"),
    "weights": arguments("torchvision", "resnet18", weights="DEFAULT"),
    "weights of a backbone": arguments("torchvision", "resnet18", weights_backbone="DEFAULT"),
    "large": arguments(name="test_vit", img_size=[15000, 15000]),
    "many channels": arguments(in_chans=10**9),
    "none": arguments(in_chans=0),
    "infinite": arguments(drop_rate=float("inf")),
    "text": arguments(in_chans="3"),
    "flag": arguments(in_chans=True),
    "list": arguments(name="test_vit", img_size=[32] * 5),
    "blocks": arguments(name="swin_tiny_patch4_window7_224", depths=[200, 200, 200, 200]),
    "fraction": arguments(name="test_vit", patch_size=7, img_size=3),
    "heads": arguments(name="test_vit", num_heads=7),
    "not its own": arguments(img_size=64),
}
FIELDS = {
    "classes": {"num_classes": 10**12},
    "many classes": {"num_classes": 9_999_999, "class_names": None},
    "names": {"class_names": ["one"]},
    "numbers as names": {"class_names": [1, 2]},
    "long name": {"class_names": ["a" * 10**6, "b"]},
    "mean": images(mean=[0.5, 0.5]),
    "std": images(std=[0.5] * 4),
    "zero": images(std=[0.5, 0.0, 0.5]),
    "negative": images(std=[-1.0]),
    "not a number": images(mean=[float("nan")] * 3),
    "infinity": images(std=[float("inf")]),
    "huge mean": images(mean=[1e300]),
    "size": images(size=[15000, 15000]),
    "one size": images(size=[32]),
    "no size": images(size=[0, 32]),
    "channels": images(channels=10**6),
    "other channels": images(channels=5, mean=[0.5], std=[0.5]),
    "gray": images(channels=1, mean=[0.5], std=[0.5]),
    "crop": images(crop_pct=float("nan")),
    "surprise": {"surprise": {"\x1b[2J": 1}},
    "version": {"version": 3},
    "no version": {"version": True},
    "no base": {"base": None},
}
CONVERSION = {"step": "conversion", "source": "net.pth"}
TRAINING = {"step": "training", "command": "finetune"}
STEPS = {
    "history": {"history": ["finetune on cars: epoch 1 of 1, sgd, lr 0.1"]},
    "no list": {"steps": {"step": "conversion"}},
    "many": {"steps": [CONVERSION] * 10_001},
    "unknown": {"steps": [{"step": "os.system"}]},
    "nothing": {"steps": [{}]},
    "surprise": {"steps": [CONVERSION | {"\x1b[2J": 1}]},
    "long source": {"steps": [CONVERSION | {"source": "a" * 10**6}]},
    "many operations": {"steps": [CONVERSION | {"operations": [{"operation": "neck"}] * 65}]},
    "layers": {"steps": [CONVERSION | {"operations": [{"operation": "conv", "layers": -1}]}]},
    "crop": {"steps": [CONVERSION | {"layout": {"crop": "none"}}]},
    "command": {"steps": [TRAINING | {"command": "rm"}]},
    "epochs": {"steps": [TRAINING | {"epochs": 10**30}]},
    "rate": {"steps": [TRAINING | {"lr": float("nan")}]},
    "rates": {"steps": [TRAINING | {"iterations": {"rates": [float("inf")]}}]},
    "long line": {"steps": [{"step": "other", "text": "a" * 10**6}]},
}
LINES = {
    "steps": {"steps": [CONVERSION]},
    "long line": {"history": ["a" * 10**6]},
    "many lines": {"history": ["a"] * 10_001},
    "number": {"history": [1]},
    "text": {"history": "finetune on cars"},
    "surprise": {"history": [], "surprise": 1},
}
OPERATIONS = {
    "tap": head(tap="nowhere"),
    "escaped tap": head(tap="\x1b[2J"),
    "head": head(head="nobody"),
    "iterations": head(iterations=10**9),
    "order": head(head="mpn", iterations=5, gradient="taylor", gradient_order=10**9),
    "dim": head(dim=10**9),
    "wide": head(dim=65_000),
    "eps": head(head="logm", eps=float("nan")),
    "two heads": operations(*head()["operations"] * 2),
    "layers": operations({"operation": "conv", "conv": "tanh", "layers": ["nowhere.conv"]}),
    "conv": operations({"operation": "conv", "conv": "nobody"}),
    "norms": operations({"operation": "ibn", "layers": ["nowhere"]}),
    "eigenlayer": operations({"operation": "eigenlayer", "features": 60_000}),
    "neck": operations({"operation": "neck", "layers": ["linear"]}),
    "long neck": operations({"operation": "neck", "layers": ["relu"] * 10_000}),
    "patches": operations({"operation": "patch-stride", "stride": 1}),
    "sketch": head(head="cbp", sketch_size=2**62),
    "many": operations(*[{"operation": "last-stride"}] * 1000),
    "unknown": operations({"operation": "import os"}),
    "nested": operations([[[]]]),
}
RECIPES = {
    f"{kind}: {name}": change
    for kind, table in {
        "name": NAMES,
        "arguments": ARGUMENTS,
        "fields": FIELDS,
        "operations": OPERATIONS,
        "steps": {n: {"provenance": {"covtool_version": "1", **c}} for n, c in STEPS.items()},
        "lines": {
            n: {"version": 1, "provenance": {"covtool_version": "1", **c}} for n, c in LINES.items()
        },
    }.items()
    for name, change in table.items()
}
TEXTS = {
    "no JSON": "{",
    "empty": "",
    "a list": "[]",
    "null": "null",
    "nested": "[" * 100_000,
    "twice": '{"version": 1, "version": 1}',
    "a long number": '{"version": ' + "9" * 5000 + "}",
    "half a character": '{"version": "\\ud800"}',
}

opened: list[str] = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*given, **named):
        raise AssertionError("a recipe opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    recipe = Recipe(
        base=parse_name("test_resnet")[0],
        operations=(HEAD,),
        num_classes=2,
        class_names=("blue", "red"),
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="test"),
    )
    network = create_model(recipe.base, num_classes=2)
    network = operate(network, HEAD, recipe.input, num_classes=2)
    network.recipe = recipe
    return save(network, tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=1, val=1, side=8)


def with_recipe(model, path, text):
    save_file(tensors_of(model), path, metadata={RECIPE_KEY: text})
    return path


tensors_of = cache(load_file)
recipe_of = cache(read_recipe)


def changed(model, change):
    return json.dumps(recipe_of(model).model_dump(mode="json") | change)


@pytest.mark.parametrize("name", RECIPES)
def test_a_hostile_recipe_is_a_checkpoint_error_of_one_line(name, model, data, covtool, tmp_path):
    (tmp_path / SECRET).write_bytes(b"secret")
    path = with_recipe(model, tmp_path / "hostile.safetensors", changed(model, RECIPES[name]))
    opened.clear()
    with pytest.raises(CheckpointError) as told:
        load(path)
    assert all("\n" not in (part or "") for part in (told.value.message, told.value.reason))
    for command in (
        ("inspect", path),
        ("convert", path, "--head", "gap", "-o", tmp_path / "out.safetensors"),
        ("evaluate", path, "--data", data),
    ):
        code, out, err = covtool(*command)
        assert code == 3, f"{command[0]}: {out}{err}"
        assert "\x1b" not in out + err
        assert len(err) < 4000
    assert not (tmp_path / "out.safetensors").exists()
    assert not [file for file in opened if SECRET in file or file == "/etc/passwd"]


@pytest.mark.parametrize("name", TEXTS)
def test_a_recipe_that_is_none_is_a_checkpoint_error(name, model, covtool, tmp_path):
    path = with_recipe(model, tmp_path / "hostile.safetensors", TEXTS[name])
    code, _, err = covtool("inspect", path)
    assert code == 3, err
    with pytest.raises(CheckpointError, match="not one that this version"):
        load(path)


def test_a_pretrained_tag_in_the_name_of_a_base_fetches_nothing(model, covtool, tmp_path):
    change = base(name="test_resnet.r160_in1k")
    path = with_recipe(model, tmp_path / "tagged.safetensors", changed(model, change))
    assert load(path).recipe.base.name == "test_resnet.r160_in1k"
    code, _, err = covtool("inspect", path)
    assert code == 0, err
