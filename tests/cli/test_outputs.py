"""Outputs that cannot be written are refused before work; terminals are no surprise."""

import io
import sys

import pytest
import torch
from checkpoint_files import tiny_model

from covtool import atomic

SIZE = ("--img-size", "64")


@pytest.fixture
def checkpoint(tmp_path):
    torch.save(tiny_model().state_dict(), tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


WRITING = {
    "convert": ["convert", "nothing.pth", "--head", "isqrt", "-o"],
    "embed": ["embed", "nothing.pth", "images", "-o"],
    "plot": ["plot", "operator", "-o"],
}
SUFFIX = {"convert": ".safetensors", "embed": ".npz", "plot": ".svg"}


@pytest.mark.parametrize("command", WRITING)
def test_a_folder_that_is_not_there_is_named_before_work(covtool, command):
    code, out, err = covtool(*WRITING[command], f"nowhere/x{SUFFIX[command]}")
    assert (code, out) == (2, "")
    assert "There is no folder nowhere to write to." in err
    assert "nothing.pth" not in err


@pytest.mark.parametrize("name", ["x.pth", "x.PT", "x.onnx", "x.safetensor"])
def test_a_model_is_not_written_under_the_name_of_another_format(covtool, name):
    code, out, err = covtool(*WRITING["convert"], name)
    assert (code, out) == (2, "")
    assert "Call it x.safetensors." in err


@pytest.mark.parametrize("command", WRITING)
def test_a_place_that_cannot_be_written_to_is_named_before_work(covtool, command):
    code, out, err = covtool(*WRITING[command], "x" * 300 + SUFFIX[command])
    assert (code, out) == (2, "")
    assert "cannot be written" in err
    assert "File name too long." in err
    assert "unexpected error" not in err


@pytest.mark.parametrize("command", WRITING)
def test_a_read_only_place_is_named_before_work(covtool, command, monkeypatch, tmp_path):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic.Path, "touch", refused)
    code, out, err = covtool(*WRITING[command], f"x{SUFFIX[command]}")
    assert (code, out) == (2, "")
    assert f"x{SUFFIX[command]} cannot be written.\nPermission denied." in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", WRITING)
def test_overwrite_does_not_replace_a_folder(covtool, command, tmp_path):
    folder = tmp_path / f"x{SUFFIX[command]}"
    folder.mkdir()
    code, _, err = covtool(*WRITING[command], folder, "--overwrite")
    assert code == 2
    assert "is a folder." in err
    assert "Name a file" in err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("there", ["out.safetensors", "nowhere/out.safetensors"])
def test_a_plan_does_not_mind_what_is_there(covtool, checkpoint, there):
    output = checkpoint.parent / there
    if output.parent.is_dir():
        output.write_bytes(b"precious")
    code, out, _ = covtool("convert", checkpoint, "--dim", "8", *SIZE, "--plan", "-o", output)
    assert (code, "isqrt" in out) == (0, True)
    assert not output.parent.is_dir() or output.read_bytes() == b"precious"


ASKED = {
    **{f"list {what}": ["list", what] for what in ("heads", "convs", "gradients")},
    "inspect": ["inspect", "tiny.pth"],
    "convert": ["convert", "tiny.pth", "--dim", "8", *SIZE, "-o", "out.safetensors"],
    "help": ["convert", "--help"],
    "refusal": ["inspect", "nöwhere.pth"],
}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("name", ASKED)
def test_terminals_of_few_letters_get_an_answer(covtool, checkpoint, monkeypatch, name, encoding):
    assert checkpoint.is_file()
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    code, _, _ = covtool(*ASKED[name])
    out, err = (stream.detach().getvalue().decode(encoding) for stream in streams)
    assert code == (3 if name == "refusal" else 0), err
    assert err if name == "refusal" else out
    assert "unexpected error" not in err
