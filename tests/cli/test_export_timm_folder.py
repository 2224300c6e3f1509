"""`covtool export --format timm` as a user runs it."""

import json
from pathlib import Path

import pytest
import timm
import torch
from exported_models import head, model_of, write_model_of
from toy_data import write_toy_data

import covtool as library
from covtool.checkpoints.model_file import save
from covtool.exporting import timm_folder
from covtool.ops.neighbors import Neighbors, sketch_for
from covtool.specs import BaseSpec, NeighborSpec

FILES = {"README.md", "config.json", "model.safetensors"}
SQUEEZENET = BaseSpec(library="torchvision", name="squeezenet1_1")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a network as timm builds it, which keeps training embeddings too."""
    model = model_of()
    features = model.num_features
    spec = NeighborSpec(layer="fc", nearest=2, data="birds, train", images=4)
    model.neighbors = Neighbors.of(torch.eye(4, features), sketch_for(features))
    model.recipe = model.recipe.model_copy(update={"neighbors": spec})
    return save(model, tmp_path_factory.mktemp("plain") / "net.safetensors")


def test_folder_is_compared_on_images_and_opened_by_timm(
    covtool, plain: Path, tmp_path: Path
) -> None:
    write_toy_data(tmp_path / "birds", train=2, val=3)
    told = ("export", plain, "-o", "net", "--format", "timm", "--data", "birds")
    code, out, err = covtool(*told)
    assert code == 0, err
    for text in ("9 of birds, val", "1 and 7", "same answer", "0.001 of the spread", "temperature"):
        assert text in out
    assert "training embeddings in the file are not exported" in err
    assert {path.name for path in (tmp_path / "net").iterdir()} == FILES
    opened = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True).eval()
    batch = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(opened(batch), library.load(plain)(batch))

    code, _, err = covtool(*told)
    assert (code, "already exists" in err) == (2, True)
    code, out, err = covtool(*told[:6], "--overwrite", "--json")
    assert code == 0, err
    shown = json.loads(out)
    assert shown["proof"]["data"] is None
    assert shown["proof"]["relative_difference"] <= shown["tolerance"] == 1e-3
    assert (shown["interface"], shown["speed"]) == (None, [])


def test_card_says_what_was_assumed_about_a_file_of_others(
    covtool, plain: Path, tmp_path: Path
) -> None:
    torch.save(library.load(plain).state_dict(), tmp_path / "net.pth")
    told = ("net.pth", "--arch", "test_resnet")
    code, _, err = covtool("export", *told, "-o", "net", "--format", "timm")
    assert code == 0, err
    _, card, _ = covtool("card", *told)

    def assumed(text: str) -> list[str]:
        _, _, behind = text.partition("Assumed, as nothing states it, or to be noted:")
        return [line for line in behind.partition("## ")[0].splitlines() if line.startswith("- ")]

    assert assumed((tmp_path / "net" / "README.md").read_text()) == assumed(card) != []
    # What a covtool file says was settled when it was made.
    assert covtool("export", plain, "-o", "own", "--format", "timm")[0] == 0
    own = (tmp_path / "own" / "README.md").read_text()
    assert assumed(own) == []
    assert "rests on 10 images: it is a rough one" in own


def test_what_timm_cannot_build_is_refused_before_images_are_read(covtool, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "empty").mkdir()
    second = write_model_of(tmp_path / "a", head("isqrt"))
    vision = write_model_of(tmp_path / "b", base=SQUEEZENET)
    for model, reason in ((second, "Its head is isqrt"), (vision, "is torchvision's squeezenet")):
        told = ("-o", "net", "--format", "timm", "--data", "empty")
        code, _, err = covtool("export", model, *told)
        assert code == 2
        assert reason in " ".join(err.split())
    assert not (tmp_path / "net").exists()


def test_place_of_other_things_is_refused_before_the_model_is_opened(
    covtool, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "no-model.safetensors").touch()
    for place, said in (
        ("mine", "not a folder that covtool wrote"),
        ("link", "is a link"),
        ("missing/net", "There is no folder"),
    ):
        told = ("-o", place, "--format", "timm", "--overwrite")
        code, _, err = covtool("export", "no-model.safetensors", *told)
        assert (code, said in " ".join(err.split())) == (2, True), err
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_folder_that_answers_otherwise_ends_with_6_and_is_not_left(
    covtool, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(folder: Path) -> torch.nn.Module:
        model = opens(folder)
        # Beyond the two images that the folder itself is always compared on.
        model.register_forward_hook(lambda _, given, answer: answer + (len(given[0]) != 2))
        return model

    opens = timm_folder.open_timm_folder
    monkeypatch.setattr(timm_folder, "open_timm_folder", changed)
    code, _, err = covtool("export", plain, "-o", "net", "--format", "timm")
    assert (code, "nothing was written" in err) == (6, True)
    assert not list(tmp_path.iterdir())
