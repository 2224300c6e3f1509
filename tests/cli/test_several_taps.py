"""`covtool convert --tap A --tap B`, as a user types it."""

import json
import re
from pathlib import Path

import pytest
import torch
from families import lively_
from toy_data import write_toy_data

from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints.model_file import load

SIZE = ("--img-size", "64", "-j", "0", "--device", "cpu")
HEAD = ("--head", "isqrt", "--dim", "8")


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


def test_an_approximate_solution_tells_what_the_exact_one_takes(
    covtool, checkpoint, colors, tmp_path
) -> None:
    words = ("convert", checkpoint, *HEAD, "--calibrate", colors, *SIZE)
    code, out, err = covtool(*words, "--calibrate-memory", "1e-6", "-o", "a.safetensors")
    assert code == 0
    assert "projected (Nyström)" in out
    assert "exact solution" in out
    bound = re.search(
        r"The exact solution takes [\d.e-]+\s+GiB:\s+--calibrate-memory\s+([\d.]+)\.", out + err
    )
    assert bound is not None
    bounded = (*words, "--calibrate-memory", bound[1], "-o", "b.safetensors", "--json")
    code, out, _ = covtool(*bounded)
    assert code == 0
    calibration = json.loads(out)["calibration"]
    assert not calibration["projected"]
    assert 0 < calibration["exact_memory_gib"] <= float(bound[1])


def test_calibrated_head_over_two_maps_is_written_trained_and_used(
    covtool, checkpoint, colors, tmp_path
) -> None:
    taps = ("--tap", "layer3", "--tap", "layer4")
    code, out, _ = covtool(
        "convert", checkpoint, *HEAD, *taps, "--calibrate", colors, *SIZE, "-o", "two.safetensors"
    )
    assert code == 0
    shown = [line.strip() for line in out.splitlines()]
    maps = [line for line in shown if line.startswith("feature map")]
    assert [line.split()[2] for line in maps] == ["layer3.0:", "layer4.0:"]
    kept = next(line for line in shown if line.startswith("variance kept by the reduction"))
    assert kept.count("%") == 2
    assert load("two.safetensors").recipe.operations[0].tap == ("layer3.0", "layer4.0")
    assert covtool("inspect", "two.safetensors")[0] == 0
    code, out, _ = covtool(
        *("finetune", "two.safetensors", "--data", colors, "--epochs", "1", "-b", "6", "--json"),
        *SIZE,
    )
    assert code == 0
    trained = load(json.loads(out)["exported"]["last"])
    for index in (0, 1):
        name = f"global_pool.branches.{index}.reduction.conv.weight"
        before, after = (m.state_dict()[name] for m in (load("two.safetensors"), trained))
        assert not torch.equal(before, after)


def test_random_reductions_are_named_each(covtool, checkpoint) -> None:
    given = (*HEAD, "--tap", "layer4", "--tap", "layer2", "--fuse", "gap", "--plan", "--json")
    code, out, _ = covtool("convert", checkpoint, *given, "--img-size", "64")
    assert code == 0
    plan = json.loads(out)
    assert [tap["path"] for tap in plan["head"]["taps"]] == ["layer4.0", "layer2.0"]
    assert plan["head"]["tap"]["path"] == "layer4.0"
    assert plan["recipe"]["operations"][0]["tap"] == ["layer4.0", "layer2.0"]
    assert plan["random"] == [
        f"global_pool.second_order.branches.{index}.reduction" for index in (0, 1)
    ]


def test_joint_pooling_is_listed_with_the_channels_of_each_map(covtool, checkpoint) -> None:
    given = (*HEAD, "--tap", "layer3", "--tap", "layer4", "--plan", "--json")
    _, out, _ = covtool("convert", checkpoint, *given, "--img-size", "64")
    plan = json.loads(out)
    assert [tap["channels"] for tap in plan["head"]["taps"]] == [192, 96]
    changes = {change["path"]: change["new"] for change in plan["changes"]}
    assert changes["global_pool"] == "JointPooling(192 + 96 -> 72)"


@pytest.mark.parametrize(
    ("text", "tap"),
    [("tap: layer3", "layer3.0"), ("tap: [layer3, layer4]", ["layer3.0", "layer4.0"])],
)
def test_configuration_names_one_map_or_several(
    text: str, tap: object, covtool, checkpoint
) -> None:
    Path("settings.yaml").write_text(f"{text}\n")
    given = ("--config", "settings.yaml", "--plan", "--json", "--img-size", "64")
    code, out, err = covtool("convert", checkpoint, *HEAD, *given)
    assert code == 0, err
    assert json.loads(out)["recipe"]["operations"][0]["tap"] == tap


@pytest.mark.parametrize(
    ("taps", "told"),
    [
        (("layer3", "layer3"), "--tap layer3 is there twice"),
        (("layer4", "layer4.0"), "--tap layer4 and --tap layer4.0 are the same map"),
        (("layer4", "layer9"), "no feature map named 'layer9'"),
        (("layer1",) * 17, "a list of 16 at most"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    taps: tuple[str, ...], told: str, covtool, checkpoint, tmp_path
) -> None:
    flags = [part for tap in taps for part in ("--tap", tap)]
    code, _, err = covtool("convert", checkpoint, *HEAD, *flags, "--img-size", "64")
    assert code == 2
    assert told in err
    assert list(tmp_path.iterdir()) == []
