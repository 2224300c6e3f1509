"""The benchmark of loaders measures what it says; no test looks at how fast anything was."""

import json

import pytest
import torch
from images import write_photographs

from covtool.benchmarking.data_loading import (
    BASELINE,
    LOADERS,
    LoadingBenchmarkSpec,
    benchmark_loading,
)
from covtool.benchmarking.photographs import enlarged, file_sizes
from covtool.data.datasets.reading import scan
from covtool.data.images.decoding import image_size
from covtool.data.loading.timm_loader import timm_training_loader
from covtool.data.loading.torchvision_loader import torchvision_training_loader
from covtool.errors import ArgumentError, DataError
from covtool.progress import silent
from covtool.specs import AugmentationSpec, InputSpec

TINY = LoadingBenchmarkSpec(img_size=16, batch_size=4, workers=1, step_ms=1.0, repetitions=1)


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "val"):
        write_photographs(tmp_path / "data" / split, [(40, 30), (30, 40)] * 6)
    return tmp_path / "data"


def test_every_loader_has_a_row(folder):
    result = benchmark_loading(folder, spec=TINY)
    assert [row.loader for row in result.rows] == list(LOADERS)
    assert (result.data, result.images) == ("data", 12)
    assert result.rows[0].to_timm == 1
    for row in result.rows:
        assert row.first > 0 < row.later
        assert row.to_timm > 0
        assert row.cpu_ms is None or row.cpu_ms >= 0


@pytest.mark.parametrize("build", [timm_training_loader, torchvision_training_loader])
def test_other_loaders_give_the_same_images(folder, build):
    input = InputSpec(size=(16, 16))
    still = AugmentationSpec(scale=(1, 1), hflip=0, color_jitter=0, train_interpolation="bilinear")
    settings = {"batch_size": 4, "workers": 1}
    batches = list(build(folder / "train", input, still, **settings))
    assert [images.shape for images, _ in batches] == [(4, 3, 16, 16)] * 3
    assert {images.dtype for images, _ in batches} == {torch.float32}
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == [0] * 6 + [1] * 6


def test_images_are_enlarged_to_photographs_of_their_classes(folder, tmp_path):
    layout = scan(folder)
    samples = layout.splits["train"]
    large = enlarged(samples, layout.class_names, 200, tmp_path / "large", silent)
    found = scan(large)
    assert found.class_names == layout.class_names
    assert [s.label for s in found.splits["train"]] == sorted(s.label for s in samples)
    assert {image_size(s.path) for s in found.splits["train"]} == {(200, 150), (150, 200)}
    sizes = file_sizes(found.splits["train"])
    assert sizes.megapixels == pytest.approx(0.03)
    assert 0.5 < sizes.bits_per_pixel < 5


def test_data_that_timm_cannot_read_or_that_fill_no_batch_are_refused(folder, tmp_path):
    with pytest.raises(ArgumentError, match="12 images do not fill a batch of 32"):
        benchmark_loading(folder)
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\ndata/train/a/000.png,a\ndata/train/b/001.png,b\n")
    with pytest.raises(ArgumentError, match=r"list\.csv is not a folder"):
        benchmark_loading(listed, spec=TINY)
    with pytest.raises(DataError, match="no data set"):
        benchmark_loading(tmp_path / "nowhere", spec=TINY)


def test_the_command_prints_a_table_and_json(covtool, folder):
    options = ("--data", folder, "--img-size", "16", "-b", "4", "-j", "1", "--repetitions", "1")
    code, out, err = covtool("bench", "data", *options, "--step-ms", "1")
    assert code == 0, err
    for text in (*LOADERS, "12 images of", "bits a pixel", "medians of 1"):
        assert text in out
    options += ("--color-jitter", "0.4", "--long-side", "60", "--step-ms", "0")
    code, out, err = covtool("bench", "data", *options, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["spec"]["color_jitter"] == 0.4
    assert result["rows"][0]["loader"] == BASELINE
    assert result["files"]["megapixels"] == pytest.approx(60 * 45 / 1e6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("heads", "--data", "x"), "heads takes no --data"),
        (("data", "--head", "isqrt"), "data takes no --head"),
    ],
)
def test_options_of_other_benchmarks_are_usage_errors(covtool, arguments, message):
    code, _, err = covtool("bench", *arguments)
    assert code == 2
    assert message in err
