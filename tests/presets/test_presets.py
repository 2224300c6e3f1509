"""Presets: valid in every key, overridden in order, recorded, and able to train."""

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from toy_data import write_toy_data

from covtool.errors import UnknownKeyError, UnknownVariantError
from covtool.presets import PRESETS, Preset, parse_preset
from covtool.specs import FinetuneRequest
from covtool_cli import training as command

ROOT = Path(__file__).parents[2]
EVERY = pytest.mark.parametrize("preset", tuple(PRESETS), ids=PRESETS.names)


@EVERY
def test_every_setting_is_valid_and_survives_the_way_through_args_yaml(preset: Preset) -> None:
    request = FinetuneRequest.from_arguments({"model": "m", "data": "d", **preset.settings})
    request.validate_fields()
    recorded = yaml.safe_load(yaml.safe_dump(request.to_arguments()))
    assert {name: recorded[name] for name in preset.settings} == {
        name: str(value) if name == "img_size" else value for name, value in preset.settings.items()
    }


@EVERY
def test_the_text_says_where_each_number_is_from(preset: Preset) -> None:
    settings = [line for line in preset.text.splitlines() if line[:1].isalpha()]
    assert [line.split(":")[0] for line in settings] == list(preset.settings)
    if "All numbers are ours" not in preset.text:
        assert all("  # " in line for line in settings)
        assert preset.text.startswith("# ")
    assert yaml.safe_load(preset.text) == preset.settings
    assert preset.summary.endswith(".")


@EVERY
def test_the_file_is_part_of_the_package(preset: Preset) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "covtool.presets" in project["packages"]
    assert project["package-data"]["covtool.presets"] == ["*.yaml"]
    assert (ROOT / "covtool" / "presets" / f"{preset.name}.yaml").is_file()


def test_every_file_is_in_the_table() -> None:
    files = {path.stem for path in (ROOT / "covtool" / "presets").glob("*.yaml")}
    assert files == set(PRESETS.names)


def test_an_unknown_preset_and_an_unknown_key_are_refused_with_a_guess() -> None:
    with pytest.raises(UnknownVariantError, match=r"no preset named 'fgcv'. Did you mean 'fgvc'"):
        PRESETS["fgcv"]
    text = "summary: S.\nsource: me\n---\nlearning_rate: 1\nbatchsize: 3\n"
    with pytest.raises(UnknownKeyError, match="The preset mine has an unknown key 'learning_rate'"):
        parse_preset("mine", text)
    with pytest.raises(UnknownKeyError, match="Did you mean 'batch_size'"):
        parse_preset("mine", text.replace("learning_rate: 1\n", ""))


@pytest.fixture
def asked(covtool, monkeypatch: pytest.MonkeyPatch):
    """Run `covtool finetune` and catch the request that it comes to."""
    requests: list[FinetuneRequest] = []
    monkeypatch.setattr(command, "_start", lambda _, request, *__: (requests.append(request), None))
    monkeypatch.setattr(command, "show_result", lambda *_, **__: None)

    def ask(*arguments: object) -> FinetuneRequest:
        code, _, err = covtool("finetune", "test_resnet", "--data", ".", *arguments)
        assert code == 0, err
        return requests.pop()

    return ask


LR = {"default": None, "fgvc": 1.2e-3, "config": 0.02, "environment": 0.03, "flag": 0.04}


def test_default_preset_config_environment_flag_in_this_order(
    asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.yaml").write_text(f"lr: {LR['config']}\n")
    preset, config = ("--preset", "fgvc"), ("--config", "my.yaml")
    assert asked().training.lr == LR["default"]
    assert asked(*preset).training.lr == LR["fgvc"]
    assert asked(*preset, *config).training.lr == LR["config"]
    assert asked(*config, *preset).training.lr == LR["config"]
    monkeypatch.setenv("COVTOOL_FINETUNE_LR", str(LR["environment"]))
    assert asked(*preset, *config).training.lr == LR["environment"]
    last = asked("--lr", LR["flag"], *preset, *config)
    assert last.training.lr == LR["flag"]
    assert (last.preset, last.training.gc, last.images.img_size) == ("fgvc", True, "448")


@pytest.mark.parametrize("arguments", [(), ("--preset", "fgvc")])
def test_a_config_and_the_environment_may_name_the_preset(
    arguments: tuple[str, ...], asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.yaml").write_text("preset: reid\nepochs: 30\n")
    request = asked(*arguments, "--config", "my.yaml")
    assert request.preset == (arguments[1] if arguments else "reid")
    assert request.training.gc == bool(arguments)
    assert request.training.epochs == 30
    monkeypatch.setenv("COVTOOL_FINETUNE_PRESET", "imagenet")
    if not arguments:
        assert asked("--config", "my.yaml").training.opt == "lamb"


def test_a_switch_that_a_preset_turns_on_can_be_turned_off(asked) -> None:
    assert asked("--preset", "fgvc", "--no-gc").training.gc is False
    milestones = asked("--preset", "reid", "--decay-milestones", 50).training.decay_milestones
    assert milestones == (50,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "fgcv"), "There is no preset named 'fgcv'. Did you mean 'fgvc'?"),
        (("--preset", "reid", "-b", "30"), "--batch-size 30 is not a multiple of the 4 images"),
        (("--preset", "reid", "--epochs", "5"), "--warmup-epochs 10 leaves nothing of --epochs 5"),
    ],
)
def test_mistakes_with_presets_are_usage_errors(
    arguments: tuple[str, ...], message: str, covtool
) -> None:
    code, _, err = covtool("finetune", "m", "--data", "d", *arguments)
    assert code == 2
    assert message in err


TINY = {
    "fgvc": ("--img-size", "32", "-b", "6"),
    "reid": ("--img-size", "64x32", "-b", "8"),
    "imagenet": ("--img-size", "32", "-b", "6"),
    "quick": ("--img-size", "32", "-b", "6"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=6, val=2)


@EVERY
def test_every_preset_trains_and_args_yaml_gives_the_same_run_again(
    preset: Preset, covtool, data: Path, tmp_path: Path
) -> None:
    short = ("--epochs", "2", "--warmup-epochs", "0.5", "-j", "0", "--device", "cpu")
    tiny = (*short, *TINY[preset.name], "--from-scratch", "--json")
    arguments = ("test_resnet", "--data", data, "--preset", preset.name, *tiny)
    code, out, err = covtool("finetune", *arguments)
    assert code == 0, err
    written = tmp_path / json.loads(out)["directory"] / "args.yaml"
    recorded = yaml.safe_load(written.read_text())
    assert recorded["preset"] == preset.name
    given = {"img_size", "batch_size", "epochs", "warmup_epochs"}
    for name in preset.settings.keys() - given:
        assert recorded[name] == preset.settings[name], name
    code, out, err = covtool("finetune", "--config", written, "--json")
    assert code == 0, err
    again = tmp_path / json.loads(out)["directory"] / "args.yaml"
    assert again != written
    assert yaml.safe_load(again.read_text()) == recorded
