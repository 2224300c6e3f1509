"""Notes and errors about a data set, before anything is trained or measured on it."""

import shutil

import numpy as np
import pytest
from images import truncate, write_classes, write_image
from PIL import Image

DRY = ("--from-scratch", "--dry-run", "-j", "0", "-b", "4", "--img-size", "64", "--device", "cpu")


def _try(covtool, data, *options):
    code, out, err = covtool("finetune", "test_resnet", "--data", data, *DRY, *options)
    return code, " ".join(out.split()), " ".join(err.split())


@pytest.fixture
def pictures(tmp_path):
    root = write_classes(tmp_path / "leak", {"a": 6, "b": 6})
    return root, [f"{name}/{number:03}.png" for name in "ab" for number in range(6)]


def test_images_that_a_list_has_in_two_splits_are_an_error(pictures, covtool):
    root, paths = pictures
    rows = [f"{path},{path[0]},train" for path in paths]
    rows += [f"{path},{path[0]},val" for path in paths[:3] + paths[6:9]]
    (root / "twice.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    code, _, err = _try(covtool, root / "twice.csv")
    assert code == 4
    assert "6 images of" in err
    assert "are in 'train' and in 'val'. a/000.png, a/001.png" in err


def test_equal_files_in_two_splits_are_a_note(pictures, covtool, tmp_path):
    root, _ = pictures
    for split in ("train", "val"):
        shutil.copytree(root, tmp_path / "folders" / split)
    code, out, err = _try(covtool, tmp_path / "folders")
    assert code == 0
    assert "12 images of 'val' are also in 'train', byte for byte" in err
    assert "images to train on 12" in out


def test_images_of_every_suffix_count(tmp_path, covtool):
    for name in "ab":
        for number, suffix in enumerate(("jpg", "jpg", "jfif", "jpe", "gif", "avif")):
            path = write_image(tmp_path / "suffixes" / name / f"{number}.png", seed=number)
            kind = "JPEG" if suffix in ("jfif", "jpe") else None
            Image.open(path).save(path.with_suffix(f".{suffix}"), kind)
            path.unlink()
    code, out, _ = _try(covtool, tmp_path / "suffixes", "--val-fraction", "0.3")
    assert code == 0
    assert "images to train on 8 images to validate on 4 classes 2" in out


def test_files_left_out_are_counted(tmp_path, covtool):
    root = write_classes(tmp_path / "data", {"a": 4, "b": 4})
    for number in range(8):
        (root / "a" / f"{number}.heic").touch()
    code, _, err = _try(covtool, root, "--val-fraction", "0.5")
    assert code == 0
    assert "8 files with other suffixes left out: .heic." in err


@pytest.mark.parametrize("cache", ["off", "ram", "disk"])
def test_broken_images_of_all_splits_are_told_at_once(tmp_path, covtool, cache):
    root = tmp_path / "data"
    for split, seed in (("train", 0), ("val", 50)):
        for name in "ab":
            for number in range(3):
                write_image(
                    root / split / name / f"{number}.png", seed=seed + number, size=(32, 32)
                )
    for path in ("train/a/0.png", "val/b/2.png"):
        truncate(root / path)
    run = [o for o in DRY if o != "--dry-run"]
    options = ("--cache", cache, "--epochs", 1)
    options += ("--cache-dir", tmp_path / "cache") if cache == "disk" else ()
    code, _, err = covtool("finetune", "test_resnet", "--data", root, *run, *options)
    assert code == 4
    flat = "".join(err.split())
    assert "2of12imagescannotberead" in flat
    assert "train/a/0.png" in flat
    assert "val/b/2.png" in flat


def test_a_missing_column_is_asked_for_in_the_words_of_the_task(pictures, covtool):
    root, paths = pictures
    rows = [f"{path},x,y,False" for path in paths]
    lines = ["path,noise_0,noise_1,is_valid", *rows]
    (root / "noisy.csv").write_text("\n".join(lines) + "\n")
    code, _, err = _try(covtool, root / "noisy.csv")
    assert code == 4
    assert "no column 'label'" in err
    assert "path,label or path,label,split" in err
    assert "identity" not in err


@pytest.mark.parametrize(("flag", "told"), [("--exif", "are turned"), ("--no-exif", "not applied")])
def test_orientation_is_a_flag_of_every_command(tmp_path, covtool, flag, told):
    root = write_classes(tmp_path / "data", {"a": 4, "b": 4})
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in sorted((root / "b").iterdir()):
        Image.open(path).save(path, exif=exif)
    code, _, err = _try(covtool, root, "--val-fraction", "0.5", flag)
    assert code == 0
    assert told in err
    assert "4 images" in err
    net = tmp_path / "net.safetensors"
    how = ("--head", "gap", "--calibrate", root, "-j", 0, "-o", net)
    code, _, err = covtool("convert", "test_resnet", "--from-scratch", *how, flag)
    assert code == 0, err
    assert told in " ".join(err.split())
    code, _, err = covtool("embed", net, root, "-j", 0, "-o", tmp_path / "x.npz")
    assert code == 0, err
    assert told in " ".join(err.split())
    code, out, _ = covtool("inspect", net)
    assert ("not applied" in out) == (flag == "--no-exif")


def test_nearly_black_images_are_told_and_each_note_once(tmp_path, covtool):
    for name in "ab":
        for number in range(4):
            (tmp_path / "dim" / name).mkdir(parents=True, exist_ok=True)
            pixels = np.full((20, 20), 500 + number, dtype=np.uint16)
            Image.fromarray(pixels).save(tmp_path / "dim" / name / f"{number}.png")
    write_image(tmp_path / "dim" / "loose.png")
    code, _, err = _try(covtool, tmp_path / "dim", "--val-fraction", "0.5")
    assert code == 0
    assert "8 images of 16 bits have no value above 4,095" in err
    assert err.count("beside its class folders left out") == 1


def test_an_evaluation_says_what_stands_out(tmp_path, covtool):
    for split, counts in (("train", {"a": 10, "b": 1}), ("val", {"a": 2, "b": 2})):
        write_classes(tmp_path / "data" / split, counts)
    first = tmp_path / "data/val/a/000.png"
    Image.open(first).save(first.with_suffix(".bmp"))
    first.unlink()
    net = tmp_path / "net.safetensors"
    how = ("--head", "gap", "--calibrate", tmp_path / "data", "-j", 0, "-o", net)
    code, _, err = covtool("convert", "test_resnet", "--from-scratch", *how)
    assert code == 0, err
    code, _, err = covtool("evaluate", net, "--data", tmp_path / "data", "-j", 0)
    told = " ".join(err.split())
    assert code == 0, err
    for line in (
        "Classes of 'train' are uneven: 'a' has 10 images, 'b' has 1 image.",
        "1 class of 'train' has fewer than 5 images: b (1).",
        "Images have several formats: 3 PNG, 1 BMP.",
    ):
        assert told.count(line) == 1
