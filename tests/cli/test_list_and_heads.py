"""`covtool list`, and the heads as `covtool convert` takes them."""

import json
from pathlib import Path

import pytest
from in_process import covtool

from covtool.checkpoints.model_file import read_recipe
from covtool.data.datasets.published import PUBLISHED
from covtool.data.datasets.retrieval.forms import FORMS
from covtool.data.loading.samplers import SAMPLERS
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.eigen_gradients import GRADIENTS
from covtool.presets import PRESETS
from covtool.specs.losses import LOSSES
from covtool.variants import CONVOLUTIONS, HEADS


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("heads", HEADS.names),
        ("gradients", GRADIENTS.names),
        ("convs", CONVOLUTIONS.names),
        ("angulars", ANGULAR_ACTIVATIONS.names),
        ("losses", LOSSES.names),
        ("samplers", SAMPLERS.names),
        ("presets", PRESETS.names),
        ("data", (*PUBLISHED.names, *FORMS.names)),
    ],
)
def test_list_shows_every_row(what: str, names: tuple[str, ...]) -> None:
    done = covtool("list", what, "--json")
    assert [row["name"] for row in json.loads(done.stdout)[what]] == list(names)
    shown = covtool("list", what)
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in names)


def test_list_presets_shows_what_each_sets() -> None:
    rows = json.loads(covtool("list", "presets", "--json").stdout)["presets"]
    assert {row["name"]: row["settings"] for row in rows} == {p.name: p.settings for p in PRESETS}
    shown = covtool("list", "presets").stdout
    assert "img_size: 256x128" in shown
    assert "decay_milestones: 40, 90" in shown


def test_a_preset_is_shown_as_a_configuration_to_edit() -> None:
    assert covtool("list", "presets", "--show", "reid").stdout == PRESETS["reid"].text
    row = json.loads(covtool("list", "presets", "--show", "reid", "--json").stdout)
    assert row["settings"] == PRESETS["reid"].settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("presets", "--show", "raid"), "Did you mean 'reid'?"),
        (("heads", "--show", "isqrt"), "--show is for presets."),
    ],
)
def test_what_cannot_be_shown_is_a_usage_error(arguments: tuple[str, ...], message: str) -> None:
    done = covtool("list", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


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
