"""Configurations and recipes that a user writes: whatever is wrong is exit 2, with the key."""

import pytest

from covtool.errors import ArgumentError
from covtool.specs.settings_files import LARGEST_SETTINGS, read_operations, read_settings

LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
BROKEN = {
    "no mapping": ("[1, 2]", "must hold names and values"),
    "false": ("false", "must hold names and values"),
    "text": ("epochs", "must hold names and values"),
    "not YAML": ("epochs: [", "not YAML"),
    "binary": (b"\x00\x01\xff\xfe", "cannot be read"),
    "UTF-16": ("batch_size: 4\n".encode("utf-16"), "not UTF-8"),
    "a tag": ("batch_size: !!python/object/apply:os.system [id]", "has a tag"),
    "aliases": (LAUGHS, "more than"),
    "deep": ("batch_size: " + "[" * 500 + "]" * 500, "nested"),
    "twice": ("batch_size: 1\nbatch_size: 2\n", "twice"),
    "two spellings": ("batch_size: 1\nbatch-size: 2\n", "twice"),
    "large": (b" " * (LARGEST_SETTINGS + 1), "larger than"),
    "a number": ("batch_size: " + "9" * 5000, "thousands of digits"),
}
MISTYPED = {
    "a list": ("batch_size: [1]", "batch_size: a list of 1"),
    "a mapping": ("device: {a: 1}", "device: a mapping of 1"),
    "a fraction": ("batch_size: 2.7", "batch-size"),
    "a flag": ("batch_size: yes", "batch-size"),
    "text": ("batch_size: many", "batch-size"),
    "an escape": ('device: "\\e[2J"', "device"),
    "a key": ("batchsize: 3", "Did you mean 'batch_size'"),
    "a strange key": ('"\\e[2J": 3', r"unknown key '\\x1b[2J'"),
    "no key": ("? [1]\n: 2", "cannot be read"),
}
RECIPES = {
    "nothing": ("", "nothing"),
    "no list": ("operations: 3", "operations: 3"),
    "no operations": ("base: {}", "operations: nothing"),
    "junk": ("[1]", "0: "),
    "unknown": ("[{operation: fly}]", "0: "),
    "unknown key": ("[{operation: head, surprise: 1}]", "surprise"),
    "iterations": ("[{operation: head, iterations: 1000000000}]", "head.iterations"),
    "not finite": ("[{operation: head, eps: .nan}]", "head.eps"),
    "many": ("[" + "{operation: stem}," * 65 + "]", "64 at most"),
}


def written(folder, content):
    path = folder / "settings.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration_is_one_argument_error(name, tmp_path):
    content, message = BROKEN[name]
    path = written(tmp_path, content)
    with pytest.raises(ArgumentError, match=message) as told:
        read_settings(path)
    assert "\n" not in told.value.message
    with pytest.raises(ArgumentError):
        read_operations(path)


def test_an_empty_configuration_sets_nothing(tmp_path):
    assert read_settings(written(tmp_path, "")) == {}
    assert read_settings(written(tmp_path, b"\xef\xbb\xbf# with a byte order mark\n")) == {}


def test_a_folder_and_a_pipe_are_no_configuration(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none.yaml"):
        with pytest.raises(ArgumentError, match="cannot be read"):
            read_settings(path)


@pytest.mark.parametrize("name", MISTYPED)
def test_a_value_of_another_type_is_a_usage_error_with_its_key(name, covtool, tmp_path):
    content, message = MISTYPED[name]
    path = written(tmp_path, content)
    code, _, err = covtool("evaluate", "resnet18", "--data", tmp_path, "--config", path)
    assert (code, "\x1b" in err) == (2, False)
    assert message in err.replace("\\\\", "\\\\")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_without_operations_that_will_do_is_a_usage_error(name, covtool, tmp_path):
    content, message = RECIPES[name]
    path = written(tmp_path, content)
    code, _, err = covtool("convert", "resnet18", "--recipe", path)
    assert code == 2
    assert message in err


def test_lists_and_numbers_of_a_configuration_are_typed_as_before(covtool, tmp_path):
    path = written(tmp_path, "mean: [0.5, 0.5, 0.5]\nimg_size: 64\nbatch_size: 4\nexif: true\n")
    code, _, err = covtool("evaluate", "test_resnet", "--data", tmp_path / "none", "--config", path)
    assert code == 4, err
