"""The EXIF orientation is applied to new work, everywhere alike, and left alone for old files."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from images import photograph, write_classes
from PIL import Image, ImageOps

from covtool.checkpoints import model_file
from covtool.checkpoints.opening import open_model
from covtool.data.cache import CacheRequest, CacheSetting, open_caches, training_form
from covtool.data.datasets.checking import check_images
from covtool.data.datasets.reading import scan
from covtool.data.images.decoding import image_size, read_image
from covtool.data.images.orientation import TURNS
from covtool.data.loading.loaders import evaluation_loader, training_loader
from covtool.evaluation.evaluate import EvaluationRequest, evaluate
from covtool.specs import AugmentationSpec, InputSpec, LoadingSpec, Recipe

ORIENTATION = 0x0112
SUFFIXES = [".png", ".jpg", ".webp", ".tif", ".avif"]


def _write(path: Path, orientation: int, *, seed: int = 0) -> Path:
    """A photograph that its EXIF data turn."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    photograph((40, 24), seed=seed).save(path, exif=exif)
    return path


def _turned_classes(root: Path, **orientations: int) -> Path:
    for seed, (name, orientation) in enumerate(orientations.items()):
        for number in range(2):
            _write(root / name / f"{number}.png", orientation, seed=10 * seed + number)
    return root


def _with(model, recipe: Recipe):
    model.recipe = recipe
    return model


def _input(**fields) -> InputSpec:
    return InputSpec(size=(24, 24), mean=(0.0,), std=(1.0,), **fields)


@pytest.mark.parametrize("orientation", [1, *TURNS])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_orientation_is_what_pillow_makes_of_it(tmp_path, suffix, orientation):
    path = _write(tmp_path / f"x{suffix}", orientation)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    assert np.array_equal(read_image(path, exif=True), upright)
    stored = read_image(path)
    if suffix != ".tif":  # which Pillow turns by itself
        assert stored.size == (40, 24)
        turn = TURNS.get(orientation)
        again = stored if turn is None else stored.transpose(turn)
        assert np.array_equal(again, read_image(path, exif=True))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_without_an_orientation_is_the_same_to_the_bit(tmp_path, suffix):
    photograph((40, 24)).save(tmp_path / f"x{suffix}")
    path = tmp_path / f"x{suffix}"
    assert np.array_equal(read_image(path), read_image(path, exif=True))


def test_damaged_exif_data_turn_nothing(tmp_path):
    photograph((40, 24)).save(tmp_path / "x.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)  # of Pillow
        assert read_image(tmp_path / "x.png", exif=True).size == (40, 24)


def test_an_orientation_behind_the_pixels_of_a_png_is_found(tmp_path):
    path = _write(tmp_path / "x.png", 6)
    data = path.read_bytes()
    at = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[at : at + 4], "big")
    chunk, rest = data[at : at + length], data[:at] + data[at + length :]
    path.write_bytes(rest[:-12] + chunk + rest[-12:])  # in front of IEND
    assert image_size(path) == (40, 24)
    assert read_image(path, exif=True).size == (24, 40)


def test_the_check_counts_images_with_an_orientation(tmp_path):
    root = _turned_classes(tmp_path, a=1, b=6)
    assert check_images(scan(root).splits["train"]).turned == 2
    assert check_images(scan(write_classes(tmp_path / "x", {"a": 2})).splits["train"]).turned == 0


@pytest.mark.parametrize("exif", [True, False])
def test_every_loader_reads_images_alike(tmp_path, exif):
    root = _turned_classes(tmp_path, a=6, b=3, c=1)
    samples, input = scan(root).splits["train"], _input(exif=exif, crop_pct=1.0)
    expected = [
        np.asarray(read_image(s.path, exif=exif).resize((40, 24))) for s in samples
    ]  # only to see that the images differ
    assert len({image.tobytes() for image in expected}) == len(samples)
    (evaluated, _), *_ = evaluation_loader(samples, input, batch_size=6, workers=0)
    still = AugmentationSpec(aug=False)
    batches = training_loader(samples, input, still, batch_size=6, workers=0)
    batches.set_epoch(0)
    (trained, labels), *_ = batches
    for label in range(3):
        assert {image.numpy().tobytes() for image in trained[labels == label]} == {
            image.numpy().tobytes() for image in evaluated[2 * label : 2 * label + 2]
        }


@pytest.mark.parametrize("cache", ["ram", "disk"])
@pytest.mark.parametrize("exif", [True, False])
def test_a_cache_holds_images_as_they_are_turned(tmp_path, cache, exif):
    root = _turned_classes(tmp_path / "data", a=6, b=3, c=1)
    samples, notes = scan(root).splits["train"], []
    form = training_form(_input(exif=exif), AugmentationSpec())
    setting = CacheSetting(
        spec=LoadingSpec(cache=cache, cache_dir=str(tmp_path / "cache")),
        root=root,
        exif=exif,
        note=notes.append,
    )
    for _ in range(2):  # filled, then mapped where it is on the disk
        (cached,) = open_caches([CacheRequest(split="train", samples=samples, form=form)], setting)
        for row, sample in enumerate(samples):
            assert np.array_equal(cached.images[row], read_image(sample.path, exif=exif))
    assert any("4 train images" in note for note in notes)


def test_caches_with_and_without_orientation_are_two(tmp_path):
    root = _turned_classes(tmp_path / "data", a=6, b=6)
    samples = scan(root).splits["train"]
    request = CacheRequest(
        split="train", samples=samples, form=training_form(_input(), AugmentationSpec())
    )
    spec = LoadingSpec(cache="disk", cache_dir=str(tmp_path / "cache"))
    for exif in (False, True):
        (cached,) = open_caches([request], CacheSetting(spec=spec, root=root, exif=exif))
        assert tuple(cached.images[0].shape) == ((40, 24, 3) if exif else (24, 40, 3))
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 2


def test_new_work_applies_it_and_files_keep_what_they_were_made_with(tmp_path):
    opened = open_model("test_resnet", from_scratch=True)
    assert opened.recipe.input.exif
    assert not open_model("test_resnet", from_scratch=True, input={"exif": False}).recipe.input.exif
    torch.save(opened.model.state_dict(), tmp_path / "net.pth")
    assert open_model(tmp_path / "net.pth", arch="test_resnet").recipe.input.exif
    text = opened.recipe.model_dump(mode="json")
    del text["input"]["exif"]  # as older versions wrote it
    old = Recipe.model_validate(text)
    model_file.save(_with(opened.model, old), tmp_path / "old.safetensors")
    assert not open_model(tmp_path / "old.safetensors").recipe.input.exif
    changed = open_model(tmp_path / "old.safetensors", input={"exif": True})
    assert changed.recipe.input.exif


@pytest.mark.parametrize("exif", [True, False])
def test_an_evaluation_says_how_many_images_are_turned(tmp_path, exif):
    opened = open_model("test_resnet", from_scratch=True, num_classes=2)
    recipe = opened.recipe.model_copy(
        update={
            "input": opened.recipe.input.model_copy(update={"exif": exif}),
            "provenance": opened.recipe.provenance.model_copy(update={"untrained": ()}),
        }
    )
    model_file.save(_with(opened.model, recipe), tmp_path / "net.safetensors")
    root = _turned_classes(tmp_path / "data", a=1, b=6)
    done = evaluate(
        EvaluationRequest(source=str(tmp_path / "net.safetensors"), data=root, workers=0)
    )
    told = "2 images are turned" if exif else "EXIF orientation of 2 images is not applied"
    assert any(told in note for note in done.notes)
