"""An output's name promises the format that is in it, or is refused with the right name."""

from pathlib import Path

import pytest

from covtool.atomic import require_suffix
from covtool.atomic.formats import OUTPUTS
from covtool.errors import ArgumentError

KIND = {"suffixes": (".npz", ".tar.gz"), "what": "an example"}


@pytest.mark.parametrize("name", ["a.npz", "A.NPZ", "a.b.npz", ".a.npz", "a.tar.gz", "a.TAR.gz"])
def test_its_own_suffixes_are_taken_in_any_case(name):
    require_suffix(Path("deep") / name, **KIND)


@pytest.mark.parametrize(
    "name", ["", ".", "/", "..", "a", "a.", "a.npz.gz", "a.np", "a.gz", "npz", ".npz", "a.npz~"]
)
def test_every_other_end_is_refused(name):
    with pytest.raises(ArgumentError, match="is not the name of an example") as caught:
        require_suffix(Path(name), **KIND)
    assert caught.value.reason == "The name must end in one of .npz, .tar.gz."
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("model.foo", "model.foo.safetensors"),
        ("model.pt2", "model.safetensors"),
        ("deep/model.PTH", "deep/model.safetensors"),
        ("model.onnx.gz", "model.safetensors"),
        ("model.pth.tar", "model.safetensors"),
        ("model.safetensors.gz", "model.safetensors"),
        ("resnet50.a1_in1k", "resnet50.a1_in1k.safetensors"),
        ("model", "model.safetensors"),
        ("model.", "model.safetensors"),
        (".safetensors", "NAME.safetensors"),
    ],
)
def test_the_right_name_is_proposed_and_is_taken(name, right):
    with pytest.raises(ArgumentError) as caught:
        OUTPUTS["model"](Path(name))
    assert caught.value.hint == f"Call it {right}."
    OUTPUTS["model"](Path(right))


def test_for_a_folder_a_file_in_it_is_proposed(tmp_path):
    with pytest.raises(ArgumentError, match=r"It is a folder") as caught:
        OUTPUTS["features"](tmp_path)
    assert f"{tmp_path / 'NAME.safetensors'}" in caught.value.hint


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "a\ud800b", "a\x1b[31m.pth"])
def test_names_that_no_file_can_have_are_refused_in_printable_words(name):
    with pytest.raises(ArgumentError) as caught:
        OUTPUTS["model"](Path(name))
    said = (caught.value.message, caught.value.reason, caught.value.hint)
    assert all(text.isprintable() for text in said)
