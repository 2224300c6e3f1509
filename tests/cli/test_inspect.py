import json

import pytest
import torch
from checkpoint_files import prefixed, tiny_model

import covtool
from covtool.checkpoints import open_model
from covtool_cli.main import run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("inspect") / "test_resnet_birds.pth"
    state = prefixed(tiny_model(num_classes=7).state_dict(), "module.")
    torch.save({"state_dict": state, "state_dict_ema": state, "epoch": 12}, path)
    return path


def covtool_inspect(capsys, *arguments):
    """Exit code, stdout and stderr of the command."""
    with pytest.raises(SystemExit) as caught:
        run(["inspect", *map(str, arguments)])
    return caught.value.code, *capsys.readouterr()


def test_it_shows_what_a_person_wants_to_know(capsys, checkpoint):
    code, out, err = covtool_inspect(capsys, checkpoint)
    assert code == 0
    for text in (
        "state_dict_ema",
        "averaged (EMA)",
        "module.",
        "epoch: 12",
        "float32",
        "timm test_resnet",
        "channels x positions",
        "non-finite tensors",
        "layer4",
        "fc",
    ):
        assert text in out
    assert "--weights raw takes state_dict" in err


def test_it_says_the_same_in_json(capsys, checkpoint):
    code, out, _ = covtool_inspect(capsys, checkpoint, "--json", "--weights", "raw")
    told = json.loads(out)
    assert code == 0
    assert (told["format"], told["container"], told["prefix"]) == ("zip", "state_dict", "module.")
    assert (told["num_classes"], told["in_channels"], told["classifier"]) == (7, 3, "fc")
    assert told["candidates"][0]["architecture"]["name"] == "test_resnet"
    assert (told["match"], told["candidates"][0]["score"]) == ("names", 1.0)
    learned = sum(p.numel() for p in tiny_model(num_classes=7).parameters())
    assert told["tensors"]["parameters"] == learned
    assert told["sites"]["classifier"] == "fc"
    assert len(told["convolutions"]) == 15
    assert told["recipe"]["num_classes"] == 7


def test_values_that_are_not_finite_are_pointed_out(capsys, tmp_path):
    state = tiny_model().state_dict()
    state["fc.bias"][3] = float("nan")
    torch.save(state, tmp_path / "test_resnet.pth")
    _, _, err = covtool_inspect(capsys, tmp_path / "test_resnet.pth")
    assert "infinite or NaN in: fc.bias" in err
    _, out, _ = covtool_inspect(capsys, tmp_path / "test_resnet.pth", "--json")
    assert json.loads(out)["tensors"]["non_finite"] == ["fc.bias"]


def test_a_covtool_file_shows_its_recipe(capsys, tmp_path, checkpoint):
    covtool.save(open_model(checkpoint).model, tmp_path / "own.safetensors")
    code, out, _ = covtool_inspect(capsys, tmp_path / "own.safetensors")
    assert code == 0
    assert "covtool_version" in out
    assert "source_sha256" in out
    assert checkpoint.name in out


def test_a_name_is_inspected_without_fetching_its_weights(capsys):
    code, out, _ = covtool_inspect(capsys, "test_vit")
    assert code == 0
    assert "timm test_vit" in out
    assert "64 x 100" in out


def test_an_unknown_architecture_is_shown_and_then_refused(capsys, tmp_path):
    state = tiny_model().state_dict()
    state["layer1.0.conv1.0.weight"] = torch.zeros(1000, 5)
    torch.save(state, tmp_path / "test_resnet.pth")
    code, out, err = covtool_inspect(capsys, tmp_path / "test_resnet.pth")
    assert code == 3
    assert "overlap" in out
    assert "error: " in err
    assert "unexpected: layer1.0.conv1.0.weight" in err


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_wrong_input_exits_with_3_and_three_lines(capsys, tmp_path, arguments):
    (tmp_path / "page.pth").write_bytes(b"<html>not found</html>")
    code, out, err = covtool_inspect(capsys, tmp_path / "page.pth", *arguments)
    assert (code, out) == (3, "")
    assert err.startswith("error: ")
    assert "a web page" in err
    assert "Traceback" not in err


def test_an_arch_that_does_not_fit_exits_with_3(capsys, checkpoint):
    code, _, err = covtool_inspect(capsys, checkpoint, "--arch", "test_vit")
    assert code == 3
    assert "does not fit test_vit" in err
    code, _, err = covtool_inspect(capsys, checkpoint, "--arch", "test_resnet")
    assert code == 0
