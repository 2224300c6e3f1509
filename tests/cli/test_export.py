"""`covtool export` as a user runs it, with its mistakes."""

import json
from pathlib import Path

import pytest
import torch
from exported_models import head, write_model_of
from operation_cases import RESNET
from toy_data import write_toy_data

from covtool.backbones.create import create_model
from covtool.exporting import onnx_model, proving


@pytest.fixture(autouse=True)
def few_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "REPETITIONS", 3)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_of(tmp_path_factory.mktemp("net"), head("isqrt"))


def test_figures_are_shown(covtool, net: Path, tmp_path: Path) -> None:
    write_toy_data(tmp_path / "birds", train=2, val=2)
    code, out, err = covtool("export", net, "-o", "net.onnx", "--preprocess", "--data", "birds")
    assert code == 0, err
    for text in (
        "onnx, opset 18",
        "pixels: uint8 (batch, 64, 64, 3), scaled and normalized inside",
        "logits: float32 (batch, 5)",
        "6 of birds, val",
        "1 and 7",
        "same answer",
        "temperature of predictions",
        "times as fast",
    ):
        assert text in out
    assert (tmp_path / "net.onnx").exists()


def test_json_is_one_object(covtool, net: Path, tmp_path: Path) -> None:
    code, out, err = covtool("export", net, "-o", "net.pt2", "--json")
    assert code == 0, err
    shown = json.loads(out)
    assert shown["format"] == "torch"
    assert shown["proof"]["images"] == 7
    assert shown["proof"]["agreement"] is None
    assert [speed["batch_size"] for speed in shown["speed"]] == [1, 7]
    assert "random images, which say nothing" in err


def test_tolerance_that_is_not_kept_ends_with_6_and_no_file(
    covtool, net: Path, tmp_path: Path
) -> None:
    code, _, err = covtool("export", net, "-o", "net.pt2", "--half", "--tolerance", "0")
    assert code == 6
    assert "nothing was written" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["-o", "net.pth"], "not the name of an exported program"),
        (["-o", "net"], "must end in one of .onnx, .pt2"),
        (["-o", "net.onnx", "--format", "torch"], "not the name of a .pt2 file"),
        (["-o", "net.onnx", "--format", "timm"], "is the name of a file"),
        (["-o", "net.safetensors", "--format", "onnx"], "not the name of an exported program"),
        (["-o", "net.pt2", "--opset", "18"], "--opset has no effect on --format torch"),
        (["-o", "net.pt2", "--int8", "--calibrate", "x"], "has no effect on --format torch"),
        (["-o", "net", "--format", "timm", "--half"], "--half has no effect on --format timm"),
        (["-o", "net.onnx", "--opset", "17"], "it should be 18 to 23"),
        (["-o", "net.onnx", "--int8"], "needs images that set its ranges"),
        (["-o", "net.onnx", "--calibrate", "x"], "no effect without --int8"),
        (["-o", "net.onnx", "--half", "--int8", "--calibrate", "x"], "two precisions"),
        (["-o", "net.onnx", "--iterations", "3"], "no effect without --root"),
        (["-o", "net.onnx", "--tolerance", "nan"], "greater than or equal to 0"),
        (["-o", "missing/net.onnx"], "missing"),
    ],
)
def test_mistake_is_refused_before_anything_is_opened(
    covtool, given: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "no-model.safetensors").touch()
    code, _, err = covtool("export", "no-model.safetensors", *given)
    assert code == 2
    assert said in " ".join(err.split())


def test_existing_output_is_kept(covtool, net: Path, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("mine")
    code, _, err = covtool("export", net, "-o", "net.onnx")
    assert (code, "already exists" in err) == (2, True)
    assert (tmp_path / "net.onnx").read_text() == "mine"


def test_missing_package_is_named(covtool, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> object:
        return None if name == "onnxruntime" else name

    monkeypatch.setattr(onnx_model, "find_spec", without)
    code, _, err = covtool("export", net, "-o", "net.onnx")
    assert code == 2
    assert "of which onnxruntime is not installed" in err
    assert "pip install 'covtool[onnx]'" in err


def test_data_without_images_ends_with_4(covtool, net: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = covtool("export", net, "-o", "net.pt2", "--data", "empty")
    assert code == 4, err
    code, _, err = covtool("export", net, "-o", "net.pt2", "--data", "nowhere")
    assert code == 4, err


def test_images_of_another_program_are_set(covtool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create_model(RESNET, num_classes=10)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    told = ("--arch", "test_resnet", "--img-size", "48x32", "--mean", "0.25", "--json")
    code, out, err = covtool("export", "net.pth", "-o", "net.pt2", *told)
    assert code == 0, err
    shown = json.loads(out)["interface"]
    assert shown["shape"] == ["batch", 3, 48, 32]
    assert shown["images"]["mean"] == [0.25]


def test_help_shows_few_options(covtool) -> None:
    code, out, _ = covtool("export", "--help")
    shown = [line for line in out.splitlines() if line.lstrip("│* ").startswith("--")]
    assert code == 0
    assert 10 < len(shown) - 1 < 25  # --help itself is not counted
