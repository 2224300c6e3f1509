"""Many tensors, long names: answered in a time that grows with the file and no faster."""

import time

import pytest
import torch
from checkpoint_files import prefixed, tiny_model
from safetensors.torch import save_file

from covtool.checkpoints import read_checkpoint
from covtool.checkpoints.inspection import inspect_source
from covtool.errors import CheckpointError, UnrecognizedCheckpointError
from covtool.safetensors_header import LONGEST_NAME, MOST_PARTS

COUNT = 1_500
SECONDS = 5.0  # of this process; unhurried they take half of one
KINDS = {
    "linear layers that fit the features": ("fc{}.weight", (2, 96)),
    "heads beside one another": ("head.{}.weight", (2, 96)),
    "the first layer of as many networks": ("p{}.conv1.weight", (1,)),
    "a code base's first sign of as many": ("p{}.embeddings.cls_token", (1,)),
    "parts of weight norm": ("p{}.weight_g", (1,)),
    "words that almost end": ("_acc" * 50 + "{}", (1,)),
    "modules in one another": ("a." * (MOST_PARTS - 2) + "{}", (1,)),
    "wrappers around one another": ("model." * 20 + "conv1.weight{}", (1,)),
    "numbers everywhere": ("1." * 20 + "{}.weight", (1,)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_many_tensors_beside_a_network_are_looked_at_once(tmp_path, kind):
    name, shape = KINDS[kind]
    number = torch.zeros(shape)
    tensors = {key: t.contiguous() for key, t in tiny_model(num_classes=5).state_dict().items()}
    tensors |= {name.format(n): number.clone() for n in range(COUNT)}
    save_file(tensors, tmp_path / "a.safetensors")
    start = time.process_time()
    try:
        found, _ = inspect_source(str(tmp_path / "a.safetensors"))
        assert all(len(group) < 1000 for group in (*found.notes, *found.ignored))
    except UnrecognizedCheckpointError as problem:
        assert len(str(problem)) < 10_000
    assert time.process_time() - start < SECONDS


TOO_MUCH = {
    "tensors": lambda: {str(n): torch.zeros(1) for n in range(200)},
    "a long name": lambda: {"x" * (LONGEST_NAME + 1): torch.zeros(1)},
    "a name of many parts": lambda: {"a." * MOST_PARTS: torch.zeros(1)},
    "dimensions": lambda: {"a": torch.zeros([1] * 20)},
    "an empty tensor with a huge side": lambda: {"a": torch.zeros(0, 1 << 20)},
    "repeated bytes": lambda: {"a": torch.zeros(()).expand(1 << 31)},
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_more_than_any_network_has_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("covtool.safetensors_header.MOST_TENSORS", 100)
    torch.save({"state_dict": TOO_MUCH[kind]()}, tmp_path / "a.pth")
    start = time.process_time()
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "a.pth")
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64])
def test_kinds_of_numbers_that_stand_for_others_are_named(tmp_path, dtype):
    path = tmp_path / "a.safetensors"
    save_file({"fc.weight": torch.zeros(2, 2).to(dtype)}, path)
    with pytest.raises(CheckpointError, match="cannot use") as caught:
        read_checkpoint(path)
    assert "'fc.weight' is" in caught.value.reason
    assert ("complex" if dtype.is_complex else "8-bit floating point") in caught.value.reason


def test_entries_that_hold_one_another_are_looked_through_once(tmp_path):
    inner = {f"ema_{n}": torch.zeros(1) for n in range(50)}
    for _ in range(6):
        inner = {f"ema_{n}": inner for n in range(50)}
    torch.save(inner, tmp_path / "a.pth")
    start = time.process_time()
    with pytest.raises(CheckpointError):
        inspect_source(str(tmp_path / "a.pth"))
    assert time.process_time() - start < SECONDS


def test_a_safetensors_file_whose_length_begins_like_an_archive_is_one(tmp_path):
    state = prefixed({"w": torch.zeros(1)}, "a.")
    save_file(state, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].ljust(int.from_bytes(b"PK", "little"))
    whole = len(header).to_bytes(8, "little") + header + content[8 + length :]
    assert whole.startswith(b"PK")
    (tmp_path / "a.safetensors").write_bytes(whole)
    assert read_checkpoint(tmp_path / "a.safetensors").format == "safetensors"
