"""`covtool list`, and the heads as `covtool convert` takes them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from covtool.checkpoints.model_file import read_recipe
from covtool.data.samplers import SAMPLERS
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.eigen_gradients import GRADIENTS
from covtool.specs.losses import LOSSES
from covtool.variants import CONVOLUTIONS, HEADS


def covtool(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "covtool_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("heads", HEADS.names),
        ("gradients", GRADIENTS.names),
        ("convs", CONVOLUTIONS.names),
        ("angulars", ANGULAR_ACTIVATIONS.names),
        ("losses", LOSSES.names),
        ("samplers", SAMPLERS.names),
    ],
)
def test_list_shows_every_row(what: str, names: tuple[str, ...]) -> None:
    done = covtool("list", what, "--json")
    assert [row["name"] for row in json.loads(done.stdout)[what]] == list(names)
    shown = covtool("list", what)
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in names)


def test_convert_takes_a_head_with_its_options(tmp_path: Path) -> None:
    done = covtool(
        *("convert", "test_resnet", "--from-scratch", "--img-size", 64, "--dim", 8),
        *("--head", "mpn", "--gradient", "taylor", "--gradient-order", 50, "--vec", "full"),
        *("--head-dtype", "float32", "-o", "a.safetensors"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    head = read_recipe(tmp_path / "a.safetensors").operations[-1]
    assert (head.head, head.gradient, head.gradient_order) == ("mpn", "taylor", 50)
    assert (head.vec, head.head_dtype) == ("full", "float32")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--head", "isqr"], "Did you mean 'isqrt'"),
        (["--head", "cov", "--alpha", "0.3"], "takes no --alpha"),
        (["--head", "mpn", "--alpha", "2"], "--alpha"),
        (["--head", "mpn", "--gradient", "tailor"], "tailor"),
        (["--head", "logm", "--dim", "8", "--gradient", "newton-schulz"], "square root"),
    ],
)
def test_mistakes_are_usage_errors_and_write_nothing(
    options: list[str], message: str, tmp_path: Path
) -> None:
    done = covtool("convert", "test_resnet", "--from-scratch", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []
