"""covtool's own files carry a checksum of their tensors, which every reading compares."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from covtool.backbones.create import create_model, parse_name
from covtool.checkpoints import open_model, read_checkpoint
from covtool.checkpoints.inspection import inspect_source
from covtool.checkpoints.model_file import load, save
from covtool.checkpoints.tensor_checksum import CHECKSUM_KEY, checksum
from covtool.checkpoints.tensor_files import read_metadata
from covtool.checkpoints.verifying import reopened
from covtool.errors import CheckpointError, VerificationError
from covtool.specs import InputSpec, Provenance, Recipe

READERS = {
    "load": load,
    "open_model": open_model,
    "read_checkpoint": read_checkpoint,
    "inspect": lambda path: inspect_source(str(path)),
}


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    recipe = Recipe(
        base=parse_name("test_resnet")[0],
        num_classes=5,
        input=InputSpec(size=(96, 96)),
        provenance=Provenance(covtool_version="test"),
    )
    model = create_model(recipe.base, num_classes=5).eval()
    model.recipe = recipe
    return save(model, tmp_path / "model.safetensors")


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("place", [-1, -5000])
def test_a_flipped_bit_of_a_weight_is_found(path, reader, place):
    READERS[reader](path)
    flip(path, place)
    with pytest.raises(CheckpointError, match="damaged") as caught:
        READERS[reader](path)
    assert "changed afterwards" in caught.value.reason


def test_verification_finds_a_flipped_bit(path):
    flip(path, -1)
    with pytest.raises(VerificationError, match="does not open again"):
        reopened(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: {**tensors, "fc.bias": tensors["fc.bias"] + 1},
        lambda tensors: {**tensors, "fc.bias": tensors["fc.bias"].to(torch.float64)},
        lambda tensors: {**tensors, "more": torch.zeros(1)},
        lambda tensors: {name: t for name, t in tensors.items() if name != "fc.bias"},
        lambda tensors: {("fc.b" if name == "fc.bias" else name): t for name, t in tensors.items()},
    ],
    ids=["value", "dtype", "one more", "one less", "name"],
)
def test_other_tensors_under_the_old_checksum_are_found(path, change):
    save_file(change(load_file(path)), path, metadata=dict(read_metadata(path)))
    with pytest.raises(CheckpointError, match="damaged"):
        load(path)


def test_a_file_without_a_checksum_is_read_as_before(path):
    metadata = {name: t for name, t in read_metadata(path).items() if name != CHECKSUM_KEY}
    save_file(load_file(path), path, metadata=metadata)
    assert load(path).recipe.num_classes == 5


def test_the_order_of_the_tensors_makes_no_difference():
    tensors = {"a": torch.ones(2), "b": torch.zeros((), dtype=torch.bool), "c": torch.empty(0, 3)}
    assert checksum(tensors) == checksum(dict(reversed(tensors.items())))
    assert len(checksum(tensors)) == 64


def test_whole_numbers_in_place_of_weights_are_refused(path):
    tensors = load_file(path)
    tensors["fc.bias"] = tensors["fc.bias"].to(torch.int64)
    metadata = {**read_metadata(path), CHECKSUM_KEY: checksum(tensors)}
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(CheckpointError, match="do not fit its recipe") as caught:
        load(path)
    assert "fc.bias is of torch.int64" in caught.value.reason


def test_tensors_of_hostile_names_are_refused_in_one_printable_line(path):
    tensors = load_file(path) | {f"\x1b[2J\n{n}": torch.zeros(1) for n in range(500)}
    recipe = json.loads(read_metadata(path)["covtool.recipe"])
    save_file(tensors, path, metadata={"covtool.recipe": json.dumps(recipe)})
    with pytest.raises(CheckpointError, match="do not fit its recipe") as caught:
        load(path)
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 300
