"""`covtool plot run`, on what `covtool finetune` writes."""

import json

import pytest
from PIL import Image
from toy_data import write_toy_data


@pytest.fixture
def run(covtool, tmp_path):
    data = write_toy_data(tmp_path / "toy", train=4, val=2)
    code, _, err = covtool(
        *("finetune", "test_resnet", "--from-scratch", "--data", data, "--gc", "--img-size", 24),
        *("--epochs", 2, "--batch-size", 6, "--workers", 0, "--device", "cpu"),
    )
    assert code == 0, err
    return tmp_path / "runs/finetune/test_resnet"


def test_a_run_is_drawn(covtool, run, tmp_path):
    code, out, err = covtool("plot", "run", run)
    assert code == 0, err
    assert "Drawn: run.png (loss, metric, lr, norm)" in out
    with Image.open(tmp_path / "run.png") as image:
        assert image.format == "PNG"
    code, out, err = covtool(
        *("plot", "run", run, run, "--label", "first", "--label", "second", "--show", "norm"),
        *("--smooth", 1, "-o", "norm.svg", "--json"),
    )
    assert code == 0, err
    result = json.loads(out)
    assert result["panels"] == ["norm"]
    assert [(r["label"], r["updates"], r["epochs"]) for r in result["runs"]] == [
        ("first", 4, 2),
        ("second", 4, 2),
    ]
    text = (tmp_path / "norm.svg").read_text()
    assert ">second</text>" in text
    assert ">after centralization</text>" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 2, "No run is given"),
        (["run", "none"], 4, "none is not the folder of a run"),
        (["run", "none", "--radius", 2], 2, "covtool plot run takes no --radius"),
        (["run", "none", "--magnitude", "ball"], 2, "covtool plot run takes no --magnitude"),
        (["operator", "none"], 2, "covtool plot operator takes no none"),
        (["operator", "--label", "a"], 2, "covtool plot operator takes no --label"),
        (["run", "none", "--smooth", 0], 2, "--smooth"),
    ],
)
def test_mistakes_are_told(covtool, arguments, code, message):
    found, _, err = covtool("plot", *arguments)
    assert message in " ".join(err.split())
    assert found == code
