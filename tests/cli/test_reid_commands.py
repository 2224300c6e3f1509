"""Commands on a file of a re-identification code base."""

import json

import pytest
import torch
from reid_networks import fast_reid, generator, strong_baseline
from retrieval_trees import write_csv
from tolerances import FLOAT32_CHAIN
from torch.testing import assert_close

from covtool.checkpoints.model_file import load

QUICK = ["-j", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def published():
    return fast_reid(power=2.5)


@pytest.fixture(scope="module")
def file(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "fastreid.pth"
    torch.save({"model": published.state, **published.beside}, path)
    return path


def test_inspect_shows_what_was_recognized(covtool, file):
    code, out, err = covtool("inspect", file)
    assert code == 0, err
    assert "timm resnet18" in out
    assert "256x128" in out
    assert "a resnet18 with generalized mean pooling, and a neck of a batch norm" in err


def test_convert_imports_the_file_with_the_head_that_it_has(covtool, file, published, tmp_path):
    code, _, err = covtool("convert", file, "--head", "gem", "-o", "mine.safetensors")
    assert code == 0, err
    model = load(tmp_path / "mine.safetensors")
    assert [o.operation for o in model.recipe.operations] == ["last-stride", "head", "neck"]
    images = torch.rand(1, 3, 256, 128, generator=generator())
    with torch.no_grad():
        assert_close(model(images), published.logits(images), **FLOAT32_CHAIN)


def test_average_pooling_is_imported_unless_other_classes_are_asked_for(covtool, people, tmp_path):
    published = strong_baseline()
    torch.save(published.state, "strong.pth")
    code, _, err = covtool("convert", "strong.pth", "--head", "gap", "-o", "same.safetensors")
    assert code == 0, err
    images = torch.rand(1, 3, 256, 128, generator=generator())
    with torch.no_grad():
        found = load(tmp_path / "same.safetensors")(images)
    assert_close(found, published.logits(images), **FLOAT32_CHAIN)
    asked = ("--head", "gap", "--data", people, "-o", "other.safetensors")
    code, _, err = covtool("convert", "strong.pth", *asked)
    assert code == 0, err
    assert load(tmp_path / "other.safetensors").recipe.num_classes == 2


def test_another_head_takes_the_place_of_pooling_and_neck(covtool, file, tmp_path):
    code, _, err = covtool("convert", file, "--head", "isqrt", "--dim", "8")
    assert code == 0, err
    model = load(tmp_path / "fastreid-isqrt.safetensors")
    assert not any("neck" in name for name in model.state_dict())


def test_eigenlayer_is_put_behind_the_neck_and_trained(covtool, file, people, tmp_path):
    code, out, err = covtool("convert", file, "--eigenlayer", "5")
    assert code == 0, err
    assert "EigenClassifier(512 -> 5 -> 5)" in out
    made = tmp_path / "fastreid-eigen5.safetensors"
    code, _, err = covtool("svdnet-rri", made, "--data", people, *QUICK, "--dry-run")
    assert code == 0, err


def test_finetune_plans_a_run(covtool, file, people):
    asked = ("--data", people, "--val-fraction", "0.5", "-b", "2", *QUICK, "--dry-run")
    code, _, err = covtool("finetune", file, *asked)
    assert code == 0, err


def test_evaluate_and_embed_use_what_comes_out_of_the_neck(covtool, file, people, tmp_path):
    code, out, err = covtool("evaluate", file, "--data", people, "--json", *QUICK)
    assert code == 0, err
    assert json.loads(out)["queries"] == 1
    for feature in ("embedding", "pooled"):
        asked = ("--feature", feature, "-o", f"{feature}.csv", *QUICK)
        code, _, err = covtool("embed", file, people, *asked)
        assert code == 0, err
    both = [(tmp_path / f"{name}.csv").read_text() for name in ("embedding", "pooled")]
    assert both[0] != both[1]
    assert both[0].count(",f") == both[1].count(",f")


def test_unreadable_network_ends_with_the_code_for_checkpoints(covtool, published, tmp_path):
    torch.save(dict(published.state) | {"backbone.NL_2.0.g.weight": torch.ones(2)}, "agw.pth")
    code, out, err = covtool("inspect", "agw.pth")
    assert code == 3
    assert "non-local blocks" in err
    assert "overlap" not in out
