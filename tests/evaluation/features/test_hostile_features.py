"""Files of features that are damaged or lie are refused, in little memory and in one line."""

import io
import json
import random
import struct
import zipfile

import numpy as np
import pytest
import torch
from odd_paths import put
from safetensors.torch import load_file, save_file

from covtool.errors import DataError
from covtool.evaluation.features.files import read_features, write_features
from covtool.evaluation.features.table import FeatureTable, ImageLabels

TABLE = FeatureTable(
    features=torch.arange(30, dtype=torch.float32).reshape(6, 5),
    labels=tuple(ImageLabels(f"a/{n}.jpg", str(n % 2), "c1", "query") for n in range(6)),
)
DIRT = (b"\0", b"\xff", b'"', b",", b"\n", b"-1", b"1e999", b"\x1b[2J", b"|O", b"F8_E4M3", b"nan")


def header(shape="(6, 5)", dtype="'<f4'") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npz(path, content: bytes, *, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("features.npy", content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header("(1000000000000, 5)") + bytes(120), "too few for its shape"),
        (header("(-6, -5)") + bytes(120), "too few for its shape"),
        (header(dtype="'|O'") + bytes(240), "Object arrays"),
        (header(dtype="[('a', '<f4')]") + bytes(120), "cannot be read"),
        (header("(6, 5)" + " " * 20_000) + bytes(120), "cannot be read"),
        (b"\x80\x04K\x01.", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_an_array_that_lies_is_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_features(npz(tmp_path / "x.npz", content))


def test_an_array_that_is_mostly_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("covtool.evaluation.features.formats.MOST_UNPACKED", 1 << 16)
    content = header("(1000, 100)") + bytes(400_000)
    path = npz(tmp_path / "x.npz", content, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="claims to have 400,"):
        read_features(path)
    assert len(read_features(npz(tmp_path / "y.npz", content)).features) == 1000


def test_a_pickle_is_never_loaded(tmp_path):
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"Object arrays|too few"):
        read_features(npz(tmp_path / "x.npz", file.getvalue()))
    (tmp_path / "y.npz").write_bytes(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.")
    with pytest.raises(DataError, match="cannot be read"):
        read_features(tmp_path / "y.npz")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".csv"])
def test_whatever_the_bytes_features_are_read_or_refused(tmp_path, suffix):
    whole, generator = write_features(tmp_path / f"x{suffix}", TABLE).read_bytes(), random.Random(0)
    path = tmp_path / f"y{suffix}"
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(generator.choice((1, 1, 3))):
            at = generator.randrange(len(data))
            kind, dirt = generator.randrange(4), generator.choice(DIRT)
            if kind == 0:
                data[at] ^= 1 << generator.randrange(8)
            elif kind == 1:
                data[at : at + len(dirt)] = dirt
            elif kind == 2:
                data[at:at] = dirt
            else:
                del data[max(at, 1) :]
        path.write_bytes(data)
        try:
            read_features(path)
        except DataError as problem:
            assert (problem.reason or "").isprintable()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".csv"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nothing"])
def test_what_is_no_file_of_features_is_not_waited_for(tmp_path, suffix, kind):
    path = tmp_path / f"x{suffix}"
    put(kind, path)
    with pytest.raises(DataError):
        read_features(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,f0\na,1\0", "NUL"),
        ('path,f0\n"a,1\nb,2\n', "never closes"),
        ("path,f0\na,1_0\n", "'1_0' is not a number"),
        ("path,path,f0\na,b,1\n", "column path more than once"),
        ("path,f0\na,x\x1b[2J\n", r"x1b\[2J' is not a number"),
        ("path,f0\na,1e999\n", "not finite"),
    ],
)
def test_a_mistake_in_csv_is_told(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_features(tmp_path / "x.csv")


@pytest.mark.parametrize("paths", ["{", '{"a": 1}', "[[1]]", "[1.5]", "[" * 1000, "[null]"])
def test_labels_of_safetensors_are_lists_of_text(tmp_path, paths):
    head = {
        "__metadata__": {"paths": paths},
        "features": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
    }
    text = json.dumps(head).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(DataError, match="cannot be read"):
        read_features(tmp_path / "x.safetensors")


def test_names_that_are_no_text_survive_in_csv(tmp_path):
    labels = tuple(label._replace(path=f"{n}\udc80.jpg") for n, label in enumerate(TABLE.labels))
    table = FeatureTable(features=TABLE.features, labels=labels)
    assert read_features(write_features(tmp_path / "x.csv", table)).labels == labels


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (struct.pack("<f", 7), struct.pack("<f", 8)),  # in the features
        (b"b.jpg", b"c.jpg"),  # in the labels, which stand in the metadata
    ],
)
def test_what_was_changed_in_a_file_of_covtool_is_found(tmp_path, old, new):
    labels = tuple(label._replace(path=f"{n}b.jpg") for n, label in enumerate(TABLE.labels))
    path = write_features(
        tmp_path / "x.safetensors", FeatureTable(features=TABLE.features, labels=labels)
    )
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_features(path)
    assert "covtool wrote" in caught.value.reason


def test_without_a_checksum_features_are_read_as_they_are(tmp_path):
    path = write_features(tmp_path / "x.safetensors", TABLE)
    tensors = load_file(path)
    save_file({"features": tensors["features"] + 1}, path)
    assert torch.equal(read_features(path).features, TABLE.features + 1)
