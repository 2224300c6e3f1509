"""Headers of safetensors files: right ones are read, wrong ones refused with a reason."""

import json

import pytest

from covtool.safetensors_header import (
    LARGEST_HEADER,
    LONGEST_NAME,
    MOST_DIMENSIONS,
    MOST_METADATA,
    MOST_PARTS,
    MOST_TENSORS,
    ExcessError,
    HeaderError,
    read_header,
)

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def written(path, header, data=bytes(8), *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    count = len(text) if length is None else length
    path.write_bytes(count.to_bytes(8, "little") + text + data)
    return path


def entry(**changed):
    told = {**ENTRY, **changed}
    return {"a": {name: value for name, value in told.items() if value is not None}}


def twice(name):
    return b'{"a":' + json.dumps(ENTRY).encode() + b',"' + name + b'":{}' + b"}"


WRONG = {
    "no dtype": (entry(dtype=None), "has shape, data_offsets, not"),
    "no shape": (entry(shape=None), "has dtype, data_offsets"),
    "no place": (entry(data_offsets=None), "has dtype, shape, not"),
    "more fields": (entry(strides=[1]), "strides"),
    "an unknown dtype": (entry(dtype="Q4"), "'Q4', which does not exist"),
    "no dtype but a number": (entry(dtype=3), "'3', which does not exist"),
    "a negative side": (entry(shape=[-2]), "The shape of 'a'"),
    "a huge side": (entry(shape=[2**63]), "The shape of 'a'"),
    "a huge side of nothing": (entry(shape=[0, 2**62], data_offsets=[0, 0]), "The shape of 'a'"),
    "a side with a fraction": (entry(shape=[2.0]), "The shape of 'a'"),
    "a true side": (entry(shape=[True, 2]), "The shape of 'a'"),
    "a shape that is a number": (entry(shape=2), "The shape of 'a'"),
    "a nested shape": (entry(shape=[[2]]), "The shape of 'a'"),
    "places that are three": (entry(data_offsets=[0, 4, 8]), "The place of 'a'"),
    "places that are texts": (entry(data_offsets=["0", "8"]), "The place of 'a'"),
    "a negative place": (entry(data_offsets=[-8, 0]), "The place of 'a'"),
    "places in the wrong order": (entry(data_offsets=[8, 0]), "should have 8 bytes"),
    "fewer bytes than numbers": (entry(data_offsets=[0, 4]), "should have 8 bytes"),
    "half a byte": (entry(dtype="F4", shape=[3], data_offsets=[0, 1]), "should have 1.5 bytes"),
    "bytes beyond the file": (entry(shape=[4], data_offsets=[0, 16]), "promises 16 bytes"),
    "bytes of nothing at the end": (entry(shape=[1], data_offsets=[0, 4]), "promises 4 bytes"),
    "bytes of nothing before": (entry(shape=[1], data_offsets=[4, 8]), "There are bytes of no"),
    "shared bytes": ({**entry(), "b": ENTRY}, "Two tensors share bytes"),
    "no entry but a text": ({"a": "F32"}, "is missing"),
    "an entry without an end": (b'{"a":{"dtype":' + b" " * 5000, "does not end"),
    "lists without end": (b'{"a":{"shape":' + b"[" * 4000 + b"}}", "is not JSON"),
    "no object": (b"[1, 2]", "is not JSON"),
    "half a header": (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}', "is missing"),
    "something behind it": (json.dumps(entry()).encode() + b" {}", "stands behind its header"),
    "no UTF-8": (b'{"\xff":{}}', "not UTF-8"),
    "half a character": (b'{"\\ud800":{}}', "half a character"),
    "a name that never ends": (b'{"a', "is not JSON"),
    "an end of line in a name": (b'{"a\n":{}}', "is not JSON"),
    "a tensor twice": (twice(b"a"), "stands twice"),
    "a field twice": (b'{"a":{"dtype":"F32","dtype":"F32"}}', "a key stands twice"),
    "metadata twice": (b'{"__metadata__":{},"__metadata__":{}}', "metadata stand twice"),
    "a number as metadata": ({"__metadata__": {"epoch": 3}, **entry()}, "is missing"),
    "a list of metadata": ({"__metadata__": ["a"], **entry()}, "is missing"),
    "metadata of one name": (b'{"__metadata__":{"a":"b","a":"c"}}', "twice in its metadata"),
}
TOO_MUCH = {
    "a long name": ({"x" * (LONGEST_NAME + 1): ENTRY}, "characters"),
    "a name of many parts": ({"x." * MOST_PARTS: ENTRY}, "parts"),
    "many dimensions": (entry(shape=[1] * MOST_DIMENSIONS + [2]), "dimensions"),
    "many metadata": (
        {"__metadata__": dict.fromkeys(map(str, range(MOST_METADATA + 2)), "")},
        "metadata",
    ),
    "many tensors": (
        {str(n): {**ENTRY, "shape": [0], "data_offsets": [0, 0]} for n in range(MOST_TENSORS + 1)},
        "more than",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_header_is_refused_with_a_reason_in_one_line(tmp_path, name):
    header, reason = WRONG[name]
    with pytest.raises(HeaderError) as caught:
        read_header(written(tmp_path / "a.safetensors", header))
    assert reason in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", TOO_MUCH)
def test_more_than_any_network_has_is_refused_as_that(tmp_path, name):
    header, reason = TOO_MUCH[name]
    with pytest.raises(ExcessError, match=reason):
        read_header(written(tmp_path / "a.safetensors", header))


@pytest.mark.parametrize("length", [0, 7, 2**63, 2**64 - 1])
def test_a_length_that_is_not_the_headers_is_refused(tmp_path, length):
    with pytest.raises(HeaderError):
        read_header(written(tmp_path / "a.safetensors", entry(), length=length))


def test_a_header_larger_than_the_format_allows_is_refused_unread(tmp_path):
    path = written(tmp_path / "a.safetensors", entry(), length=LARGEST_HEADER + 1)
    with path.open("r+b") as file:
        file.truncate(LARGEST_HEADER + 100)
    with pytest.raises(ExcessError, match="are the most"):
        read_header(path)


@pytest.mark.parametrize("size", range(0, 70, 7))
def test_a_file_that_ends_anywhere_is_refused(tmp_path, size):
    path = written(tmp_path / "a.safetensors", entry())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(HeaderError):
        read_header(path)


def test_a_right_header_is_read_whatever_its_white_space_and_order(tmp_path):
    entries = {
        "b": {"data_offsets": [8, 9], "shape": [], "dtype": "BOOL"},
        "empty": {"dtype": "I64", "shape": [0, 5], "data_offsets": [8, 8]},
        "__metadata__": {"format": "pt", "é": "\n"},
        **entry(),
    }
    text = json.dumps(entries, indent=2).encode() + b"   "
    header = read_header(written(tmp_path / "a.safetensors", text, bytes(9)))
    assert list(header.entries) == ["a", "empty", "b"]
    assert header.entries["empty"].shape == (0, 5)
    assert header.metadata == {"format": "pt", "é": "\n"}
    assert (header.start, header.end) == (8 + len(text), 8 + len(text) + 9)


def test_a_file_without_tensors_is_whole(tmp_path):
    assert not read_header(written(tmp_path / "a.safetensors", {}, b"")).entries
