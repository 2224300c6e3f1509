"""Images in tar files and in data sets of Hugging Face are read, drawn, resumed like files."""

import io
import json
import os
import pickle
import sys
import tarfile
import warnings

import datasets
import numpy as np
import pytest
import torch
from images import photograph
from training_runs import Recorder, assert_same_weights, make_request, press_ctrl_c, weights

from covtool.data.cache import CacheRequest, CacheSetting, evaluation_form, open_caches
from covtool.data.datasets.checking import check_images
from covtool.data.datasets.fingerprint import fingerprint
from covtool.data.datasets.layout import in_order_of
from covtool.data.datasets.places import RecordSource, record_source
from covtool.data.datasets.reading import scan
from covtool.data.datasets.records import shards as shards_module
from covtool.data.datasets.records.records import RecordPath, Records
from covtool.data.datasets.records.shard_index import read_shard_index, write_shard_index
from covtool.data.images.decoding import image_size, read_image
from covtool.data.loading.loaders import evaluation_loader, training_loader
from covtool.errors import ArgumentError, DataError, InterruptedRunError
from covtool.specs import AugmentationSpec, InputSpec, LoadingSpec
from covtool.training import finetune, resume_finetune

SMALL = InputSpec(size=(16, 16))
CLASSES = 3
PER_SHARD = 5


def picture(number):
    return photograph((30 + number, 24), seed=number)


def encoded(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_shard(path, numbers, *, extra=None, image="png"):
    """A tar file of labeled images; `extra` is more files for each, by suffix."""
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            parts = {image: encoded(picture(number)), "cls": str(number % CLASSES).encode()}
            for suffix, content in {**parts, **(extra or {})}.items():
                info = tarfile.TarInfo(f"./part/{number:04}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for split, first, count in (("train", 0, 3), ("val", 100, 1)):
        for shard in range(count):
            start = first + shard * PER_SHARD
            write_shard(folder / f"{split}-{shard:03}.tar", range(start, start + PER_SHARD))
    return folder


@pytest.fixture
def layout(shards):
    return scan(f"wds/{shards}")


def test_labels_of_records_follow_classes_into_another_order(layout):
    other = in_order_of(layout, ("2", "0", "1"))
    for split in ("train", "val"):
        names = [other.class_names[sample.label] for sample in other.samples(split)]
        assert names == [layout.class_names[sample.label] for sample in layout.samples(split)]
    assert type(other.samples("train")) is type(layout.samples("train"))


@pytest.mark.parametrize("suffix", ["avif", "JFIF", "gif", "tif"])
def test_an_image_of_a_shard_may_have_any_suffix_of_images(shards, suffix):
    write_shard(shards / "val-001.tar", range(200, 203), image=suffix)
    assert len(scan(f"wds/{shards}").samples("val")) == 5 + 3


def test_every_labeled_image_of_the_shards_is_found(layout):
    assert (layout.kind, layout.name) == ("wds", "shards")
    assert layout.class_names == ("0", "1", "2")
    train, val = layout.samples("train"), layout.samples("val")
    assert (len(train), len(val)) == (15, 5)
    for number, sample in enumerate(train):
        assert sample.label == number % CLASSES
        assert np.array_equal(read_image(sample.path), picture(number))
        assert image_size(sample.path) == (30 + number, 24)
    assert "train-001.tar:" in str(train[7].path)


def test_nothing_is_held_per_image_but_its_index(layout):
    train = layout.samples("train")
    arrays = [train.labels, train.rows, *vars(train.archive).values()]
    held = sum(array[0].nbytes for array in arrays if isinstance(array, np.ndarray))
    assert held <= 40
    assert check_images(train).good is train
    assert all(isinstance(samples, Records) for samples in layout.splits.values())
    assert len(pickle.dumps(train)) < 3000


def test_a_share_is_set_aside_for_validation(tmp_path):
    write_shard(tmp_path / "train-0.tar", range(12))
    layout = scan(f"wds/{tmp_path}", val_fraction=0.25)
    train, val = layout.samples("train"), layout.samples("val")
    assert isinstance(train, Records)
    assert (len(train), len(val)) == (9, 3)
    assert {s.path for s in train} | {s.path for s in val} == {
        s.path for s in scan(f"wds/{tmp_path}").samples("train")
    }
    assert sorted(sample.label for sample in val) == [0, 1, 2]


def test_loaders_take_them_in_order_and_at_random(layout):
    train = layout.samples("train")
    images, labels = zip(*evaluation_loader(train, SMALL, batch_size=4, workers=2), strict=True)
    assert torch.cat(labels).tolist() == [number % CLASSES for number in range(15)]
    loader = training_loader(train, SMALL, AugmentationSpec(aug=False), batch_size=15, workers=0)
    loader.set_epoch(3)
    ((varied, _),) = list(loader)
    order = [draw.index for batch in loader.batch_sampler for draw in batch]
    assert torch.equal(varied, torch.cat(images)[order])


def test_they_can_be_cached(layout, tmp_path):
    spec = LoadingSpec(cache="disk", cache_dir=str(tmp_path / "cache"))
    setting = CacheSetting(spec=spec, root=layout.folder)
    samples = layout.samples("val")
    request = CacheRequest(split="val", samples=samples, form=evaluation_form(SMALL))
    for _ in range(2):
        (cached,) = open_caches([request], setting)
        for one, other in zip(
            evaluation_loader(cached, SMALL), evaluation_loader(samples, SMALL), strict=True
        ):
            assert torch.equal(one[0], other[0])


def test_the_fingerprint_tells_shards_apart(layout, shards):
    before = fingerprint(layout.samples("train"), layout.folder)
    assert before == fingerprint(scan(f"wds/{shards}").samples("train"), shards)
    assert before.startswith("15 images, ")
    write_shard(shards / "train-002.tar", range(20, 26))
    assert before != fingerprint(scan(f"wds/{shards}").samples("train"), shards)


def test_a_run_on_shards_is_resumed_exactly(shards, tmp_path):
    settings = {"batch_size": 5, "model": "test_resnet", "workers": 2, "epochs": 2}
    data, runs = f"wds/{shards}", tmp_path / "runs"
    whole = finetune(make_request(data, runs, experiment="whole", **settings)).directory
    broken = Recorder(at_update=4, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(make_request(data, runs, experiment="broken", **settings), observer=broken)
    resumed = resume_finetune(broken.plans[0].directory).directory
    assert_same_weights(*(weights(run / "checkpoints/last.pt") for run in (whole, resumed)))
    assert not (whole / "images.csv").exists()


def test_a_resumed_run_does_not_go_through_its_tar_files_again(shards, tmp_path, monkeypatch):
    data = f"wds/{shards}"
    broken = Recorder(at_update=1, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(make_request(data, tmp_path, batch_size=5, epochs=1), observer=broken)
    gone_through, read = [], shards_module.members

    def counted(file):
        gone_through.append(file)
        return read(file)

    monkeypatch.setattr(shards_module, "members", counted)
    directory = broken.plans[0].directory
    resume_finetune(directory)
    assert not gone_through
    (directory / "images.safetensors").unlink()
    resume_finetune(directory)
    assert set(gone_through) == set(shards.glob("*.tar"))


def test_an_index_of_tar_files_is_what_was_indexed(layout, tmp_path):
    file = tmp_path / "images.safetensors"
    write_shard_index(file, layout)
    again = read_shard_index(file, layout.root)
    assert (again.kind, again.class_names) == (layout.kind, layout.class_names)
    assert again.split_names == layout.split_names
    for key, records in layout.splits.items():
        assert again.splits[key].fingerprint == records.fingerprint
        assert [str(s.path) for s in again.splits[key]] == [str(s.path) for s in records]
        assert [s.label for s in again.splits[key]] == [s.label for s in records]
        assert again.splits[key][0].path.open().read() == records[0].path.open().read()


def test_an_index_of_tar_files_that_changed_is_none(layout, tmp_path):
    file, shard = tmp_path / "images.safetensors", next(layout.root.glob("*.tar"))
    write_shard_index(file, layout)
    state = shard.stat()
    os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert read_shard_index(file, layout.root) is None
    os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert read_shard_index(file, layout.root) is not None
    shard.unlink()
    assert read_shard_index(file, layout.root) is None


def test_an_index_that_is_damaged_is_none(layout, tmp_path):
    file = tmp_path / "images.safetensors"
    assert read_shard_index(file, layout.root) is None
    write_shard_index(file, layout)
    content = file.read_bytes()
    for place in range(0, len(content), len(content) // 20):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        assert read_shard_index(file, layout.root) is None
    for length in (0, 7, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        assert read_shard_index(file, layout.root) is None


def test_the_command_takes_shards(covtool, shards):
    code, out, err = covtool(
        *("finetune", "test_resnet", "--from-scratch", "--data", f"wds/{shards}", "--dry-run"),
        *("--img-size", "32", "--batch-size", "4", "--device", "cpu", "--workers", "0"),
    )
    assert code == 0, err
    assert "15" in out


def test_labels_may_be_a_field_of_json_and_images_without_one_are_left_out(tmp_path):
    write_shard(tmp_path / "first.tar", range(3), extra={"json": json.dumps({"kind": 4}).encode()})
    write_shard(tmp_path / "second.tar", range(3, 5), extra={"json": b'{"kind": -1}'})
    split = {
        "name": "train",
        "num_samples": 5,
        "filenames": ["first.tar", "second.tar"],
        "shard_lengths": [3, 2],
        "alt_label": "kind",
    }
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"train": split}}))
    layout = scan(f"wds/{tmp_path}")
    assert [sample.label for sample in layout.samples("train")] == [4, 4, 4]
    assert layout.class_names == ("0", "1", "2", "3", "4")


def test_timms_reader_finds_the_same_images(shards):
    """In the order of the shards, with the same labels."""
    from timm.data import create_reader

    split = "train-{000..002}.tar|15"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves files open
        reader = create_reader("wds/shards", root=str(shards), split=split)
        theirs = [(np.asarray(image), label) for image, label in reader]
    ours = scan(f"wds/{shards}").samples("train")
    assert len(ours) == len(theirs)
    for sample, (image, label) in zip(ours, theirs, strict=True):
        assert sample.label == label
        assert np.array_equal(read_image(sample.path), image)


def test_classes_are_named_by_a_file(shards):
    (shards / "classes.txt").write_text("ant\nbee\ncat\n")
    assert scan(f"wds/{shards}").class_names == ("ant", "bee", "cat")
    (shards / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(DataError, match="names 2 classes, but there are 3"):
        scan(f"wds/{shards}")


def test_damaged_and_missing_shards_are_explained(shards, tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        scan(f"wds/{tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no tar files of a split"):
        scan(f"wds/{tmp_path / 'empty'}")
    (shards / "_info.json").write_text("{}")
    with pytest.raises(DataError, match=r"_info\.json does not describe the splits"):
        scan(f"wds/{shards}")
    (shards / "_info.json").unlink()
    (shards / "train-000.tar").write_bytes(b"no tar file" * 100)
    with pytest.raises(DataError, match=r"train-000\.tar cannot be read"):
        scan(f"wds/{shards}")


def test_an_image_without_a_label_is_an_error_that_names_it(tmp_path):
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        content = encoded(picture(0))
        info = tarfile.TarInfo("7.png")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    with pytest.raises(DataError) as caught:
        scan(f"wds/{tmp_path}")
    assert "The image 7 has no label, which .cls would hold" in caught.value.reason


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ArgumentError, match="needs the package datasets") as caught:
        scan("hfds/cifar10")
    assert caught.value.hint == "Install it: pip install 'covtool[hf]'."


def test_what_is_a_source_and_what_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wds" / "birds").mkdir(parents=True)
    (tmp_path / "tars").mkdir()
    assert record_source("wds/birds") is None  # a folder of that very name
    assert record_source("wds/tars") == RecordSource("wds", str(tmp_path / "tars"))
    assert record_source(f"wds/{tmp_path}/tars") == RecordSource("wds", str(tmp_path / "tars"))
    assert record_source(f"wds{tmp_path}/tars") == RecordSource("wds", str(tmp_path / "tars"))
    assert record_source("hfds/cifar10") == RecordSource("hfds", "cifar10")
    assert record_source("birds") is None
    assert record_source("wds") is None


def test_data_sets_of_hugging_face(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for split, first in (("train", 0), ("test", 100)):
        for number in range(first, first + 4):
            path = tmp_path / "pets" / split / ["cat", "dog"][number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(number).save(path)
    layout = scan(f"hfds/{tmp_path / 'pets'}")
    assert layout.class_names == ("cat", "dog")
    assert layout.split_names == {"train": "train", "val": "test"}
    train = layout.samples("train")
    assert isinstance(train[0].path, RecordPath)
    read = {read_image(sample.path).tobytes(): sample.label for sample in train}
    assert read == {picture(number).tobytes(): number % 2 for number in range(4)}
    ((images, labels),) = list(evaluation_loader(train, SMALL, workers=0))
    assert images.shape == (4, 3, 16, 16)
    assert labels.tolist() == [sample.label for sample in train]
