"""Weights in a folder of the Hugging Face Hub, in one file or in shards."""

import json

import pytest
import torch
from checkpoint_files import tiny_model
from safetensors.torch import save_file

from covtool.checkpoints import open_model, read_checkpoint
from covtool.checkpoints.shards import HUB_FILES, shards_of, weights_file
from covtool.errors import CheckpointError

SAVE = {".bin": torch.save, ".safetensors": save_file}
STEMS = {".bin": "pytorch_model", ".safetensors": "model"}


@pytest.fixture(scope="module")
def state():
    return tiny_model(num_classes=3).state_dict()


def sharded(folder, state, suffix):
    """Three shards with an index, and the classes in a configuration beside them."""
    stem, names = STEMS[suffix], list(state)
    parts = [names[:20], names[20:40], names[40:]]
    files = [f"{stem}-0000{n}-of-00003{suffix}" for n in (1, 2, 3)]
    for file, part in zip(files, parts, strict=True):
        SAVE[suffix]({name: state[name] for name in part}, folder / file)
    places = {name: file for file, part in zip(files, parts, strict=True) for name in part}
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    config = {"id2label": {"0": "a", "1": "b", "2": "c"}, "architecture": "test_resnet"}
    (folder / "config.json").write_text(json.dumps(config))
    return index, folder / files[1]


@pytest.mark.parametrize("suffix", SAVE)
@pytest.mark.parametrize("given", ["the folder", "the index", "a shard"])
def test_all_shards_of_a_models_weights_are_read(tmp_path, state, suffix, given):
    index, shard = sharded(tmp_path, state, suffix)
    opened = open_model({"the folder": tmp_path, "the index": index, "a shard": shard}[given])
    assert opened.recipe.class_names == ("a", "b", "c")
    assert opened.recipe.provenance.untrained == ()
    own = opened.model.state_dict()
    assert all(torch.equal(own[name], state[name]) for name in state)


@pytest.mark.parametrize("given", ["index", "shard"])
def test_a_missing_shard_is_named(tmp_path, state, given):
    index, shard = sharded(tmp_path, state, ".bin")
    (tmp_path / "pytorch_model-00003-of-00003.bin").unlink()
    with pytest.raises(CheckpointError, match="others are missing") as told:
        open_model(index if given == "index" else shard)
    assert "pytorch_model-00003-of-00003.bin" in told.value.reason


@pytest.mark.parametrize(
    "text", ["[]", "{", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../model.safetensors"}}']
)
def test_an_index_without_files_beside_it_is_refused(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="not an index of weights"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", [name for name in HUB_FILES if not name.endswith(".json")])
def test_a_folder_of_the_hub_stands_for_its_weights(tmp_path, state, name):
    SAVE[name[name.rindex(".") :]](dict(state), tmp_path / name)
    assert weights_file(tmp_path) == tmp_path / name
    assert shards_of(tmp_path / name) == ()
    opened = open_model(tmp_path, arch="test_resnet")
    assert torch.equal(opened.model.fc.bias, state["fc.bias"])
