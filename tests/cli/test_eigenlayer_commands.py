import json

import pytest
import torch

SMALL = ("test_resnet", "--from-scratch", "--img-size", "64")


def test_convert_puts_an_eigenlayer_in_and_inspect_measures_it(covtool):
    code, out, err = covtool("convert", *SMALL, "--eigenlayer", "16")
    assert code == 0, err
    assert "EigenClassifier(96 -> 16 -> 1,000)" in out
    assert "wrote test_resnet-eigen16.safetensors" in out
    assert "kept only as far as those allow" in err
    code, out, err = covtool(
        "inspect", "test_resnet-eigen16.safetensors", "--correlation", "--json"
    )
    assert code == 0, err
    layers = {layer["name"]: layer for layer in json.loads(out)["correlations"]}
    assert layers["fc.eigenlayer"]["correlation"] == pytest.approx(1, abs=1e-5)
    assert 1 / 1000 < layers["fc.classifier"]["correlation"] < 0.5


def test_a_recipe_does_the_same_and_a_head_goes_first(covtool, tmp_path):
    code, out, err = covtool(
        "convert", *SMALL, "--head", "isqrt", "--dim", "8", "--eigenlayer", "9"
    )
    assert code == 0, err
    assert "wrote test_resnet-isqrt-eigen9.safetensors" in out
    (tmp_path / "my.yaml").write_text(
        "operations:\n- operation: head\n  head: gap\n- operation: eigenlayer\n  features: 9\n"
    )
    code, out, err = covtool("convert", *SMALL, "--recipe", "my.yaml", "-o", "b.safetensors")
    assert code == 0, err
    assert "EigenClassifier(96 -> 9" in out


def test_correlation_of_a_checkpoint_that_nobody_knows(covtool, tmp_path):
    torch.save({"a.weight": torch.ones(4, 3), "b.weight": torch.eye(3)}, tmp_path / "odd.pth")
    code, out, _ = covtool("inspect", "odd.pth", "--correlation", "--json")
    assert code == 3
    values = {layer["name"]: layer["correlation"] for layer in json.loads(out)["correlations"]}
    assert values == {"a": 0.25, "b": 1.0}


def test_weights_that_are_no_numbers_have_no_correlation(covtool, tmp_path):
    weight = torch.eye(3)
    weight[0, 0] = torch.nan
    torch.save({"a.weight": weight, "b.weight": torch.eye(3)}, tmp_path / "odd.pth")
    code, out, err = covtool("inspect", "odd.pth", "--correlation", "--json")
    assert code == 3, err
    values = {layer["name"]: layer["correlation"] for layer in json.loads(out)["correlations"]}
    assert values == {"a": None, "b": 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eigenlayer", "97"], "--eigenlayer 97 is more than the 96 features"),
        (["--eigenlayer", "0"], "eigenlayer"),
        (["--head", "gap", "--eigenlayer-init", "random"], "no effect without --eigenlayer"),
    ],
)
def test_what_makes_no_sense_is_refused(covtool, tmp_path, arguments, message):
    code, _, err = covtool("convert", *SMALL, *arguments)
    assert code == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []
