"""Features come back from files as they were written, and broken files say what is wrong."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from images import truncate
from safetensors.torch import load_file, save_file

from covtool.errors import (
    ArgumentError,
    DataError,
    NonFiniteError,
    OutputExistsError,
    SaveError,
    ShapeError,
)
from covtool.evaluation.features.files import FeatureWriter, read_features, write_features
from covtool.evaluation.features.formats import FORMATS
from covtool.evaluation.features.table import FeatureTable, ImageLabels

SUFFIXES = tuple(FORMATS)


def table(count=7, num_features=5, **labels):
    """Features of all magnitudes; names with everything that could be mistaken for syntax."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, num_features, generator=generator) * 10.0 ** torch.randint(
        -30, 30, (count, num_features), generator=generator
    )
    named = [
        ImageLabels(f'a, "b"/ä{place}.png', f"00{place // 2}", "c1", "query")
        for place in range(count)
    ]
    return FeatureTable(
        features=features, labels=tuple(label._replace(**labels) for label in named)
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read(suffix, tmp_path):
    written = table()
    path = write_features(tmp_path / f"features{suffix}", written)
    read = read_features(path)
    assert torch.equal(read.features, written.features)
    assert read.features.dtype == torch.float32
    assert read.labels == written.labels
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_that_nobody_knows_are_left_out(suffix, tmp_path):
    written = table(path="", camera="", split="")
    read = read_features(write_features(tmp_path / f"features{suffix}", written))
    assert read.labels == written.labels
    bare = replace(written, labels=(ImageLabels(),) * len(written.labels))
    read = read_features(write_features(tmp_path / f"bare{suffix}", bare))
    assert torch.equal(read.features, bare.features)
    assert read.labels == bare.labels


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_batches_make_the_same_file_as_all_at_once(suffix, tmp_path):
    written = table(count=10)
    whole = write_features(tmp_path / f"whole{suffix}", written)
    with FeatureWriter(tmp_path / f"batches{suffix}") as writer:
        for batch in (slice(0, 3), slice(3, 3), slice(3, 10)):
            writer.append(written.features[batch], written.labels[batch])
    assert writer.path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_more_images_than_a_block_are_all_written(suffix, tmp_path):
    features = torch.arange(9000.0)[:, None]
    labels = tuple(ImageLabels(identity=str(place)) for place in range(9000))
    path = write_features(
        tmp_path / f"many{suffix}", FeatureTable(features=features, labels=labels)
    )
    read = read_features(path)
    assert torch.equal(read.features, features)
    assert read.labels == labels


def test_other_programs_read_safetensors_and_npz(tmp_path):
    written = table()
    tensors = load_file(write_features(tmp_path / "a.safetensors", written))
    assert list(tensors) == ["features"]
    assert torch.equal(tensors["features"], written.features)
    with np.load(write_features(tmp_path / "a.npz", written)) as arrays:
        assert arrays["identities"].tolist() == written.column("identity")
        assert np.array_equal(arrays["features"], written.features.numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_safetensors_of_others_may_have_other_dtypes_and_numbers_for_labels(dtype, tmp_path):
    features = torch.rand(3, 2).to(dtype)
    identities = torch.tensor([5, -1, 0])
    save_file({"features": features, "identities": identities}, tmp_path / "a.safetensors")
    read = read_features(tmp_path / "a.safetensors")
    assert torch.equal(read.features, features.float())
    assert read.column("identity") == ["5", "-1", "0"]


def test_npz_of_others_may_have_numbers_for_labels(tmp_path):
    np.savez(tmp_path / "a.npz", features=np.eye(3), cameras=np.array([1, 2, 3], dtype=np.uint8))
    read = read_features(tmp_path / "a.npz")
    assert torch.equal(read.features, torch.eye(3))
    assert read.column("camera") == ["1", "2", "3"]


def test_csv_of_others_may_have_its_columns_in_any_order_and_under_any_name(tmp_path):
    (tmp_path / "a.csv").write_text("x,identity, weight\n1.5, bird ,-2\n\n3,cat,4e-1\n")
    read = read_features(tmp_path / "a.csv")
    assert torch.equal(read.features, torch.tensor([[1.5, -2.0], [3.0, 0.4]]))
    assert read.column("identity") == ["bird", "cat"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_cut_off_is_refused(suffix, tmp_path):
    path = truncate(write_features(tmp_path / f"features{suffix}", table()))
    with pytest.raises(DataError, match="features"):
        read_features(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"not what the name says"])
def test_other_content_than_the_name_says_is_refused(suffix, content, tmp_path):
    path = tmp_path / f"features{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        read_features(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_features_that_are_no_numbers_are_refused(suffix, tmp_path):
    content = {
        ".csv": lambda path: path.write_text("identity,f0\n1,1\n2,nan\n"),
        ".npz": lambda path: np.savez(path, features=np.array([[1], [np.nan]])),
        ".safetensors": lambda path: save_file(
            {"features": torch.tensor([[1.0], [float("nan")]])}, path
        ),
    }
    path = tmp_path / f"features{suffix}"
    content[suffix](path)
    with pytest.raises(DataError, match=r"of 1 of 2 images are not finite.* image 1"):
        read_features(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": np.eye(2)}, "It has no 'features', but: embeddings"),
        ({"features": np.eye(2), "identities": np.arange(3)}, "of 2 images, but 3 identities"),
        ({"features": np.arange(3)}, "not a matrix of floating-point numbers"),
        ({"features": np.eye(3, dtype=np.int32)}, "not a matrix of floating-point numbers"),
        ({"features": np.zeros((0, 3))}, "no features"),
        ({"features": np.eye(2), "cameras": np.eye(2)}, "neither texts nor whole numbers"),
        ({"features": np.eye(2), "cameras": np.ones(2)}, "neither texts nor whole numbers"),
        ({"features": np.array([[None]])}, "Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_features(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,identity\na.png,1\n", "no columns of features"),
        ("identity,f0\n", "lists no images"),
        ("identity,f0,f1\n1,2,3\n1,2\n", "line 3, has 2 cells, not 3"),
        ("identity,f0\n1,two\n", "line 2: 'two' is not a number"),
        ("identity,f0\n1,1e60\n", "not finite"),
    ],
)
def test_lines_that_do_not_fit_are_refused(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_features(tmp_path / "a.csv")


def test_metadata_that_is_no_list_is_refused(tmp_path):
    save_file({"features": torch.eye(2)}, tmp_path / "a.safetensors", metadata={"paths": "3"})
    with pytest.raises(DataError, match="cannot be read"):
        read_features(tmp_path / "a.safetensors")


def test_the_header_is_aligned_as_safetensors_asks(tmp_path):
    path = write_features(tmp_path / "a.safetensors", table())
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    assert json.loads(content[8 : 8 + length])["features"]["shape"] == [7, 5]


def test_names_that_stand_for_no_format_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match=r"\.safetensors, \.npz, \.csv"):
        FeatureWriter(tmp_path / "features.pth")
    with pytest.raises(ArgumentError, match=r"\.safetensors, \.npz, \.csv"):
        read_features(tmp_path / "features.pth")
    with pytest.raises(ArgumentError, match="There is no folder"):
        FeatureWriter(tmp_path / "nowhere" / "a.npz")
    with pytest.raises(DataError, match="There is no file"):
        read_features(tmp_path / "a.npz")


def test_an_existing_file_is_replaced_only_if_somebody_says_so(tmp_path):
    path = write_features(tmp_path / "a.npz", table())
    with pytest.raises(OutputExistsError):
        write_features(path, table(count=3))
    assert len(read_features(path).labels) == 7
    write_features(path, table(count=3), overwrite=True)
    assert len(read_features(path).labels) == 3


def test_nothing_is_left_behind_when_something_fails(tmp_path):
    written = table()
    with (
        pytest.raises(RuntimeError, match="power cut"),
        FeatureWriter(tmp_path / "a.npz") as writer,
    ):
        writer.append(written.features, written.labels)
        raise RuntimeError("power cut")
    with pytest.raises(DataError, match="no features to write"), FeatureWriter(tmp_path / "a.npz"):
        pass
    assert not list(tmp_path.iterdir())


def test_batches_that_do_not_fit_are_refused(tmp_path):
    written = table()
    with FeatureWriter(tmp_path / "a.npz") as writer:
        writer.append(written.features, written.labels)
        with pytest.raises(ShapeError, match=r"\(B, 5\), but it has \(7, 4\)"):
            writer.append(written.features[:, :4], written.labels)
        with pytest.raises(DataError, match="features of 7 images, but labels of 6"):
            writer.append(written.features, written.labels[:6])
        broken = written.features.clone()
        broken[2, 3] = float("nan")
        with pytest.raises(NonFiniteError, match=r"ä2.png are not finite"):
            writer.append(broken, written.labels)
    assert len(read_features(writer.path).labels) == 7


def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch):
    writer = FeatureWriter(tmp_path / "a.npz")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with pytest.raises(SaveError, match="No space left on device"), writer:
        writer.append(torch.eye(3), [ImageLabels()] * 3)
        monkeypatch.setattr(np, "savez", full)
    assert not list(tmp_path.iterdir())
