"""A published covariance network from the command line: inspect, convert, evaluate, finetune."""

import json
from pathlib import Path

import pytest
import torch
from in_process import covtool
from torch import nn
from torchvision import models
from toy_data import write_toy_data

from covtool.checkpoints.model_file import read_recipe

DIM = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    body = models.resnet18().state_dict()
    state = {n: t for n, t in body.items() if not n.startswith("fc.")}
    state["layer_reduce.weight"] = torch.randn(DIM, 512, 1, 1) / 20
    for name, tensor in nn.BatchNorm2d(DIM).state_dict().items():
        state[f"layer_reduce_bn.{name}"] = tensor
    state |= {f"fc.{n}": t for n, t in nn.Linear(DIM * (DIM + 1) // 2, 3).state_dict().items()}
    torch.save(state, folder / "mpncovresnet18.pth")
    write_toy_data(folder / "data", train=4, val=2)
    return folder


def test_inspect_shows_recipe_and_assumption(folder: Path) -> None:
    done = covtool("inspect", "mpncovresnet18.pth", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [o["operation"] for o in shown["recipe"]["operations"]] == ["last-stride", "head"]
    assert any("--iterations" in note for note in shown["notes"])
    assert covtool("inspect", "mpncovresnet18.pth", cwd=folder).returncode == 0


def test_convert_imports_with_the_iterations_that_are_told(folder: Path) -> None:
    out = ("-o", "imported.safetensors")
    done = covtool("convert", "mpncovresnet18.pth", "--iterations", 3, *out, cwd=folder)
    assert done.returncode == 0, done.stderr
    recipe = read_recipe(folder / "imported.safetensors")
    assert recipe.operations[-1].iterations == 3
    assert "imported" in recipe.provenance.history[-1]
    options = ("--head", "cov", "-o", "b.safetensors")
    refused = covtool("convert", "mpncovresnet18.pth", *options, cwd=folder)
    assert refused.returncode == 2
    assert "--head-schedule" in refused.stderr


def test_evaluate_and_finetune_take_it(folder: Path) -> None:
    options = ("--data", "data", "--img-size", 64, "-j", 0)
    done = covtool(
        "evaluate", "mpncovresnet18.pth", *options, "--iterations", 4, "--json", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    run = covtool(
        *("finetune", "mpncovresnet18.pth", *options, "--iterations", 4),
        *("--epochs", 1, "--head-schedule", "mpn@0", "--experiment", "x"),
        cwd=folder,
    )
    assert run.returncode == 0, run.stderr
    head = read_recipe(folder / "runs/finetune/x/exported/last.safetensors").operations[-1]
    assert (head.head, head.iterations) == ("mpn", 5)
