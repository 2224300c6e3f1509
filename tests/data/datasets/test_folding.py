"""Data sets cut into folds: parts, the list of them, and what has no folds."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_data import write_toy_data

from covtool.data.datasets.folding import FoldedData, fold_data, read_folds
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.records.records import Records
from covtool.errors import DataError


@pytest.fixture
def toy(tmp_path):
    return write_toy_data(tmp_path / "toy", train=7, val=2)


@pytest.fixture
def identities(tmp_path):
    """Six identities with three images each from two cameras, and images to search for."""
    file = tmp_path / "people.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("path", "identity", "camera", "split"))
        for identity in range(8):
            for number in range(3):
                (tmp_path / f"{identity}-{number}.png").write_bytes(b"")
                split = "train" if identity < 6 else "query" if number == 0 else "gallery"
                writer.writerow((f"{identity}-{number}.png", identity, f"c{number}", split))
    return file


def paths(layout, split):
    return {sample.path for sample in layout.splits[split]}


def test_each_training_image_is_held_out_once_and_others_never(toy) -> None:
    folded = fold_data(toy, 3)
    parts = [folded.part(fold) for fold in (1, 2, 3)]
    train = {sample.path for sample in folded.training}
    assert len(train) == 21
    for part in parts:
        assert paths(part, "train") | paths(part, "val") == train
        assert not paths(part, "train") & paths(part, "val")
    assert sum(len(part.splits["val"]) for part in parts) == 21
    assert [note for note in folded.whole.notes if "those of val are neither" in note]


def test_a_data_set_without_splits_is_cut_as_a_whole(toy) -> None:
    assert len(fold_data(toy / "train", 7).training) == 21


def test_the_list_is_read_as_it_was_written_wherever_the_images_are(toy, tmp_path) -> None:
    folded, file = fold_data(toy, 3), tmp_path / "folds.csv"
    folded.write(file)
    assert folded.is_in(file)
    read = read_folds(file, toy, 3)
    for fold in (1, 2, 3):
        assert read.part(fold) == replace(folded.part(fold), notes=())
    moved = tmp_path / "moved"
    shutil.move(toy, moved)
    found = read_folds(file, moved, 3).part(1)
    assert all(sample.path.is_file() for sample in found.splits["val"])


def test_other_images_are_not_in_the_list(toy, tmp_path) -> None:
    fold_data(toy, 3).write(tmp_path / "folds.csv")
    shutil.copy(toy / "train/red/0.png", toy / "train/red/new.png")
    assert not fold_data(toy, 3).is_in(tmp_path / "folds.csv")
    assert not fold_data(toy, 2).is_in(tmp_path / "folds.csv")


def test_a_class_that_is_not_in_every_fold_is_named_with_what_to_do(toy) -> None:
    for number in range(3, 7):
        (toy / f"train/red/{number}.png").unlink()
    with pytest.raises(DataError, match=r"1 class of .* 4 folds: red \(3\)") as problem:
        fold_data(toy, 4)
    assert "--folds 3" in problem.value.hint


def test_an_identity_is_never_in_both_parts(identities, tmp_path) -> None:
    folded = fold_data(identities, 3)
    assert folded.is_searched
    every = []
    for fold in (1, 2, 3):
        part = folded.part(fold)
        held = {sample.identity for sample in part.searched.query}
        assert held.isdisjoint(part.class_names)
        assert held | set(part.class_names) == set("012345")
        assert part.searched.query == part.searched.gallery
        every += [sample.path for sample in part.searched.query]
    assert len(every) == len(set(every)) == 18
    folded.write(tmp_path / "folds.csv")
    assert folded.is_in(tmp_path / "folds.csv")
    read = read_folds(tmp_path / "folds.csv", identities, 3)
    assert [s[:3] for s in read.part(2).searched.query] == list(folded.part(2).searched.query)
    assert read.part(2).splits == folded.part(2).splits


def test_too_few_identities_are_refused(identities) -> None:
    with pytest.raises(DataError, match="The 6 training identities") as problem:
        fold_data(identities, 4)
    assert "--folds 3" in problem.value.hint


class Archive:
    """Images that are nowhere: only their names are asked for."""

    identity = "archive"

    def __len__(self):
        return 6

    def name(self, index):
        return f"/data/shard.tar:{index}"


def test_images_that_are_no_files_are_compared_with_their_list(tmp_path) -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    whole = DataLayout(
        root=Path("/data"),
        kind="wds",
        class_names=("a", "b"),
        splits={"train": Records.all_of(Archive(), labels)},
        split_names={"train": "train"},
    )
    folded = FoldedData(whole=whole, numbers=(1, 1, 2, 2, 3, 3), folds=3)
    part = folded.part(2)
    assert part.splits["val"].rows.tolist() == [2, 3]
    assert part.splits["train"].rows.tolist() == [0, 1, 4, 5]
    file = tmp_path / "folds.csv"
    folded.write(file)
    assert file.read_text().splitlines()[:2] == ["path,label,number,fold", "shard.tar:0,a,0,1"]
    assert read_folds(file, Path("/data"), 3) is None
    assert folded.is_in(file)
    assert not replace(folded, numbers=(1, 1, 2, 3, 2, 3)).is_in(file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,label,fold\n", "no images"),
        ("path,label,fold\na.png,x,4\n", "no fold '4' of 3"),
        ("path,label\na.png,x\n", "first line"),
        ("path,label,fold\na.png,x\n", "line 2"),
    ],
)
def test_a_damaged_list_is_named(toy, tmp_path, text, reason) -> None:
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_folds(tmp_path / "folds.csv", toy, 3)
