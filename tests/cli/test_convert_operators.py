"""`covtool convert --conv`, as a user types it."""

import json
from pathlib import Path

import pytest
import torch
from families import lively_
from toy_data import write_toy_data

from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints.model_file import load
from covtool.layers import DecoupledConv2d

SIZE = ("--img-size", "48", "-j", "0", "--device", "cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """test_resnet for the toy data's three classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "net.pth"
    model = lively_(create_model(parse_name("test_resnet")[0], num_classes=3))
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("colors"))


def test_plan_lists_each_layer_with_its_operator_and_writes_nothing(
    covtool, checkpoint, tmp_path
) -> None:
    code, out, err = covtool("convert", checkpoint, "--conv", "tanh", "--plan", *SIZE)
    assert code == 0
    assert "9 convolutions" in out
    line = next(line for line in out.splitlines() if "layer1.0.conv1" in line)
    assert "spatial" in line
    assert "tanh cosine" in line
    assert "unit: running-mean" in out
    assert "train it, or convert with --calibrate DIR" in err
    assert not list(tmp_path.iterdir())


def test_calibrated_conversion_reports_layers_and_the_network(
    covtool, checkpoint, colors, tmp_path
) -> None:
    code, out, _ = covtool(
        "convert",
        checkpoint,
        "--conv",
        "ball",
        "--calibrate",
        colors,
        "--radius-quantile",
        0.8,
        *SIZE,
    )
    assert code == 0
    for shown in ("beyond ρ (%)", "error (%)", "top-1 before", "top-1 after", "36 images"):
        assert shown in out
    model = load(tmp_path / "net-ball.safetensors")
    (spec,) = model.recipe.operations
    assert (spec.conv, spec.calibrated, spec.unit, spec.scale_per) == (
        "ball",
        True,
        "none",
        "filter",
    )
    assert {m.name for m in model.recipe.provenance.metrics} == {"agreement_with_source", "top_1"}
    assert model.recipe.provenance.history[-1] == "convert net.pth: conv ball in 9 layers"


def test_plan_with_calibration_measures_and_writes_nothing(
    covtool, checkpoint, colors, tmp_path
) -> None:
    code, out, _ = covtool(
        "convert", checkpoint, "--conv", "tanh", "--calibrate", colors, "--plan", "--json", *SIZE
    )
    assert code == 0
    (report,) = json.loads(out)["convolutions"]
    assert len(report["calibration"]["layers"]) == 9
    assert report["kept"]["images"] == 18
    assert 0 <= report["kept"]["top_1_after"] <= 100
    assert not list(tmp_path.iterdir())


def test_operators_and_a_head_in_one_go(covtool, checkpoint, colors, tmp_path) -> None:
    code, out, _ = covtool(
        *("convert", checkpoint, "--conv", "tanh", "--target", "pointwise"),
        *("--head", "isqrt", "--dim", 8, "--calibrate", colors, *SIZE),
    )
    assert code == 0
    assert "left-out top-1" in out
    model = load(tmp_path / "net-tanh-isqrt.safetensors")
    assert [o.operation for o in model.recipe.operations] == ["conv", "head"]
    assert sum(isinstance(m, DecoupledConv2d) for m in model.modules()) == 2
    assert {m.name for m in model.recipe.provenance.metrics} == {"left_out_top_1"}


def test_only_agreement_is_reported_for_other_classes(
    covtool, tmp_path, colors, tmp_path_factory
) -> None:
    path = tmp_path_factory.mktemp("thousand") / "net.pth"
    torch.save(create_model(parse_name("test_resnet")[0], num_classes=1000).state_dict(), path)
    code, out, _ = covtool("convert", path, "--conv", "log", "--calibrate", colors, *SIZE)
    assert code == 0
    kept = {line.split("  ")[0].strip(): line for line in out.splitlines() if line.strip()}
    assert kept["top-1 after"].rstrip().endswith("-")
    assert "of 18 images" in kept["same answer as before"]


def test_recipe_of_a_file_is_applied_to_another_checkpoint(covtool, checkpoint, tmp_path) -> None:
    covtool("convert", checkpoint, "--conv", "tanh", "--target", "layer1", *SIZE)
    code, out, _ = covtool("inspect", "net-tanh.safetensors", "--json")
    assert code == 0
    (tmp_path / "recipe.json").write_text(json.dumps(json.loads(out)["recipe"]))
    code, _, _ = covtool(
        "convert", checkpoint, "--recipe", "recipe.json", "-o", "again.safetensors", *SIZE
    )
    assert code == 0
    first, again = (load(tmp_path / f"{n}.safetensors") for n in ("net-tanh", "again"))
    assert again.recipe.operations == first.recipe.operations


def test_converted_file_is_evaluated_and_converted_again_only_elsewhere(
    covtool, checkpoint, colors
) -> None:
    assert covtool("convert", checkpoint, "--conv", "ball", "--target", "layer1", *SIZE)[0] == 0
    code, out, _ = covtool("evaluate", "net-ball.safetensors", "--data", colors, "-j", "0")
    assert code == 0
    assert "top-1" in out
    again = ("convert", "net-ball.safetensors", "--conv", "tanh", "-j", "0")
    code, _, err = covtool(*again)
    assert code == 2
    assert "operator already: ball cosine" in err
    assert covtool(*again, "--target", "layer2", "-o", "both.safetensors")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--conv", "tahn"), "Did you mean 'tanh'"),
        (("--conv", "tanh", "--angular", "cosin"), "Did you mean 'cosine'"),
        (("--conv", "tanh", "--target", "layr1"), "--target 'layr1' fits no convolution"),
        (("--conv", "sphere", "--radius", "2"), "--conv sphere takes no --radius"),
        (("--angular", "linear"), "--angular has no effect without --conv"),
        (("--conv", "tanh", "--dim", "8"), "--dim has no effect without --head"),
        (("--conv", "tanh", "--radius", "-1"), "--radius"),
        (("--conv", "tanh", "--radius-quantile", "1.5"), "--radius-quantile"),
        (("--conv", "tanh", "--radius-quantile", "0.9"), "no effect without --calibrate"),
        (("--conv", "tanh", "--weighting", "liner"), "Did you mean 'linear'"),
        (("--conv", "tanh", "--calibrate-images", "9"), "no effect without --calibrate"),
        (("--conv", "tanh", "--num-classes", "9"), "for a new classifier, and the head stays"),
        (("--conv", "tanh", "--radius", "inf"), "--radius"),
        (("--conv", "tanh", "--radius", "1e40"), "--radius"),
        (("--conv", "sphere", "--calibrate", "d", "--radius-quantile", "0.9"), "a radius"),
        (("--calibrate", "d", "--radius-quantile", "0.9"), "an operator with a radius"),
        (("--recipe", "r.yaml", "--conv", "tanh"), "no effect beside --recipe"),
    ],
)
def test_mistake_is_a_usage_error_that_says_what_to_do(
    arguments: tuple, message: str, covtool, checkpoint, tmp_path
) -> None:
    code, _, err = covtool("convert", checkpoint, *arguments, *SIZE)
    assert code == 2
    assert message in " ".join(err.split())
    assert not list(tmp_path.iterdir())


def recipe_of(covtool, file: str) -> dict:
    return json.loads(covtool("inspect", file, "--json")[1])["recipe"]


def test_recipe_is_calibrated_or_not_as_it_is_applied(
    covtool, checkpoint, colors, tmp_path
) -> None:
    calibrated = ("--calibrate", colors)
    assert covtool("convert", checkpoint, "--conv", "tanh", *calibrated, *SIZE)[0] == 0
    (tmp_path / "r.json").write_text(json.dumps(recipe_of(covtool, "net-tanh.safetensors")))
    again = ("convert", checkpoint, "--recipe", "r.json", *SIZE)
    assert covtool(*again, "-o", "fresh.safetensors")[0] == 0
    assert covtool(*again, *calibrated, "-o", "same.safetensors")[0] == 0
    first, fresh, same = (
        recipe_of(covtool, f"{name}.safetensors")["operations"][0]
        for name in ("net-tanh", "fresh", "same")
    )
    assert same == first
    assert (fresh["calibrated"], fresh["unit"], fresh["scale_per"]) == (
        False,
        "running-mean",
        "layer",
    )


def test_network_is_not_judged_by_a_classifier_that_knows_nothing(
    covtool, checkpoint, colors, tmp_path
) -> None:
    (tmp_path / "r.json").write_text(
        json.dumps([{"operation": "head", "head": "gap"}, {"operation": "conv", "conv": "ball"}])
    )
    code, out, _ = covtool(
        *("convert", checkpoint, "--recipe", "r.json", "--calibrate", colors, "--json", *SIZE)
    )
    assert code == 0
    (report,) = json.loads(out)["plan"]["convolutions"]
    assert report["kept"] is None
    assert len(report["calibration"]["layers"]) == 9


def test_figures_of_a_network_that_was_changed_since_are_not_kept(
    covtool, checkpoint, colors, tmp_path
) -> None:
    (tmp_path / "r.json").write_text(
        json.dumps([{"operation": "conv", "conv": "ball"}, {"operation": "last-stride"}])
    )
    code, _, _ = covtool(
        *("convert", checkpoint, "--recipe", "r.json", "--calibrate", colors),
        *("-o", "out.safetensors", *SIZE),
    )
    assert code == 0
    assert recipe_of(covtool, "out.safetensors")["provenance"]["metrics"] == []


def test_data_that_is_not_there_is_a_data_error(covtool, checkpoint, tmp_path) -> None:
    code, _, err = covtool("convert", checkpoint, "--conv", "tanh", "--calibrate", "nowhere", *SIZE)
    assert code == 4
    assert "There is no data set at nowhere" in err
