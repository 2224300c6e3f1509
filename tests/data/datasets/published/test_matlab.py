"""Files of MATLAB are read as scipy reads them, and refused where scipy would believe them."""

import io
import random
from contextlib import suppress

import numpy as np
import pytest
from scipy import io as scipy_io

from covtool.data.datasets.published.matlab import DEEPEST, variables_of


def structures() -> np.ndarray:
    rows = [("a.jpg", 3, 1.5, [1, 2]), ("b.jpg", 300, 2.5, [3, 4])]
    return np.array(rows, dtype=[(name, object) for name in ("fname", "class", "x", "box")])


def cells(*values: object) -> np.ndarray:
    found = np.empty((len(values), 1), object)
    found[:, 0] = values
    return found


VARIABLES = {
    "structures": structures(),
    "one": structures()[:1],
    "cells": cells("n1/a", "n2/b", "éx"),
    "none": np.empty((0, 0), object),
    "labels": np.arange(7, dtype=np.uint8),
    "stored_small": np.arange(600, dtype=np.float64),
    "matrix": np.float32([[1.5, 2], [3, 4]]),
    "text": "hello",
    "texts": np.array(["ab", "cd"]),
    "other": "中",
    "large": np.int64([2**40]),
    "flag": np.array([True, False]),
    "nested": {"a": {"b": [1, 2]}},
}


def written(variables, *, compressed=False) -> bytes:
    file = io.BytesIO()
    scipy_io.savemat(file, variables, do_compression=compressed)
    return file.getvalue()


def equal(one, other) -> bool:
    if not isinstance(one, np.ndarray | np.void):
        return type(one) is type(other) and one == other
    if one.dtype.names:
        return one.dtype.names == other.dtype.names and all(
            equal(one[name], other[name]) for name in one.dtype.names
        )
    pairs = zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
    return one.shape == other.shape and all(equal(*pair) for pair in pairs)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", VARIABLES)
def test_what_scipy_reads_is_read_alike(name, compressed):
    content = written({name: VARIABLES[name]}, compressed=compressed)
    theirs = scipy_io.loadmat(io.BytesIO(content), squeeze_me=True)
    assert equal(variables_of(content)[name], theirs[name])


@pytest.mark.parametrize("compressed", [False, True])
def test_whatever_the_bytes_nothing_else_than_a_value_error_comes(compressed):
    content, generator = written(VARIABLES, compressed=compressed), random.Random(0)
    numbers = (b"\xff\xff\xff\x7f", b"\0\0\0\x40", b"\x0e\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\0")
    for _ in range(400):
        data = bytearray(content)
        for _ in range(generator.choice((1, 1, 3))):
            at = generator.randrange(len(data))
            data[at : at + 4] = generator.choice(numbers)
        if generator.random() < 0.2:
            del data[generator.randrange(len(data)) :]
        with suppress(ValueError):
            variables_of(bytes(data))


def test_other_kinds_of_arrays_are_refused():
    with pytest.raises(ValueError, match="another kind"):
        variables_of(written({"x": np.array([1j])}))


def test_cells_without_end_and_bombs_are_refused(monkeypatch):
    value = cells("x")
    for _ in range(DEEPEST):
        value = cells(value)
    with pytest.raises(ValueError, match="nested more than 16 levels"):
        variables_of(written({"x": value}))
    monkeypatch.setattr("covtool.data.datasets.published.matlab.LONGEST_MAT", 1 << 16)
    with pytest.raises(ValueError, match="more than 65,536 bytes when it is unpacked"):
        variables_of(written({"x": np.zeros(1 << 15)}, compressed=True))
    with pytest.raises(ValueError, match="version 5"):
        variables_of(b"x" * 200)
