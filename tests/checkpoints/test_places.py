"""Whatever stands where a model should: named and refused at once."""

import os
import socket

import pytest
import torch
from safetensors.torch import save_file

from covtool.checkpoints import open_model, read_checkpoint, tensor_files
from covtool.checkpoints.inspection import inspect_source
from covtool.checkpoints.places import MOST_COMPARED, close_names
from covtool.errors import CheckpointError

READERS = {
    "open_model": open_model,
    "read_checkpoint": read_checkpoint,
    "inspect": lambda path: inspect_source(str(path)),
}
NAMES = {
    "pipe.pth": "It is a pipe",
    "socket.pth": "cannot be read",
    "folder.pth": "is a folder",
    "loop.pth": "symbolic links",
    "nowhere.pth": "does not exist",
    "empty.pth": "is empty",
    "empty.safetensors": "is empty",
    "empty.pth/inside.pth": "does not exist",
    "nothing/inside.pth": "does not exist",
    "x" * 300 + ".pth": "too long",
    "x/" * 3000 + "a.pth": "too long",
    "a\0b.pth": "No file can have this name",
    chr(0xD800) + ".pth": "No file can have this name",
    os.fsdecode(b"\xff.pth"): "does not exist",
    "\x1b[2J.pth": "does not exist",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.pth")
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "loop.pth").symlink_to("loop.pth")
    (tmp_path / "nowhere.pth").symlink_to("missing")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "empty.safetensors").touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.pth")
        yield tmp_path


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_what_is_no_file_is_refused_at_once(folder, name, reader):
    with pytest.raises(CheckpointError) as caught:
        READERS[reader](name)
    error = caught.value
    assert NAMES[name] in f"{error.message} {error.reason}"
    assert error.message.isprintable()


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_read(device):
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        open_model(device)
    assert caught.value.reason == "It is a device, not a file."


def test_a_file_that_may_not_be_looked_at_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    torch.save({}, path)
    closed = PermissionError(13, "Permission denied")
    monkeypatch.setattr("pathlib.Path.stat", lambda *_, **__: (_ for _ in ()).throw(closed))
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        open_model(path)
    assert caught.value.reason == "Permission denied."


@pytest.mark.parametrize("grows", [True, False])
def test_a_file_that_changes_its_size_while_it_is_read_is_refused(tmp_path, monkeypatch, grows):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(10_000)}, path)
    read = tensor_files.header_of

    def meanwhile(file):
        header = read(file)
        os.truncate(path, header.end + 100_000 if grows else 100)
        return header

    monkeypatch.setattr(tensor_files, "header_of", meanwhile)
    with pytest.raises(CheckpointError, match="damaged") as caught:
        tensor_files.read_tensors(path)
    assert "changed its size" in caught.value.reason


def test_similar_names_are_looked_for_among_few():
    names = (f"model{n}.pth" for n in range(10**9))
    assert close_names("model1.pth", names)
    assert next(names) == f"model{MOST_COMPARED + 1}.pth"
