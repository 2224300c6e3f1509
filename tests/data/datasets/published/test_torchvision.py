"""torchvision's own readers see the same images and classes, where they can read a tree.

Those of Flowers-102 and Places365 compare checksums, those of SUN397 and Caltech know no splits.
"""

import re
from collections.abc import Callable

import pytest
import torchvision
from published_trees import TREES

from covtool.data.datasets.reading import scan

Reader = Callable[..., object]

READERS: dict[str, tuple[str, Reader, tuple[str, ...], str]] = {
    # folder that torchvision wants; reader of a split; splits; where it keeps the images
    "dtd": (
        "dtd/dtd",
        lambda root, split: torchvision.datasets.DTD(root, split=split, partition=1),
        ("train", "val", "test"),
        "_image_files",
    ),
    "food-101": (
        "food-101",
        lambda root, split: torchvision.datasets.Food101(root, split=split),
        ("train", "test"),
        "_image_files",
    ),
    "fgvc-aircraft": (
        "fgvc-aircraft-2013b",
        lambda root, split: torchvision.datasets.FGVCAircraft(root, split=split),
        ("train", "val", "test"),
        "_image_files",
    ),
    "oxford-pets": (
        "oxford-iiit-pet",
        lambda root, split: torchvision.datasets.OxfordIIITPet(
            root, split="trainval" if split == "train" else split
        ),
        ("train", "test"),
        "_images",
    ),
    "stanford-cars": (
        "stanford_cars",
        lambda root, split: torchvision.datasets.StanfordCars(root, split=split),
        ("train", "test"),
        "_samples",
    ),
}


def told(name: str) -> str:
    """Without what torchvision changes: Pets' names, and one of Aircraft's files."""
    return re.sub(r"[ _]", "", name).lower()


@pytest.mark.parametrize("name", READERS)
def test_torchvision_reads_the_same(name, tmp_path) -> None:
    folder, read, splits, kept = READERS[name]
    root = tmp_path / folder
    tree = TREES[name](root)
    if name == "fgvc-aircraft":  # torchvision lists the classes by files of their names
        names = dict.fromkeys(label for listed in tree.splits.values() for _, label in listed)
        (root / "data" / "variants.txt").write_text("\n".join(names) + "\n")
    layout = scan(root)
    for split in splits:
        theirs = read(tmp_path, split)
        images = [str(row[0] if kept == "_samples" else row) for row in getattr(theirs, kept)]
        labels = [row[1] for row in theirs._samples] if kept == "_samples" else theirs._labels
        names = getattr(theirs, "classes", None)
        expected = {
            i: told(str(names[c])) if names else c for i, c in zip(images, labels, strict=True)
        }
        ours = {str(s.path): told(layout.class_names[s.label]) for s in layout.samples(split)}
        assert ours == expected
