"""`~` is the home folder wherever a shell leaves it alone."""

import pytest
from images import write_classes

from covtool_cli.home import expanded


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_classes(tmp_path / "data", {"a": 2, "b": 2})
    return tmp_path


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("~", "{home}"),
        ("~/x", "{home}/x"),
        ("wds/~/x", "wds/{home}/x"),
        ("~nobody-of-that-name/x", "~nobody-of-that-name/x"),
        ("a/~/x", "a/~/x"),
        (["~/x", "y"], ["{home}/x", "y"]),
        (3, 3),
    ],
)
def test_text_that_begins_with_it_is_expanded(home, value, meant):
    def filled(text):
        return text.format(home=home) if isinstance(text, str) else text

    meant = list(map(filled, meant)) if isinstance(meant, list) else filled(meant)
    assert expanded(value) == meant


def test_paths_behind_an_equals_sign_are_expanded(home, covtool):
    code, _, err = covtool("evaluate", "~/nothing.pth", "--data=~/data", "-j=0")
    assert code == 3
    assert f"{home}/nothing.pth" in err.replace("\n", "")
    code, _, err = covtool("convert", "test_resnet", "--head=gap", "-o=~/nowhere/net.safetensors")
    assert code == 2
    assert f"{home}/nowhere" in err.replace("\n", "")


def test_the_environment_and_settings_files_may_say_it(home, covtool, monkeypatch):
    monkeypatch.setenv("COVTOOL_EVALUATE_DATA", "~/missing")
    _, _, err = covtool("evaluate", "resnet18")
    assert f"{home}/missing" in err.replace("\n", "")
    monkeypatch.delenv("COVTOOL_EVALUATE_DATA")
    (home / "settings.yaml").write_text("data: ~/elsewhere\n")
    _, _, err = covtool("evaluate", "resnet18", "--config=~/settings.yaml")
    assert f"{home}/elsewhere" in err.replace("\n", "")
