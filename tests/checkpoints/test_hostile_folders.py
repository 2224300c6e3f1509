"""Files beside a checkpoint, whatever is in them: a note, a refusal, never an exception."""

import json
import os
import random

import pytest
import torch
from checkpoint_files import tiny_model
from safetensors.torch import save_file

from covtool.checkpoints import open_model, read_checkpoint
from covtool.checkpoints.metadata import read_statements
from covtool.checkpoints.metadata.beside import CLASS_FILES, CONFIGURATIONS, MOST_LISTS
from covtool.checkpoints.metadata.class_lists import LONGEST_NAME, read_class_names
from covtool.checkpoints.metadata.documents import LARGEST_JSON, LARGEST_YAML
from covtool.checkpoints.metadata.entries import read_entries
from covtool.checkpoints.metadata.mm_config import read_mm_entries
from covtool.checkpoints.other_names import read_as_code_bases
from covtool.errors import CheckpointError, DataError

VALUES = (
    *(None, True, -1, 0, 1.5, 10**30, float("nan"), "", "\x1b[2J", "x" * 5000, "1" * 5000),
    *([], {}, [1, "a"], {"0": "a", "1": "a"}, {"a": 10**30}, {"1" * 5000: "a"}, {"": None}),
    *(["a"] * 3, {"a": [0]}, [[["deep"]]], {"model": {"model": 3}}),
)
KEYS = (
    *("architecture", "architectures", "num_classes", "input_size", "mean", "std", "crop_pct"),
    *("id2label", "label2id", "class_names", "pretrained_cfg", "model_cfg", "vision_cfg", "size"),
    *("vision_config", "hidden_act", "layer_norm_eps", "preprocess_cfg", "image_mean", "args"),
    *("image_std", "resample", "do_normalize", "global_pool", "MODEL", "INPUT", "quick_gelu"),
)
TEXTS = {
    "no text": b"\xff\xfe\x00",
    "half a text": b'{"architecture": "res',
    "deep": b"[" * 100_000,
    "a key twice": b'{"size": 224, "size": 384}',
    "a tag": b"a: !!python/object/apply:os.system [id]",
    "billions": b"a: &a [x]\n" + b"".join(b"b%d: &a [*a, *a, *a, *a]\n" % n for n in range(20)),
    "a long number": b'{"size": ' + b"9" * 5000 + b"}",
    "a lone surrogate": b'{"architecture": "\\ud800"}',
    "white space": b" " * 1000,
    "a NUL": b"\0",
    "nothing": b"",
}
CONFIGURED = [name for name in CONFIGURATIONS if name not in ("preprocessor.json", "args.json")]


@pytest.fixture
def file(tmp_path):
    state = {name: t.contiguous() for name, t in tiny_model(num_classes=3).state_dict().items()}
    save_file(state, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("name", ["config.json", "args.yaml", "preprocessor_config.json"])
@pytest.mark.parametrize("text", TEXTS)
def test_what_cannot_be_read_beside_a_file_is_a_note_at_most(file, name, text):
    file.with_name(name).write_bytes(TEXTS[text])
    notes = open_model(file).notes
    assert all(note.isprintable() for note in notes)
    said = [note for note in notes if name in note]
    assert all("is not used" in note for note in said)


@pytest.mark.parametrize("name", ["config.json", "args.yaml"])
def test_a_configuration_that_is_too_large_is_named(file, name):
    with file.with_name(name).open("wb") as written:
        written.truncate(1 << 30)
    notes = [note for note in open_model(file).notes if name in note]
    most = LARGEST_YAML if name.endswith("yaml") else LARGEST_JSON
    assert notes == [
        f"{name} beside the file is not used. It is larger than {most / 2**20:.4g} MiB, the most "
        "that is read."
    ]


def test_a_pipe_beside_a_file_is_not_waited_for(file):
    for name in (*CONFIGURATIONS, *CLASS_FILES, "opts.yaml"):
        os.mkfifo(file.with_name(name))
    notes = open_model(file).notes
    assert sum("It is a pipe" in note for note in notes) == len(CONFIGURATIONS)


@pytest.mark.parametrize("seed", range(6))
def test_values_of_wrong_kinds_at_every_place_are_left_aside(file, seed):
    draw = random.Random(seed)

    def junk(depth=0):
        if depth > 2 or draw.random() < 0.5:
            return draw.choice(VALUES)
        return {draw.choice(KEYS): junk(depth + 1) for _ in range(draw.randrange(8))}

    for _ in range(8):
        for name in draw.sample(CONFIGURED, 4):
            told = {key: junk() for key in draw.sample(KEYS, 8)}
            file.with_name(name).write_text(json.dumps(told))
        lists = draw.sample(CLASS_FILES, 3)
        for name in lists:
            file.with_name(name).write_text(json.dumps(junk()) + draw.choice(("", "\n\x1b", "}")))
        told = read_statements(
            file, {key: junk() for key in draw.sample(KEYS, 8)}, {"a": "[" * 5000}
        )
        for source in (*told.sources, *told.class_lists):
            assert all(problem.isprintable() for problem in source.problems)
        list(read_as_code_bases(read_checkpoint(file)))
        for name in lists:
            file.with_name(name).unlink()


def test_entries_that_are_shared_many_times_are_read_once():
    inner: dict = {"size": 224}
    for _ in range(30):
        inner = dict.fromkeys(("model", "args", "config", "cfg", "meta", "data", "net"), inner)
    assert read_entries("the file", inner) is None
    assert read_mm_entries("the file", inner) is None


def test_more_lists_of_classes_than_are_read_are_counted(file):
    for name in CLASS_FILES:
        file.with_name(name).write_text("a\nb\nc\n" if name.endswith("txt") else '["a", "b", "c"]')
    opened = open_model(file)
    assert opened.recipe.class_names == ("a", "b", "c")
    assert any(f"{MOST_LISTS} are read" in note for note in opened.notes)


@pytest.mark.parametrize(
    "text",
    [
        "a" * (LONGEST_NAME + 1),
        "a" + " " * (LONGEST_NAME - 2) + "b\n" * 1000,
        '{"' + "1" * 5000 + '": "a"}',
        '{"a": ' + "1" * 4000 + "}",
        '["\\u001b[2J", "\\u001b[2J"]',
    ],
    ids=["long", "spaces", "long index", "large index", "twice"],
)
def test_lists_of_classes_with_strange_lines_are_answered_at_once(tmp_path, text):
    path = tmp_path / ("a.json" if text[0] in "[{" else "a.txt")
    path.write_text(text)
    try:
        assert read_class_names(path)
    except DataError as problem:
        assert str(problem).replace("\n", "").isprintable()


PLACES = {
    "the folder above": "../a.safetensors",
    "another folder": "/etc/passwd",
    "the folder": ".",
    "nothing": "",
    "the one above": "..",
    "inside": "a/b.safetensors",
    "a slash": "a.safetensors/",
    "a number": 3,
    "a list": ["a.safetensors"],
    "a mapping": {"a": "b"},
    "null": None,
}


@pytest.mark.parametrize("place", PLACES)
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, place):
    index = tmp_path / "model.safetensors.index.json"
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    (tmp_path / "inner").mkdir()
    for weight_map in ({"a": PLACES[place]}, {"b": "a.safetensors", "a": PLACES[place]}):
        index.write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(CheckpointError, match="not an index of weights"):
            open_model(index)


@pytest.mark.parametrize("text", [*TEXTS.values(), b'{"weight_map": 3}', b'"weight_map"', b"3"])
def test_an_index_that_is_none_is_refused(tmp_path, text):
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(text)
    with pytest.raises(CheckpointError, match="not an index of weights") as caught:
        open_model(tmp_path)
    assert caught.value.reason.isprintable()


def test_a_tensor_in_two_files_of_one_index_is_refused(tmp_path):
    for name in "ab":
        save_file({"w": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}))
    with pytest.raises(CheckpointError, match="damaged") as caught:
        read_checkpoint(index)
    assert caught.value.reason == "Two of its files hold 'w'."


def test_a_part_that_is_a_pipe_is_no_part(tmp_path):
    save_file({"w": torch.zeros(1)}, tmp_path / "m-00001-of-00002.safetensors")
    os.mkfifo(tmp_path / "m-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="others are missing"):
        read_checkpoint(tmp_path / "m-00001-of-00002.safetensors")
