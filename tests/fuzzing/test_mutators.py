"""Every mutator works on a whole file, and does the same again for the same seed."""

import io
import json
import struct
from random import Random

import numpy as np
import pytest
import torch
from safetensors.torch import save

from fuzzing.mutators.archives import TAR, TORCH_ZIP, ZIP, Member, write_tar
from fuzzing.mutators.arrays import ARRAYS
from fuzzing.mutators.documents import JSON, YAML
from fuzzing.mutators.pickles import LEGACY
from fuzzing.mutators.pictures import FORMATS, IMAGE, encoded
from fuzzing.mutators.raw import RAW
from fuzzing.mutators.recipes import HOSTILE_RECIPE, HOSTILE_YAML
from fuzzing.mutators.tables import CSV, JSON_LINES, LISTS
from fuzzing.mutators.tensor_headers import RECIPE, SAFETENSORS
from fuzzing.mutators.trees import TREE

LARGE = ("zip-bomb", "zip-add-many", "png-chunks", "one-pixel", "many-tensors")  # take seconds
STATE = {"a.weight": torch.arange(300.0).reshape(3, 100), "a.bias": torch.ones(3)}
RECIPE_JSON = {
    "version": 1,
    "base": {"library": "timm", "name": "test_resnet", "arguments": {}},
    "operations": [{"operation": "head", "head": "isqrt", "dim": 4}],
    "num_classes": 3,
    "input": {"size": [64, 64], "mean": [0.5], "std": [0.5]},
}


def torch_bytes(**how):
    file = io.BytesIO()
    torch.save(STATE, file, **how)
    return file.getvalue()


def npz():
    file = io.BytesIO()
    np.savez(file, features=np.ones((9, 4)), paths=np.array(["a", "b"]))
    return file.getvalue()


SAMPLES = {
    "raw": (RAW, bytes(range(256)) * 4),
    "json": (JSON, json.dumps(RECIPE_JSON).encode()),
    "yaml": (YAML, b"a: 1\nb: [1, 2]\nc: {d: x, e: null}\n"),
    "csv": (CSV, b"path,label\na.png,x\nb.png,y\n"),
    "lists": (LISTS, b"a.png 0\nb.png 1\n"),
    "lines of json": (JSON_LINES, b'{"a": 1}\n{"a": 2}\n'),
    "torch's zip": (TORCH_ZIP, torch_bytes()),
    "torch's old format": (LEGACY, torch_bytes(_use_new_zipfile_serialization=False)),
    "zip": (ZIP, npz()),
    "arrays": (ARRAYS, npz()),
    "tar": (TAR, write_tar([Member("0.png", encoded("png")), Member("0.cls", b"1")])),
    "safetensors": (SAFETENSORS, save(STATE)),
    "recipe": (
        (*RECIPE, *HOSTILE_RECIPE),
        save(STATE, metadata={"covtool.recipe": json.dumps(RECIPE_JSON)}),
    ),
    "recipe in yaml": (HOSTILE_YAML, json.dumps(RECIPE_JSON).encode()),
    "image": (IMAGE, encoded("png")),
}
ROWS = [
    pytest.param(row, content, id=f"{name}: {row.name}")
    for name, (rows, content) in SAMPLES.items()
    for row in rows
    if row.name not in LARGE
]


@pytest.mark.parametrize(("row", "content"), ROWS)
def test_a_mutator_changes_a_whole_file_and_repeats_itself(row, content):
    once, again = ([row.change(content, Random(seed)) for seed in range(6)] for _ in range(2))
    assert once == again
    assert all(isinstance(changed, bytes) for changed in once)
    assert any(changed != content for changed in once)


@pytest.mark.parametrize("row", [row for row in SAFETENSORS if row.of_tensors])
def test_a_mutator_of_tensors_leaves_the_header_alone(row):
    whole = save(STATE)
    changed = row.change(whole, Random(0))
    (length,) = struct.unpack("<Q", whole[:8])
    assert changed[: 8 + length] == whole[: 8 + length]
    assert len(changed) == len(whole)


@pytest.mark.parametrize("row", TREE, ids=lambda row: row.name)
def test_a_mutator_of_folders_changes_a_folder(row, tmp_path):
    for name in ("a/1.png", "a/2.png", "b/c/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    before = {path: path.lstat() for path in tmp_path.rglob("*")}
    row.change(tmp_path, Random(1))
    assert {path: path.lstat() for path in tmp_path.rglob("*")} != before


@pytest.mark.parametrize("suffix", FORMATS)
def test_there_is_a_whole_image_of_every_format(suffix):
    assert len(encoded(suffix)) > 60
