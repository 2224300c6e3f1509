"""A random classifier is never measured; features of a bare body are."""

import json

import numpy as np
import pytest
import torch
from checkpoint_files import tiny_model
from PIL import Image
from toy_data import COLORS, write_toy_data

import covtool as library
from covtool.checkpoints import open_model
from covtool.data.transforms.from_timm import evaluation_transform


@pytest.fixture
def data(tmp_path):
    return write_toy_data(tmp_path / "toy", train=4, val=2)


def saved(tmp_path, *, heads):
    state = tiny_model(num_classes=len(COLORS)).state_dict()
    kept = {name: t for name, t in state.items() if heads or not name.startswith("fc.")}
    torch.save(kept, tmp_path / "test_resnet.pth")
    return tmp_path / "test_resnet.pth"


def test_evaluate_refuses_a_bare_body_and_embed_takes_it(covtool, tmp_path, data):
    path = saved(tmp_path, heads=False)
    code, out, err = covtool("evaluate", path, "--data", data, "-j", 0, "--img-size", 64)
    assert (code, out) == (3, "")
    assert "no trained classifier" in err
    assert "covtool embed" in err
    embed = ("embed", path, data, "-o", "f.npz", "-j", 0, "--img-size", 64)
    code, _, err = covtool(*embed)
    assert code == 0, err
    code, _, err = covtool(*embed, "--overwrite", "--feature", "logits")
    assert code == 3
    assert "no trained classifier" in err


def test_embed_writes_what_a_trained_classifier_answers(covtool, tmp_path, data):
    path = saved(tmp_path, heads=True)
    code, out, err = covtool(
        "embed", path, data, "-o", "f.npz", "-j", 0, "--img-size", 64, "--feature", "logits"
    )
    assert code == 0, err
    assert "the output of the model" in out
    written = np.load("f.npz")
    opened = open_model(path, input={"size": (64, 64)})
    first = data / str(written["paths"][0])
    image = evaluation_transform(opened.recipe.input)(Image.open(first).convert("RGB"))
    with torch.no_grad():
        expected = opened.model(image[None])[0].numpy()
    np.testing.assert_allclose(written["features"][0], expected, rtol=1e-4, atol=1e-5)


def converted(covtool, tmp_path, *arguments):
    saved(tmp_path, heads=True)
    code, out, err = covtool(
        "convert", "test_resnet.pth", "--head", "isqrt", "--dim", 8, "--img-size", 64,
        "-o", "a.safetensors", *arguments,
    )  # fmt: skip
    assert code == 0, err
    return out


def test_a_new_head_is_not_measured_before_it_is_trained(covtool, tmp_path, data):
    converted(covtool, tmp_path, "--data", data)
    assert library.load("a.safetensors").recipe.provenance.untrained == ("classifier",)
    code, _, err = covtool("evaluate", "a.safetensors", "--data", data, "-j", 0)
    assert code == 3
    assert "no trained classifier" in err


def test_a_calibrated_head_is_measured(covtool, tmp_path, data):
    converted(covtool, tmp_path, "--calibrate", data, "-j", 0)
    assert library.load("a.safetensors").recipe.provenance.untrained == ()
    code, out, err = covtool("evaluate", "a.safetensors", "--data", data, "-j", 0, "--json")
    assert code == 0, err
    assert json.loads(out)["images"] == 2 * len(COLORS)


def test_of_a_network_from_scratch_only_a_solved_classifier_is_measured(covtool, tmp_path, data):
    scratch = ("convert", "test_resnet", "--from-scratch", "--head", "isqrt", "--dim", 8)
    size = ("--img-size", 64)
    code, _, err = covtool(*scratch, *size, "--data", data, "-o", "random.safetensors")
    assert code == 0, err
    assert covtool("evaluate", "random.safetensors", "--data", data, "-j", 0)[0] == 3
    code, _, err = covtool(*scratch, *size, "--calibrate", data, "-j", 0, "-o", "b.safetensors")
    assert code == 0, err
    assert library.load("b.safetensors").recipe.provenance.untrained == ("network",)
    assert covtool("evaluate", "b.safetensors", "--data", data, "-j", 0)[0] == 0


def test_training_makes_a_classifier_trained(covtool, tmp_path, data):
    path = saved(tmp_path, heads=False)
    code, _, err = covtool(
        "finetune", path, "--data", data, "--epochs", 1, "-b", 4, "-j", 0, "--img-size", 64
    )
    assert code == 0, err
    best = "runs/finetune/test_resnet/exported/best.safetensors"
    assert library.load(best).recipe.provenance.untrained == ()
    code, _, err = covtool("evaluate", best, "--data", data, "-j", 0)
    assert code == 0, err
