"""A class whose name no file can keep is refused before anything is trained."""

import os

import pytest
from toy_data import write_toy_data

from covtool.data.datasets.layout import require_trainable
from covtool.data.datasets.reading import scan
from covtool.errors import DataError


def test_names_that_are_not_utf_8_are_refused(tmp_path) -> None:
    root = write_toy_data(tmp_path / "toy", train=2, val=1)
    require_trainable(scan(root))
    try:
        for split in ("train", "val"):
            (root / split / "red").rename(root / split / os.fsdecode(b"r\xe9d"))
    except OSError:
        pytest.skip("The file system takes no names that are not UTF-8.")
    with pytest.raises(DataError, match=r"names are not UTF-8: r\\udce9d"):
        require_trainable(scan(root))
