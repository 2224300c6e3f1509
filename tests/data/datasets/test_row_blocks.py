"""Rows of a list by the block: the same rows, notes and errors as one by one."""

import random

import pytest
from images import write_image

from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.lists import csv_file, labeled
from covtool.data.datasets.lists.csv_file import LONGEST_CELL, opened_blocks
from covtool.data.datasets.lists.labeled import read_labeled
from covtool.data.datasets.lists.row_blocks import RowBlocks
from covtool.data.datasets.retrieval.reading import read_retrieval
from covtool.errors import DataError

SPLITS = ("train", "val")
ODD_ROWS = {
    "spaces around": " a/1.png , ant ,val",
    "capitals": "a/1.png,ant,VAL",
    "more cells": "a/1.png,ant,val,7,8",
    "a quoted cell": '"a/1.png","ant","val"',
    "quotes within a cell": 'a/1.png,an"t",val',
    "doubled quotes": '"a/1.png","a ""big"" ant",val',
    "a line within a cell": '"a/1.png\n",ant,val',
    "two lines within a label": 'a/1.png,"an\nt",val',
    "no printable character": "a/1.png,a\u200bnt,val",
    "a name without its suffix": "1,ant,train",
    "a name alone": "1.png,ant,train",
    "a path in another form": "./b/../a/1.png,ant,val",
    "backslashes": "a\\1.png,ant,val",
    "an empty line": "",
    "a label is missing": "a/1.png,,val",
    "a path is missing": ",ant,val",
    "a row is cut off": "a/1.png,ant",
    "a split is unknown": "a/1.png,ant,vall",
    "a file is missing": "a/9.png,ant,val",
    "an address": "https://example.org/1.png,ant,val",
    "a long cell": f"a/1.png,{'n' * (LONGEST_CELL + 1)},val",
    "several labels": "a/1.png,ant;bee,val",
    "a quote that never closes": '"a/1.png,ant,val',
}


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        for place in "ab":
            write_image(tmp_path / place / f"{number}.png", seed=number, size=(4, 4))
    write_image(tmp_path / "a/1.png", seed=9, size=(4, 4))
    (tmp_path / "b/1.png").unlink()  # so that the name says which one
    return tmp_path


def written(folder, odd):
    plain = [f"a/{n % 3}.png,{'ant' if n % 2 else 'bee'},{SPLITS[n % 5 > 3]}" for n in range(40)]
    random.Random(0).shuffle(plain)
    rows = [*plain[:17], *odd, *plain[17:]]
    (folder / "list.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    return folder / "list.csv"


def outcome(read):
    try:
        return read()
    except DataError as problem:
        return problem.message, problem.reason, problem.hint


def labeled_rows(file):
    def read():
        found = read_labeled(file, split_names=SPLITS, default="all")
        return {split: list(rows) for split, rows in found.splits.items()}, found.notes

    return outcome(read)


def one_by_one(monkeypatch):
    monkeypatch.setattr(labeled, "all_are_files", lambda paths: False)


@pytest.mark.parametrize("characters", [1 << 20, 60, 1])  # all at once, a few lines, each alone
@pytest.mark.parametrize("odd", ODD_ROWS)
def test_a_list_is_read_as_row_by_row(odd, characters, folder, monkeypatch) -> None:
    monkeypatch.setattr(csv_file, "_AT_ONCE", characters)
    file = written(folder, [ODD_ROWS[odd]])
    found = labeled_rows(file)
    with monkeypatch.context() as patched:
        one_by_one(patched)
        expected = labeled_rows(file)
    assert found == expected


def test_plain_rows_are_read_at_once(folder, monkeypatch) -> None:
    file = written(folder, [])
    expected = labeled_rows(file)
    assert len(expected) == 2
    monkeypatch.setattr(RowBlocks, "_one_by_one", lambda *rest: pytest.fail("row by row"))
    assert labeled_rows(file) == expected


@pytest.mark.parametrize("odd", ["an empty line", "two lines within a label"])
def test_blocks_are_bounded_and_number_their_rows(odd, folder, monkeypatch) -> None:
    monkeypatch.setattr(csv_file, "_AT_ONCE", 40)
    file = written(folder, [ODD_ROWS[odd]])
    with opened_blocks(file) as (columns, blocks):
        found = list(blocks)
    assert max(len(block.cells) for block in found) == 3  # of 15 characters or more
    with opened_blocks(file, one_by_one=True) as (names, blocks):
        alone = list(blocks)
    assert {len(block.cells) for block in alone} == {1}
    assert columns == names == ("path", "label", "split")

    def rows(parts):
        return [row for part in parts for row in zip(part.numbers, part.cells, strict=True)]

    assert rows(found) == rows(alone)
    numbers = [number for number, _ in rows(found)]
    assert [number for number in range(2, numbers[-1] + 1) if number not in numbers] == [19]


def test_a_block_without_rows_is_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(csv_file, "_AT_ONCE", 1)
    (tmp_path / "list.csv").write_text("path,label\n\n\na,b\n\n")
    with opened_blocks(tmp_path / "list.csv") as (_, blocks):
        (block,) = blocks
    assert (list(block.numbers), block.cells) == ([4], [["a", "b"]])


PAIRS = {
    "a label, then a NUL": (["a/1.png,,val"], ["a/1.png,\0,val"], "the label is empty"),
    "a label, then a quote": (["a/1.png,,val"], ['"a/1.png,ant,val'], "the label is empty"),
    "a file, then a label": (["1,ant,all"], ["a/1.png,,val"], "there is no split 'all'"),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_the_first_row_that_is_wrong_is_told_of(pair, folder) -> None:
    first, second, message = PAIRS[pair]
    file = written(folder, [*first, *["a/2.png,ant,val"] * 30, *second])
    with pytest.raises(DataError, match=message):
        read_labeled(file, split_names=SPLITS, default="all")


@pytest.mark.parametrize("odd", ODD_ROWS)
def test_other_lists_are_read_as_row_by_row(odd, folder, monkeypatch) -> None:
    plain = [f"a/{n % 3}.png,p{n % 2},,{'query' if n < 3 else 'gallery'}" for n in range(6)]
    path, _, rest = ODD_ROWS[odd].partition(",")
    rows = [*plain, f"{path},{rest.partition(',')[0]},cam1,gallery"]
    (folder / "people.csv").write_text("\n".join(["path,identity,camera,split", *rows]) + "\n")

    def read():
        return outcome(lambda: read_retrieval(folder / "people.csv")), outcome(
            lambda: find_images(folder / "people.csv")
        )

    found = read()
    with monkeypatch.context() as patched:
        one_by_one(patched)
        expected = read()
    assert found == expected
