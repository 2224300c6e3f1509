import json

import pytest
import torch
from images import truncate, write_classes

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.data.layouts import scan
from covtool.data.loaders import evaluation_loader
from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe
from covtool_cli.main import run

SMALL = InputSpec(size=(32, 32))
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=3)
    model.recipe = Recipe(
        base=base,
        num_classes=3,
        class_names=CLASSES,
        input=SMALL,
        provenance=Provenance(covtool_version="0"),
    )
    return save(model, tmp_path_factory.mktemp("model") / "net.safetensors")


@pytest.fixture
def data(tmp_path):
    write_classes(tmp_path / "data" / "train", dict.fromkeys(CLASSES, 1))
    return write_classes(tmp_path / "data" / "test", {"a": 4, "b": 3, "c": 2}).parent


def _run(capsys, *arguments):
    code = 0
    try:
        run(["evaluate", *map(str, arguments), "--device", "cpu", "-j", "0"])
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()


def test_the_figures_are_those_of_the_model_in_the_file(model_path, data, capsys) -> None:
    import covtool

    code, out, _ = _run(capsys, model_path, "--data", data, "--json", "-b", "4")
    assert code == 0
    shown = json.loads(out)
    samples = scan(data).samples("test")
    ((images, labels),) = evaluation_loader(samples, SMALL, workers=0)
    with torch.no_grad():
        expected = covtool.load(model_path)(images).argmax(1)
    assert shown["predictions"] == expected.tolist()
    assert shown["top_1"] == pytest.approx(100 * float((expected == labels).double().mean()))
    assert (shown["split"], shown["images"], shown["top_5"]) == ("test", 9, None)
    assert [row["images"] for row in shown["per_class"]] == [4, 3, 2]


def test_a_person_sees_tables_and_can_choose_the_split(model_path, data, capsys) -> None:
    code, out, _ = _run(capsys, model_path, "--data", data, "--split", "train", "--per-class")
    assert code == 0
    for text in ("top-1", "data, train", "images/s", "accuracy (%)", "taken for"):
        assert text in out
    code, _, err = _run(capsys, model_path, "--data", data, "--split", "dev")
    assert (code, "no split called 'dev'" in err) == (4, True)


def test_the_input_can_be_told(model_path, data, capsys) -> None:
    told = ("--mean", "0.5", "--std", "0.1,0.2,0.3", "--img-size", "40", "--crop-mode", "squash")
    code, out, _ = _run(capsys, model_path, "--data", data, *told, "--json")
    assert code == 0
    shown = json.loads(out)["input"]
    assert (shown["size"], shown["mean"], shown["std"]) == ([40, 40], [0.5], [0.1, 0.2, 0.3])
    assert shown["crop_mode"] == "squash"


def test_unreadable_images_end_it_or_are_left_out_and_listed(model_path, data, capsys) -> None:
    truncate(data / "test" / "a" / "001.png")
    code, _, err = _run(capsys, model_path, "--data", data)
    assert (code, "1 of 9 images cannot be read" in err) == (4, True)
    code, out, err = _run(capsys, model_path, "--data", data, "--on-bad-image", "skip", "--json")
    assert (code, json.loads(out)["images"], "left out" in err) == (0, 8, True)


def test_data_of_other_classes_is_refused_with_both_lists(model_path, tmp_path, capsys) -> None:
    other = write_classes(tmp_path / "other", {"a": 1, "zebra": 1})
    code, _, err = _run(capsys, model_path, "--data", other)
    assert code == 4
    assert "Model: a, b, c. Data: a, zebra." in err
