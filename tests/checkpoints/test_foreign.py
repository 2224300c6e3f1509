import argparse
import datetime
import hashlib
import tarfile
from collections import OrderedDict

import pytest
import torch
from checkpoint_files import prefixed, tiny_model
from safetensors.torch import save_file

from covtool.checkpoints import open_model, read_checkpoint
from covtool.errors import ArgumentError, CheckpointError, UnsafeCheckpointError


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def state(model):
    return model.state_dict()


def assert_same(read, state):
    assert set(read) == set(state)
    assert all(torch.equal(read[name], state[name]) for name in state)


def save_zip(state, path):
    torch.save(state, path)


def save_legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


WRITERS = {"zip": save_zip, "legacy": save_legacy, "safetensors": save_file}


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.pth.tar", "a.bin", "a.safetensors"])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_is_read_whatever_the_name(tmp_path, state, kind, name):
    WRITERS[kind](dict(state), tmp_path / name)
    read = read_checkpoint(tmp_path / name)
    assert read.format == kind
    assert (read.container, read.prefix, read.ignored) == (None, "", ())
    assert_same(read.state, state)
    assert read.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize(
    "container", ["state_dict", "model", "model_state_dict", "network", "teacher"]
)
def test_containers_are_opened(tmp_path, state, kind, container):
    content = {container: OrderedDict(state), "epoch": 7, "optimizer": {"state": {}}}
    WRITERS[kind](content, tmp_path / "run.pth.tar")
    read = read_checkpoint(tmp_path / "run.pth.tar")
    assert read.container == container
    assert read.others == {"epoch": "7", "optimizer": "dict of 1"}
    assert_same(read.state, state)


def test_an_entry_of_an_unknown_name_is_opened_if_it_is_the_only_one(tmp_path, state):
    torch.save({"my_weights": dict(state), "epoch": 1}, tmp_path / "run.pth")
    assert read_checkpoint(tmp_path / "run.pth").container == "my_weights"


PREFIXES = ["module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net."]
COMBINATIONS = ["module._orig_mod.", "_orig_mod.module.", "model.backbone.", "module.net.encoder."]


@pytest.mark.parametrize("prefix", PREFIXES + COMBINATIONS)
def test_prefixes_of_wrappers_are_taken_off(tmp_path, state, prefix):
    torch.save(prefixed(state, prefix), tmp_path / "wrapped.pth")
    read = read_checkpoint(tmp_path / "wrapped.pth")
    assert read.prefix == prefix
    assert_same(read.state, state)


@pytest.mark.parametrize("prefix", ["model.", "backbone.", "module.model."])
def test_what_lies_beside_the_network_is_listed_as_ignored(tmp_path, state, prefix):
    others = {"criterion.weight": torch.ones(5), "projector.0.weight": torch.ones(2, 2)}
    torch.save({"state_dict": {**others, **prefixed(state, prefix)}}, tmp_path / "lightning.ckpt")
    read = read_checkpoint(tmp_path / "lightning.ckpt")
    assert read.prefix == prefix
    assert read.ignored == tuple(others)
    assert_same(read.state, state)


def test_entries_that_are_no_tensors_are_listed_as_ignored(tmp_path, state):
    torch.save({**state, "_extra_state": {"a": 1}}, tmp_path / "extra.pth")
    assert read_checkpoint(tmp_path / "extra.pth").ignored == ("_extra_state",)


EMA = {
    "state_dict_ema": lambda s: {"state_dict_ema": s},
    "model_ema": lambda s: {"model_ema": s},
    "ema": lambda s: {"ema": s},
    "ema > module": lambda s: {"ema": {"module": s, "decay": 0.999}},
    "ema > state_dict": lambda s: {"ema": {"state_dict": s, "updates": 10}},
}


@pytest.mark.parametrize("container", EMA)
@pytest.mark.parametrize("weights", ["auto", "ema"])
def test_averaged_weights_are_preferred_and_it_is_said(tmp_path, state, container, weights):
    averaged = prefixed({n: t + 1 for n, t in state.items()}, "module.")
    torch.save({"state_dict": dict(state), **EMA[container](averaged)}, tmp_path / "ema.pth")
    read = read_checkpoint(tmp_path / "ema.pth", weights=weights)
    assert (read.container, read.is_ema, read.prefix) == (container, True, "module.")
    assert torch.equal(read.state["fc.bias"], state["fc.bias"] + 1)
    assert read.notes == (
        f"The averaged (EMA) weights in {container} are used; --weights raw takes state_dict.",
    )


def test_raw_weights_are_taken_where_they_are_asked_for(tmp_path, state):
    averaged = {n: t + 1 for n, t in state.items()}
    torch.save({"state_dict": dict(state), "state_dict_ema": averaged}, tmp_path / "ema.pth")
    read = read_checkpoint(tmp_path / "ema.pth", weights="raw")
    assert (read.container, read.is_ema, read.notes) == ("state_dict", False, ())
    assert_same(read.state, state)


@pytest.mark.parametrize("prefix", ["ema_model.", "model_ema.module."])
def test_two_copies_in_one_state_dict_are_told_apart(tmp_path, state, prefix):
    both = {**prefixed(state, "model."), **prefixed({n: t + 1 for n, t in state.items()}, prefix)}
    torch.save({"state_dict": both}, tmp_path / "lightning.ckpt")
    averaged = read_checkpoint(tmp_path / "lightning.ckpt")
    assert averaged.is_ema
    assert torch.equal(averaged.state["fc.bias"], state["fc.bias"] + 1)
    raw = read_checkpoint(tmp_path / "lightning.ckpt", weights="raw")
    assert not raw.is_ema
    assert_same(raw.state, state)


def test_weights_that_are_not_there_are_not_invented(tmp_path, state):
    torch.save({"state_dict": dict(state)}, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="no averaged \\(EMA\\) weights"):
        read_checkpoint(tmp_path / "plain.pth", weights="ema")
    torch.save({"model_ema": dict(state)}, tmp_path / "only.pth")
    with pytest.raises(CheckpointError, match="no raw weights"):
        read_checkpoint(tmp_path / "only.pth", weights="raw")
    with pytest.raises(ArgumentError, match="no weights called 'best'"):
        read_checkpoint(tmp_path / "plain.pth", weights="best")


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_namespace_and_an_ordered_dict_are_allowed(tmp_path, state, kind):
    content = {"model": OrderedDict(state), "args": argparse.Namespace(lr=0.1, model="test_resnet")}
    WRITERS[kind](content, tmp_path / "deit.pth")
    before = set(torch.serialization.get_safe_globals())
    read = read_checkpoint(tmp_path / "deit.pth")
    assert_same(read.state, state)
    assert read.stated_architecture == "test_resnet"
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_objects_of_other_classes_lie_beside_the_tensors(tmp_path, state, kind):
    content = {"state_dict": dict(state), "date": datetime.date(2020, 1, 1)}
    WRITERS[kind](content, tmp_path / "dated.pth")
    read = read_checkpoint(tmp_path / "dated.pth")
    assert read.others == {"date": "2020-01-01"}
    assert_same(read.state, state)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_whole_pickled_model_is_refused_with_the_way_out(tmp_path, model, kind):
    WRITERS[kind](model, tmp_path / "whole.pth")
    with pytest.raises(UnsafeCheckpointError, match="a whole pickled model") as caught:
        read_checkpoint(tmp_path / "whole.pth")
    assert "timm.models.resnet." in caught.value.reason
    assert "state_dict()" in caught.value.hint


class Runs:
    """Pickles into a call of a function that leaves a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_code_in_a_file_never_runs(tmp_path, state, kind):
    trace = tmp_path / "trace"
    WRITERS[kind]({**state, "payload": Runs(trace)}, tmp_path / "evil.pth")
    assert not trace.exists()
    with pytest.raises(UnsafeCheckpointError, match=r"io\.open"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not trace.exists()


def lines_of(problem):
    return [problem.message, problem.reason, problem.hint]


@pytest.mark.parametrize("read", [read_checkpoint, open_model])
def test_a_missing_file_suggests_its_neighbors(tmp_path, state, read):
    torch.save(dict(state), tmp_path / "resnet50.pth")
    with pytest.raises(CheckpointError, match="does not exist") as caught:
        read(tmp_path / "resnet5O.pth")
    assert "resnet50.pth" in caught.value.hint


def test_a_folder_is_no_checkpoint(tmp_path, state):
    torch.save(dict(state), tmp_path / "last.pth")
    with pytest.raises(CheckpointError, match="is a folder") as caught:
        read_checkpoint(tmp_path)
    assert "last.pth" in caught.value.hint


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
NO_CHECKPOINTS = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is not a checkpoint", "It is text"),
    "web page": (b"<!DOCTYPE html><html></html>", "a web page"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(64), "a JPEG image"),
    "png": (b"\x89PNG\r\n" + bytes(64), "a PNG image"),
    "lfs": (POINTER, "a pointer of Git LFS"),
    "hdf5": (b"\x89HDF\r\n" + bytes(64), "an HDF5 file"),
    "gzip": (b"\x1f\x8b" + bytes(64), "a gzip archive"),
    "pickle": (b"\x80\x04}\x94.", "pickle that torch.save did not write"),
    "noise": (b"\xfe\xed\xfa\xce" + bytes(64), "neither torch's format nor safetensors"),
}


@pytest.mark.parametrize("kind", NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_named(tmp_path, kind):
    content, message = NO_CHECKPOINTS[kind]
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(tmp_path / "file.pth")
    assert all(lines_of(caught.value))


@pytest.mark.parametrize(
    ("entry", "reason"), [("sys_info", "before version 0.2"), ("weights.pth", "a tar archive.")]
)
def test_tar_archives_are_told_apart(tmp_path, entry, reason):
    (tmp_path / entry).write_bytes(b"0")
    with tarfile.open(tmp_path / "old.pth", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(tmp_path / entry, entry)
    with pytest.raises(CheckpointError, match="not a checkpoint") as caught:
        read_checkpoint(tmp_path / "old.pth")
    assert reason in caught.value.reason
    assert all(lines_of(caught.value))


def test_an_archive_of_something_else_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("x.jpg", b"0")
    with pytest.raises(CheckpointError, match="but not one that"):
        read_checkpoint(tmp_path / "photos.zip")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"0")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_checkpoint(tmp_path / "script.pt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_was_cut_short_is_called_damaged(tmp_path, state, kind, share):
    path = tmp_path / "cut.pth"
    WRITERS[kind](dict(state), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="damaged or cut short") as caught:
        read_checkpoint(path)
    assert all(lines_of(caught.value))


@pytest.mark.parametrize(
    "content",
    [{}, {"epoch": 1}, [1, 2], torch.ones(3), {"optimizer": {"lr": 0.1}}, {"state_dict": {}}],
)
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="no tensors of a model") as caught:
        read_checkpoint(tmp_path / "none.pth")
    assert all(lines_of(caught.value))


UNUSABLE = {
    "complex": lambda t: t.to(torch.complex64),
    "quantized": lambda t: (t * 10).to(torch.int8),
    "sparse": lambda t: t.flatten(1).to_sparse(),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_tensors_that_are_not_dense_and_real_are_refused(tmp_path, state, kind):
    name = "conv1.0.weight" if "conv1.0.weight" in state else next(iter(state))
    torch.save({**state, name: UNUSABLE[kind](state[name])}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=f"{name}' is {kind}") as caught:
        read_checkpoint(tmp_path / "odd.pth")
    assert all(lines_of(caught.value))


@pytest.mark.filterwarnings("ignore")
def test_torchs_quantized_tensors_are_refused(tmp_path, state):
    quantized = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    torch.save({**state, "fc.weight": quantized}, tmp_path / "quantized.pth")
    with pytest.raises(CheckpointError, match=r"'fc\.weight' is quantized"):
        read_checkpoint(tmp_path / "quantized.pth")
