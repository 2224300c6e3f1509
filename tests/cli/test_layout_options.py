"""Published data sets at the command line: options that choose in them, and notes about them."""

import json

import pytest
import torch
import yaml
from published_trees import TREES, aircraft
from retrieval_trees import write_layumi

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import read_recipe, save
from covtool.data.datasets.reading import scan
from covtool.data.images.boxed import BoxedImage
from covtool.data.loading.loaders import evaluation_loader
from covtool.specs import BaseSpec, InputSpec, LayoutSpec, Provenance, Recipe
from covtool_cli.main import run

SMALL = InputSpec(size=(32, 32))
TRAINING = ("--from-scratch", "-j", "0", "-b", "4", "--img-size", "32", "--device", "cpu")


def covtool(capsys, *arguments):
    code = 0
    try:
        run([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code or 0
    return code, *(" ".join(text.split()) for text in capsys.readouterr())


@pytest.fixture
def birds(tmp_path):
    return TREES["cub-200-2011"](tmp_path / "birds").root


@pytest.fixture
def model(tmp_path, birds):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    network = create_model(base, num_classes=2)
    network.recipe = Recipe(
        base=base,
        num_classes=2,
        class_names=scan(birds).class_names,
        input=SMALL,
        provenance=Provenance(covtool_version="0"),
    )
    return save(network, tmp_path / "net.safetensors")


@pytest.mark.parametrize("crop", [None, "boxes"])
def test_a_model_is_measured_on_the_images_or_on_what_is_in_their_boxes(
    crop, model, birds, capsys
) -> None:
    import covtool as library

    asked = () if crop is None else ("--crop", crop)
    arguments = ("evaluate", model, "--data", birds, "--json", "-j", "0", "--device", "cpu")
    code, out, err = covtool(capsys, *arguments, *asked)
    assert code == 0, err
    assert "note: Read as cub-200-2011: 2 classes; images: 4 in train, 4 in test." in err
    samples = scan(birds, choice=LayoutSpec(crop=crop)).samples("test")
    assert isinstance(samples[0].path, BoxedImage) == (crop == "boxes")
    ((images, labels),) = evaluation_loader(samples, SMALL, workers=0)
    with torch.no_grad():
        logits = library.load(model)(images)
    shown = json.loads(out)
    assert shown["predictions"] == logits.argmax(1).tolist()
    assert shown["loss"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits, labels)), abs=1e-4
    )


def test_a_run_on_boxes_keeps_to_them_when_it_goes_on(birds, tmp_path, capsys) -> None:
    runs = ("--output", tmp_path / "runs", "--experiment", "boxes")
    code, _, err = covtool(
        capsys,
        *("finetune", "test_resnet", "--data", birds, "--crop", "boxes", "--epochs", "1"),
        *(*TRAINING, *runs),
    )
    assert code == 0, err
    assert "Read as cub-200-2011" in err
    run_folder = tmp_path / "runs" / "finetune" / "boxes"
    assert yaml.safe_load((run_folder / "args.yaml").read_text())["crop"] == "boxes"
    code, _, err = covtool(capsys, "finetune", "--resume", run_folder, "--epochs", "2")
    assert code == 0, err
    best = run_folder / "exported" / "best.safetensors"
    assert "on birds (--crop boxes): epoch" in read_recipe(best).provenance.history[-1]
    whole = ("evaluate", best, "--data", birds, "-j", "0", "--device", "cpu")
    assert (
        "trained with --crop boxes, and is measured on whole images" in covtool(capsys, *whole)[2]
    )
    assert "trained with" not in covtool(capsys, *whole, "--crop", "boxes")[2]
    assert len((run_folder / "summary.csv").read_text().splitlines()) == 3


def test_families_are_trained_where_they_are_asked_for(tmp_path, capsys) -> None:
    tree = aircraft(tmp_path / "planes", "family")
    code, _, err = covtool(
        capsys,
        *("finetune", "test_resnet", "--data", tree.root, "--labels", "family", "--epochs", "1"),
        *(*TRAINING, "--output", tmp_path / "runs", "--experiment", "family"),
    )
    assert code == 0, err
    recipe = yaml.safe_load((tmp_path / "runs/finetune/family/recipe.yaml").read_text())
    assert recipe["class_names"] == ["Boeing 707", "Boeing 717"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--labels", "family"), "--labels does not apply to"),
        (("--data-split", "2"), "Its layout takes --crop"),
        (("--data-split", "0"), "data-split"),
        (("--crop", "center"), "crop"),
    ],
)
def test_a_choice_that_the_data_does_not_leave_is_a_usage_error(
    arguments, message, birds, model, capsys
) -> None:
    code, _, err = covtool(capsys, "evaluate", model, "--data", birds, *arguments)
    assert code == 2
    assert message in err


def test_a_conversion_without_data_takes_no_choice_between_labels(tmp_path, capsys) -> None:
    code, _, err = covtool(capsys, "convert", "test_resnet", "--from-scratch", "--labels", "family")
    assert code == 2
    assert "--data DIR or --calibrate DIR" in err


def test_a_head_is_calibrated_on_a_published_data_set(birds, tmp_path, capsys) -> None:
    code, out, err = covtool(
        capsys,
        *("convert", "test_resnet", "--from-scratch", "--calibrate", birds, "--crop", "boxes"),
        *("-o", tmp_path / "out.safetensors", "--img-size", "64", "--dim", "8", "-j", "0"),
    )
    assert code == 0, err
    assert "Read as cub-200-2011" in out + err


def test_validation_images_without_classes_are_an_error_of_the_data(
    model, tmp_path, capsys
) -> None:
    root = TREES["imagenet-kaggle"](tmp_path / "data").root
    (root / "LOC_val_solution.csv").unlink()
    for asked in ((), ("--split", "val"), ("--split", "train")):
        place = root / "ILSVRC" / "Data" / "CLS-LOC"
        code, out, err = covtool(capsys, "evaluate", model, "--data", place, *asked)
        assert (code, out) == (4, "")
        assert "The 4 images in" in err


def test_folders_of_identities_are_searched_with_junk_and_distractors(
    model, tmp_path, capsys
) -> None:
    root = write_layumi(tmp_path / "people")
    code, out, err = covtool(
        capsys, "evaluate", model, "--data", root, "--json", "-j", "0", "--device", "cpu"
    )
    assert code == 0, err
    report = json.loads(out)["report"]
    assert (report["queries"], report["junk"], report["distractors"]) == (6, 3, 3)
    assert "Not used: train_all." in err


def test_images_of_a_folder_that_is_no_data_set_are_described_without_labels(
    model, tmp_path, capsys
) -> None:
    for split in ("train", "test"):
        (tmp_path / "loose").mkdir(exist_ok=True)
        root = TREES["tiny-imagenet"](tmp_path / split).root / "val" / "images"
        root.rename(tmp_path / "loose" / split)
    arguments = ("embed", model, tmp_path / "loose", "-o", tmp_path / "a.csv", "-j", "0")
    code, _, err = covtool(capsys, *arguments, "--device", "cpu")
    assert code == 0, err
    assert "are taken, without labels" in err
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 5
