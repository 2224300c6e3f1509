"""Tensors are read as torch reads them, bit by bit."""

import struct
import zipfile

import pytest
import torch

from covtool.checkpoints import read_checkpoint
from covtool.checkpoints.pickles import UnusableTensor
from covtool.checkpoints.unpickling import load_torch_file
from covtool.errors import CheckpointError

FORMATS = {"zip": True, "legacy": False}
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.complex64, torch.complex128),
    *(torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2),
]
TYPED = 12  # of them have a storage of their own in torch


def bits(tensor):
    own = tensor.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return own.flatten().view(torch.uint8).tolist()


def of_dtype(dtype):
    numbers = torch.arange(2 * 16, dtype=torch.uint8)
    whole = numbers.view(dtype) if dtype.itemsize > 1 else (numbers % 2).view(dtype)
    return whole[:2]


def views():
    base = torch.arange(24.0)
    return {
        "part": base[3:9],
        "columns": base.view(4, 6).t(),
        "steps": base[::5],
        "channels last": base.view(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "expanded": torch.ones(1).expand(3, 4),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0),
        "empty rows": torch.empty(0, 5),
        "empty part": base[24:],
        "parameter": torch.nn.Parameter(base.view(6, 4)),
        "buffer": torch.nn.Buffer(base[1:3]),
        "needs a gradient": base[:2].clone().requires_grad_(),
        "conjugated": torch.ones(2, dtype=torch.complex64).mul(1j).conj(),
        "negated": torch.tensor([1 + 2j]).conj().imag,
    }


@pytest.mark.parametrize("archive", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("protocol", range(1, 6))
def test_tensors_are_those_that_torch_reads(tmp_path, archive, protocol):
    dtypes = DTYPES if archive else DTYPES[:TYPED]  # torch itself reads no others from the old one
    content = {**{str(dtype): of_dtype(dtype) for dtype in dtypes}, **views()}
    path = tmp_path / "a.pt"
    torch.save(content, path, _use_new_zipfile_serialization=archive, pickle_protocol=protocol)
    expected, read = torch.load(path, weights_only=False), load_torch_file(path, archive=archive)
    assert list(read) == list(expected)
    for name, tensor in expected.items():
        found = read[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape), name
        assert found.stride() == tensor.stride(), name
        assert found.storage_offset() == tensor.storage_offset(), name
        assert bits(found) == bits(tensor.detach()), name
        assert not found.requires_grad


@pytest.mark.parametrize("archive", FORMATS.values(), ids=FORMATS)
def test_shared_storages_stay_shared_and_the_file_stays_as_it_is(tmp_path, archive):
    base = torch.arange(6.0)
    torch.save(
        {"a": base[:4], "b": base.view(2, 3), "c": [base]},
        tmp_path / "a.pt",
        _use_new_zipfile_serialization=archive,
    )
    before = (tmp_path / "a.pt").read_bytes()
    read = load_torch_file(tmp_path / "a.pt", archive=archive)
    read["a"][0] = 7
    assert (read["b"][0, 0], read["c"][0][0]) == (7, 7)
    assert (tmp_path / "a.pt").read_bytes() == before


class Marked(torch.Tensor):
    pass


def marked_parameter():
    parameter = torch.nn.Parameter(torch.arange(4.0))
    parameter.mark = "decay"
    return parameter


def marked_tensor():
    tensor = torch.arange(4.0).as_subclass(Marked)
    tensor.mark = {"of": "fastai"}
    return tensor


@pytest.mark.parametrize("archive", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("make", [marked_parameter, marked_tensor])
def test_subclasses_with_attributes_are_plain_tensors(tmp_path, make, archive):
    torch.save({"w": make()}, tmp_path / "a.pt", _use_new_zipfile_serialization=archive)
    found = load_torch_file(tmp_path / "a.pt", archive=archive)["w"]
    assert type(found) is torch.Tensor
    assert torch.equal(found, torch.arange(4.0))


@pytest.mark.parametrize("archive", FORMATS.values(), ids=FORMATS)
def test_the_same_tensor_twice_is_one_tensor(tmp_path, archive):
    tensor = torch.ones(3)
    torch.save([tensor, {"x": tensor}], tmp_path / "a.pt", _use_new_zipfile_serialization=archive)
    first, second = load_torch_file(tmp_path / "a.pt", archive=archive)
    assert first is second["x"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("archive", FORMATS.values(), ids=FORMATS)
def test_tensors_that_covtool_does_not_read_are_records(tmp_path, archive):
    content = {
        "quantized": torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.empty(3, device="meta"),
    }
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=archive)
    read = load_torch_file(tmp_path / "a.pt", archive=archive)
    assert read == {
        "quantized": UnusableTensor("quantized (qint8)"),
        "sparse": UnusableTensor("sparse (sparse_coo)"),
        "meta": UnusableTensor("without values (meta)"),
    }


def test_a_model_without_values_is_refused(tmp_path):
    torch.save({"w": torch.empty(3, device="meta")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"'w' is without values \(meta\)"):
        read_checkpoint(tmp_path / "a.pt")


def test_numbers_written_the_other_way_around_are_turned(tmp_path):
    torch.save({"w": torch.tensor([1.0, 2.0])}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as source:
        entries = {name: source.read(name) for name in source.namelist()}
    entries["a/byteorder"] = b"big"
    entries["a/data/0"] = struct.pack(">2f", 1.0, 2.0)
    with zipfile.ZipFile(tmp_path / "big.pt", "w") as target:
        for name, content in entries.items():
            target.writestr(name, content)
    read = load_torch_file(tmp_path / "big.pt", archive=True)
    assert torch.equal(read["w"], torch.tensor([1.0, 2.0]))
