"""A model of covtool's prepares images as evaluation does, and says its classes and images."""

import copy
import io
import pickle

import numpy as np
import pytest
import timm
import torch
from images import photograph, write_image
from PIL import Image

import covtool
from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints import model_file
from covtool.conversion import ConversionRequest
from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import evaluation_loader
from covtool.data.transforms.preparation import Preparation
from covtool.errors import ArgumentError, CheckpointError, DataError
from covtool.specs import HeadSpec, InputSpec, Provenance, Recipe
from covtool.surgery.describing import attach_recipe

OWN = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
IMAGES = {
    "usual": InputSpec(),
    "small": InputSpec(size=(32, 32), **OWN),
    "oblong": InputSpec(size=(64, 32), crop_pct=1, interpolation="bicubic"),
    "squash": InputSpec(size=(48, 48), crop_mode="squash", crop_pct=0.9),
    "border": InputSpec(size=(48, 48), crop_mode="border", interpolation="lanczos"),
    "turned": InputSpec(size=(32, 40), exif=True, interpolation="nearest"),
    "one statistic": InputSpec(size=(32, 32), mean=(0.5,), std=(0.25,)),
    "gray": InputSpec(size=(32, 32), channels=1, mean=(0.4,), std=(0.3,), exif=True),
    "gray of three": InputSpec(size=(32, 32), channels=1, **OWN),
}
BASES = ("test_resnet", "test_vit3", "torchvision:shufflenet_v2_x0_5")
NAMES = ("bear", "cat", "dog")


def write_model(folder, input, base="test_resnet", names=NAMES):
    torch.manual_seed(0)
    spec = parse_name(base)[0]
    arguments = {"in_chans": 1} if input.channels == 1 else {}
    if base == "test_vit3":
        arguments["img_size"] = list(input.size)
    spec = spec.model_copy(update={"arguments": arguments})
    model = create_model(spec, num_classes=3).eval()
    provenance = Provenance(covtool_version="test")
    model.recipe = Recipe(
        base=spec, num_classes=3, class_names=names, input=input, provenance=provenance
    )
    return model_file.save(model, folder / "net.safetensors", overwrite=True)


def write_pictures(folder):
    """Write a file of each kind that is not just read: turned, transparent, gray, 16 bits."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = photograph((70, 50))
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    deep = (np.asarray(picture.convert("L")).astype(np.uint16) * 257)[::-1].copy()
    alpha = Image.fromarray(np.dstack([picture, np.asarray(picture)[..., 0]]))
    made = {
        "plain.png": (picture, {}),
        "turned.jpg": (picture, {"exif": exif}),
        "transparent.png": (alpha, {}),
        "palette.png": (palette, {"transparency": b"\x00\x80\xff"}),
        "gray.png": (picture.convert("L"), {}),
        "deep.png": (Image.fromarray(deep), {}),
        "cmyk.jpg": (picture.convert("CMYK"), {}),
        "turned.tif": (picture, {"exif": exif}),
        "bits.png": (picture.convert("1"), {}),
    }
    for name, (image, settings) in made.items():
        image.save(folder / name, **settings)
    return [folder / name for name in made]


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_becomes_what_evaluation_makes_of_it_bit_for_bit(tmp_path, kind):
    model = covtool.load(write_model(tmp_path, IMAGES[kind]))
    paths = write_pictures(tmp_path)
    samples = [Sample(path, 0) for path in paths]
    (expected, _), *_ = evaluation_loader(samples, IMAGES[kind], batch_size=99, workers=0)
    for path, wanted in zip(paths, expected, strict=True):
        assert torch.equal(model.transform(path), wanted), path.name
        assert torch.equal(model.transform(str(path)), wanted), path.name
        with Image.open(path) as picture:
            assert torch.equal(model.transform(picture), wanted), path.name
        with path.open("rb") as file:
            file.read(3)
            assert torch.equal(model.transform(file), wanted), path.name
            assert not file.closed
    with torch.no_grad():
        assert model(torch.stack([model.transform(path) for path in paths])).shape == (9, 3)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", [kind for kind in IMAGES if "gray" not in kind])
def test_timm_finds_the_files_images(tmp_path, base, kind):
    input = IMAGES[kind]
    model = covtool.load(write_model(tmp_path, input, base))
    mean, std = (v * 3 if len(v) == 1 else v for v in (input.mean, input.std))
    expected = {
        "input_size": (3, *input.size),
        "interpolation": input.interpolation,
        "mean": mean,
        "std": std,
        "crop_pct": input.crop_pct,
        "crop_mode": input.crop_mode,
    }
    assert timm.data.resolve_data_config(model=model) == expected
    assert timm.data.resolve_data_config({}, model=model, use_test_size=True) == expected
    assert timm.data.resolve_model_data_config(model) == expected
    picture = photograph((90, 70))
    of_timm = timm.data.create_transform(**expected)(picture)
    torch.testing.assert_close(of_timm, model.transform(picture), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["gray", "gray of three"])
def test_timm_finds_that_a_model_is_gray(tmp_path, kind):
    model = covtool.load(write_model(tmp_path, IMAGES[kind]))
    config = timm.data.resolve_model_data_config(model)
    assert config["input_size"] == (1, 32, 32)
    assert model.transform(photograph((50, 50))).shape == (1, 32, 32)


def test_the_attributes_follow_the_images_that_are_asked_for(tmp_path):
    path = write_model(tmp_path, IMAGES["small"])
    asked = {"size": (64, 48), "crop_mode": "squash", "mean": (0.5, 0.5, 0.5)}
    opened = covtool.open_model(path, input=asked)
    assert opened.model.transform(photograph((50, 50))).shape == (3, 64, 48)
    assert opened.model.transform.input == opened.recipe.input
    config = timm.data.resolve_model_data_config(opened.model)
    assert (config["input_size"], config["crop_mode"]) == ((3, 64, 48), "squash")
    assert opened.model.class_names == NAMES


def test_the_attributes_follow_another_recipe(tmp_path):
    model = covtool.load(write_model(tmp_path, IMAGES["small"]))
    changes = {"input": IMAGES["oblong"], "class_names": None}
    attach_recipe(model, model.recipe.model_copy(update=changes))
    assert model.class_names is None
    assert "label_names" not in model.pretrained_cfg
    assert model.transform.input == IMAGES["oblong"]
    assert timm.data.resolve_model_data_config(model)["input_size"] == (3, 64, 32)


def test_the_classes_are_the_files(tmp_path):
    assert covtool.load(write_model(tmp_path, IMAGES["small"])).class_names == NAMES
    assert covtool.load(write_model(tmp_path, IMAGES["small"], names=None)).class_names is None


def test_a_model_by_name_has_them_too():
    model = covtool.open_model("test_resnet", from_scratch=True).model
    assert model.transform(photograph((300, 200))).shape == (3, 160, 160)
    assert model.class_names is None or len(model.class_names) == model.num_classes


def test_classes_are_gone_with_the_classifier(tmp_path):
    path = tmp_path / "converted.safetensors"
    source = str(write_model(tmp_path, IMAGES["small"]))
    covtool.convert(ConversionRequest(source=source, operations=[HeadSpec(dim=8)], output=path))
    model = covtool.load(path)
    model.reset_classifier(5)
    assert (model.class_names, model.recipe.num_classes) == (None, 5)
    model.reset_classifier(0)
    assert (model.class_names, model.recipe) == (None, None)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": lambda model: torch.load(_saved(model), weights_only=False),
}


def _saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("base", BASES)
def test_copies_keep_them(tmp_path, how, base):
    model = covtool.load(write_model(tmp_path, IMAGES["small"], base))
    again, picture = COPIES[how](model), photograph((50, 40))
    assert torch.equal(again.transform(picture), model.transform(picture))
    assert (again.class_names, again.recipe) == (model.class_names, model.recipe)
    images = model.transform(picture)[None]
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


def test_they_are_no_tensors_of_the_model(tmp_path):
    model = covtool.load(write_model(tmp_path, IMAGES["small"]))
    bare = create_model(model.recipe.base, num_classes=3)
    assert model.state_dict().keys() == bare.state_dict().keys()
    assert [name for name, _ in model.named_modules()] == [name for name, _ in bare.named_modules()]


def test_a_model_compiles_with_them(tmp_path):
    model = covtool.load(write_model(tmp_path, IMAGES["small"]))
    images = model.transform(photograph((50, 40)))[None]
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), model(images))
    assert compiled.class_names == NAMES
    assert torch.equal(compiled.transform(photograph((50, 40)))[None], images)


def test_a_picture_stays_as_it_is():
    picture = photograph((50, 40)).convert("RGBA")
    before = picture.tobytes()
    Preparation(IMAGES["gray"])(picture)
    assert (picture.mode, picture.tobytes()) == ("RGBA", before)


@pytest.fixture
def transform(tmp_path):
    return covtool.load(write_model(tmp_path, IMAGES["small"])).transform


def test_what_cannot_be_read_is_named(transform, tmp_path):
    broken = write_image(tmp_path / "broken.png")
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(DataError, match=r"broken\.png cannot be read"):
        transform(broken)
    with broken.open("rb") as file, pytest.raises(DataError, match=r"broken\.png cannot be read"):
        transform(file)
    with Image.open(broken) as picture, pytest.raises(DataError, match=r"broken\.png cannot"):
        transform(picture)
    with pytest.raises(DataError, match="nowhere"):
        transform("nowhere.png")
    with pytest.raises(DataError, match="open file cannot be read") as caught:
        transform(io.BytesIO(b""))
    assert "empty" in caught.value.reason
    with pytest.raises(DataError, match="mode F cannot be read") as caught:
        transform(Image.new("F", (20, 20)))
    assert "unknown range" in caught.value.reason
    with pytest.raises(DataError, match="cannot be read") as caught:
        transform(Image.new("RGB", (0, 20)))
    assert caught.value.reason == "It has no pixels."


@pytest.mark.parametrize("given", [np.zeros((8, 8, 3)), torch.zeros(3, 8, 8), None, 5])
def test_what_is_no_image_is_refused(transform, given):
    with pytest.raises(ArgumentError, match="is not an image") as caught:
        transform(given)
    assert "fromarray" in caught.value.hint
    with pytest.raises(ArgumentError, match="open as text"):
        transform(io.StringIO("text"))


def test_a_pipe_is_read_to_its_end(transform, tmp_path):
    path = write_image(tmp_path / "x.png")

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    assert torch.equal(transform(Pipe(path.read_bytes())), transform(path))


def test_a_model_of_other_channels_says_so_only_when_it_is_asked(tmp_path):
    model = covtool.load(write_model(tmp_path, IMAGES["small"]))
    spec = InputSpec(channels=4, size=(32, 32), mean=(0.5,), std=(0.5,))
    attach_recipe(model, model.recipe.model_copy(update={"input": spec}))
    assert timm.data.resolve_model_data_config(model)["input_size"] == (4, 32, 32)
    with pytest.raises(ArgumentError, match="4 channels"):
        model.transform(photograph((20, 20)))


def test_files_of_other_programs_are_for_open_model(tmp_path):
    torch.save(
        create_model(parse_name("test_resnet")[0], num_classes=9).state_dict(), tmp_path / "x.pth"
    )
    with pytest.raises(CheckpointError, match="no covtool recipe") as caught:
        covtool.load(tmp_path / "x.pth")
    assert "open_model" in caught.value.hint
    with pytest.raises(CheckpointError, match="does not exist"):
        covtool.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(CheckpointError, match="is a folder"):
        covtool.load(tmp_path)
