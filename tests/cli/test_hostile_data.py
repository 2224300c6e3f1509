"""Commands on hostile data: exit code 4, or 0 without it, and nothing raw on the terminal."""

import io
import os
import tarfile

import pytest
import torch
from PIL import Image
from toy_data import write_toy_data

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe

QUICK = ("--workers", "0", "--device", "cpu")


def model(path, names):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    network = create_model(base, num_classes=len(names))
    network.recipe = Recipe(
        base=base,
        num_classes=len(names),
        class_names=names,
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
    )
    return save(network, path)


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    return model(tmp_path_factory.mktemp("colors") / "net.safetensors", ("blue", "green", "red"))


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    return model(tmp_path_factory.mktemp("numbers") / "net.safetensors", ("0", "1"))


@pytest.fixture
def mixed(tmp_path):
    """Good images among all that is none."""
    root = write_toy_data(tmp_path / "mixed", train=3, val=2)
    for split in ("train", "val"):
        folder = root / split / "red"
        os.mkfifo(folder / "pipe.png")
        (folder / "device.png").symlink_to("/dev/zero")
        (folder / "empty.png").touch()
        (folder / "script.jpg").write_bytes(f"%!PS-Adobe-3.0 EPSF-3.0\n% {split}\n".encode())
        (folder / "a\x1b[2Jb.png").write_bytes(split.encode())
        (folder / "cut.tif").write_bytes(b"II*\0" + split.encode())
    return root


def commands(net, data, out):
    yield "evaluate", (net, "--data", data)
    yield "embed", (net, data, "-o", out / "f.npz", "--overwrite")
    calibrate = ("--head", "isqrt", "--dim", "16", "--calibrate", data)
    yield "convert", (net, *calibrate, "-o", out / "o.safetensors", "--overwrite")
    training = ("--epochs", "1", "--batch-size", "2", "--output", out / "runs")
    yield "finetune", (net, "--data", data, *training)


def test_folders_of_hostile_images(covtool, colors, mixed, tmp_path):
    for command, arguments in commands(colors, mixed, tmp_path):
        code, _, err = covtool(command, *arguments, *QUICK)
        assert (code, "cannot be read" in err) == (4, True), err
        assert "\x1b" not in err
        code, _, err = covtool(command, *arguments, *QUICK, "--on-bad-image", "skip")
        assert code == 0, err
        assert "\x1b" not in err


def shards(folder, content):
    """Write two splits, whose second image is `content`."""
    folder.mkdir()
    for split in ("train", "val"):
        with tarfile.open(folder / f"{split}-000.tar", "w") as tar:
            for number in range(6):
                file = io.BytesIO()
                Image.effect_noise((24, 24), 50 + number).convert("RGB").save(file, "PNG")
                image = content if number == 1 else file.getvalue()
                for suffix, part in (("png", image), ("cls", str(number % 2).encode())):
                    info = tarfile.TarInfo(f"{number}.{suffix}")
                    info.size = len(part)
                    tar.addfile(info, io.BytesIO(part))
    return f"wds/{folder}"


def test_shards_with_a_bad_image(covtool, numbers, tmp_path):
    data = shards(tmp_path / "shards", b"\x89PNG\r\n\x1a\n")
    for command, arguments in commands(numbers, data, tmp_path):
        code, _, err = covtool(command, *arguments, *QUICK)
        assert (code, "cannot be read" in err) == (4, True), err
        code, _, err = covtool(command, *arguments, *QUICK, "--on-bad-image", "skip")
        assert code == 0, err
        if command == "evaluate":
            assert "left out" in err
            assert "val-000.tar" in err


def test_a_bound_of_pixels_is_an_option_of_all(covtool, colors, tmp_path):
    data = write_toy_data(tmp_path / "toy", train=3, val=2)
    Image.new("RGB", (40, 40)).save(data / "train" / "red" / "large.png")
    Image.new("RGB", (41, 40)).save(data / "val" / "red" / "large.png")
    bound = ("--max-image-pixels", "1000")
    for command, arguments in commands(colors, data, tmp_path):
        code, _, err = covtool(command, *arguments, *QUICK, *bound)
        assert code == 4, err
        assert "more than the 1,000 that are decoded at most" in " ".join(err.split())
    skipping = (*QUICK, *bound, "--on-bad-image", "skip")
    assert covtool("evaluate", colors, "--data", data, *skipping)[0] == 0


@pytest.mark.parametrize("kind", ["pipe", "device", "long"])
def test_data_that_are_no_data(covtool, colors, tmp_path, kind):
    path = tmp_path / ("x" * 300 if kind == "long" else "list.csv")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    for command, arguments in commands(colors, path, tmp_path):
        code, _, err = covtool(command, *arguments, *QUICK)
        assert code == 4, err
        assert "unexpected error" not in err
