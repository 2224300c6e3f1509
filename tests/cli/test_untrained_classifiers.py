"""A random classifier is never measured; features of a bare body are."""

import json

import pytest
import torch
from checkpoint_files import tiny_model
from toy_data import COLORS, write_toy_data

import covtool as library


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
    code, _, err = covtool("embed", path, data, "-o", "f.npz", "-j", 0, "--img-size", 64)
    assert code == 0, err


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
