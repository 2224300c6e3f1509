"""Readers of published data sets for retrieval with lists or folders of identities."""

import re
from pathlib import Path

from covtool.data.datasets.folders.classes import folders_in, images_below
from covtool.data.datasets.published.listing import (
    find_file,
    first_and_rest,
    first_file,
    lines_of,
    required,
    with_suffix,
)
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.errors import ArgumentError, DataError
from covtool.printable import printable
from covtool.regular_files import is_regular
from covtool.specs.layout import LayoutSpec

Samples = tuple[RetrievalSample, ...]

IN_SHOP = (
    "list_eval_partition.txt",
    "Eval/list_eval_partition.txt",
    "eval/list_eval_partition.txt",
)
IN_SHOP_IMAGES = ("", "Img/", "img_highres/", "../", "../Img/")
VEHICLE_LISTS = "train_test_split"
VEHICLE_SIZES = (800, 1600, 2400, 3200, 6000, 13164)
PRODUCTS = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}


def has_identity_folders(root: Path) -> bool:
    """Return whether there are ``query/`` and ``gallery/`` with a folder per identity."""
    return all((root / n).is_dir() and bool(folders_in(root / n)) for n in ("query", "gallery"))


def read_identity_folders(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read Market-1501 and others as layumi's Person_reID_baseline_pytorch sorts them.

    ``train`` and ``val`` have the same identities on purpose; together they are ``train_all``.

    Raises:
        DataError: A folder has no images.
    """
    have = {child.name for child in folders_in(root)}
    train = "train" if "train" in have else "train_all"
    subsets = {
        subset: _samples_in_folders(root / folder)
        for subset, folder in (("train", train), ("val", "val"))
        if folder in have
    }
    searched = {name: _samples_in_folders(root / name) for name in ("query", "gallery")}
    unused = sorted(have & {"train_all", "multi-query"} - {train})
    notes = (f"Not used: {', '.join(unused)}.",) if unused else ()
    return RetrievalLayout(root=root, kind="layumi", **subsets, **searched, notes=notes)


def holds_in_shop(root: Path) -> bool:
    """Return whether there is a list of items in query and gallery."""
    file = first_file(root, *IN_SHOP)
    return file is not None and "item_id" in "".join(lines_of(file)[1:2]).split()


def read_in_shop(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read In-Shop clothes by ``list_eval_partition.txt``: an item is an identity.

    Raises:
        DataError: The list is damaged, or an image is not there.
    """
    file = find_file(root, *IN_SHOP)
    rows = [line.split() for line in lines_of(file)[2:]]  # behind the count and the header
    wrong = next((row for row in rows if len(row) != 3), None)
    if wrong or not rows:
        found = printable(" ".join(wrong)) if wrong else "none at all"
        raise DataError(f"{file} has a line that is not a path, item and use: {found}.")
    place = _folder_of(rows[0][0], file.parent, IN_SHOP_IMAGES)
    required(file, [(place / row[0], row[1]) for row in rows], place)
    subsets: dict[str, list[RetrievalSample]] = {"train": [], "query": [], "gallery": []}
    for path, item, use in rows:
        if use not in subsets:
            raise DataError(
                f"{file} has images for {printable(use)!r}, which is none of {', '.join(subsets)}."
            )
        subsets[use].append(RetrievalSample(place / path, item))
    return RetrievalLayout(
        root=root, kind="in-shop", **{name: tuple(found) for name, found in subsets.items()}
    )


def read_vehicle_id(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read VehicleID by the lists in ``train_test_split/``.

    Its protocol draws an image of each vehicle for the gallery, ten times. Here every test image is
    searched for among the others.

    Raises:
        ArgumentError: There is no test list of that size.
        DataError: A list is cut off, or an image is not there.
    """
    lists = root / VEHICLE_LISTS
    sizes = [n for n in VEHICLE_SIZES if (lists / f"test_list_{n}.txt").is_file()]
    size = choice.data_split or (sizes[0] if sizes else None)
    if size not in sizes and choice.data_split:
        raise ArgumentError(
            f"{lists} has no test_list_{size}.txt.",
            hint=f"--data-split takes {', '.join(map(str, sizes))}.",
        )
    test = _vehicles(lists / f"test_list_{size}.txt", root) if size else ()
    file = lists / "train_list.txt"
    train = _vehicles(file, root) if file.is_file() else ()
    notes = (
        f"test_list_{size}.txt (--data-split {'|'.join(map(str, sizes))}): every image is searched "
        "for among the others, where the published protocol draws one of each for the gallery.",
    )
    return RetrievalLayout(
        root=root,
        kind="vehicleid",
        train=train,
        query=test,
        gallery=test,
        shared=True,
        notes=notes if size else (),
    )


def read_products(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read Stanford Online Products by ``Ebay_train.txt`` and ``Ebay_test.txt``.

    Raises:
        DataError: A list is missing or cut off, or an image is not there.
    """
    found = {}
    for split, name in PRODUCTS.items():
        file = find_file(root, name)
        rows = [line.split() for line in lines_of(file)[1:]]  # behind the header
        if any(len(row) != 4 for row in rows):
            raise DataError(f"{file} has a line that is not an image, class, super-class and path.")
        images = required(file, [(root / row[3], row[1]) for row in rows], root)
        found[split] = tuple(RetrievalSample(path, identity) for path, identity in images)
    test = found["test"]
    return RetrievalLayout(
        root=root, kind="sop", train=found["train"], query=test, gallery=test, shared=True
    )


def _samples_in_folders(folder: Path) -> Samples:
    images = [(path, child.name) for child in folders_in(folder) for path in images_below(child)]
    if not images:
        raise DataError(f"There are no images in the folders of {folder}.")
    cameras = [re.match(r"-?\d+_c(\d+)", path.name) for path, _ in images]
    known = all(cameras)  # of all images or of none: a search leaves out matches by camera
    return tuple(
        RetrievalSample(path, identity, str(int(camera[1])) if known else None)
        for (path, identity), camera in zip(images, cameras, strict=True)
    )


def _vehicles(file: Path, root: Path) -> Samples:
    folder = find_file(root, "image")
    images = [(with_suffix(folder / name), vehicle) for name, vehicle in first_and_rest(file)]
    return tuple(RetrievalSample(p, vehicle) for p, vehicle in required(file, images, folder))


def _folder_of(path: str, folder: Path, below: tuple[str, ...]) -> Path:
    return next((folder / p for p in below if is_regular(folder / p / path)), folder)
