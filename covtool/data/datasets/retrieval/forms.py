"""The forms in which data sets for retrieval come, each a function that reads it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covtool.data.datasets.folders.labeled import labeled_in_folders
from covtool.data.datasets.folders.left_out import notes_on_left_out
from covtool.data.datasets.folders.names import SPLIT_NAMES, WHOLE, split_called
from covtool.data.datasets.lists.column_names import IDENTITY, LABEL
from covtool.data.datasets.lists.labeled import (
    Table,
    is_table,
    meanings_in,
    read_table,
    require_files,
)
from covtool.data.datasets.lists.text import text_of
from covtool.data.datasets.retrieval.published import (
    IN_SHOP,
    PRODUCTS,
    VEHICLE_LISTS,
    has_identity_folders,
    holds_in_shop,
    read_identity_folders,
    read_in_shop,
    read_products,
    read_vehicle_id,
)
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.data.images.decoding import is_image
from covtool.errors import DataError
from covtool.printable import printable
from covtool.registry import Registry
from covtool.specs.layout import LayoutSpec

QUERY, GALLERY = "query", "gallery"
CSV_SPLITS = (*SPLIT_NAMES, QUERY, GALLERY)

Found = Mapping[str, Sequence[RetrievalSample]]


@dataclass(frozen=True, slots=True)
class Form:
    """A row of the table of forms.

    Attributes:
        name: Of the form.
        summary: What it looks like, in a line.
        source: Who publishes data in it.
        fits: Whether a path has this form, told from names alone.
        read: Its images; may raise `DataError`.
        told_by: Which files and folders give it away.
        splits: What it calls its subsets, and by which file.
        options: Fields of `LayoutSpec` that choose between what it has.
    """

    name: str
    summary: str
    source: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, LayoutSpec], RetrievalLayout]
    told_by: tuple[str, ...] = ()
    splits: str = "train, query, gallery"
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NamedFolders:
    """Folders of images whose names tell identity and camera: ``0002_c1s1_000451_03.jpg``.

    Attributes:
        train: Name of the folder to train on.
        query: Of that to search with.
        gallery: Of that to search in.
    """

    train: str
    query: str
    gallery: str

    def fits(self, root: Path) -> bool:
        """Return whether there is such a folder; ``query`` alone could mean anything."""
        return any((root / name).is_dir() for name in (self.train, self.gallery))

    def fit_by_name(self, root: Path) -> bool:
        """Return whether images in ``query`` and ``gallery`` are called so."""
        firsts = [_first_image(root / name) for name in (self.query, self.gallery)]
        return all(path is not None and NAMED.match(path.name) for path in firsts)

    def subsets(self, root: Path) -> dict[str, tuple[RetrievalSample, ...]]:
        """Return the images of the folders that are there.

        Raises:
            DataError: One is empty, or an image's name tells nothing.
        """
        folders = {"train": self.train, QUERY: self.query, GALLERY: self.gallery}
        return {
            subset: _told_by_names(root / folder)
            for subset, folder in folders.items()
            if (root / folder).is_dir()
        }


MARKET = NamedFolders("bounding_box_train", "query", "bounding_box_test")
VERI = NamedFolders("image_train", "image_query", "image_test")
PLAIN = NamedFolders("train", QUERY, GALLERY)
NAMED = re.compile(r"(-1|\d+)_c(\d+)")
MSMT_LISTS = {
    "train": ("list_train.txt", 0),
    "val": ("list_val.txt", 0),
    QUERY: ("list_query.txt", 1),
    GALLERY: ("list_gallery.txt", 1),
}
MSMT_FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))


def read_market(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Market-1501, DukeMTMC-reID, and CUHK03 under its new protocol.

    Raises:
        DataError: A folder is empty, or an image's name tells nothing.
    """
    return RetrievalLayout(root=root, kind="market1501", **MARKET.subsets(root))


def read_veri(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """VeRi-776: vehicles.

    Raises:
        DataError: As `read_market`.
    """
    return RetrievalLayout(root=root, kind="veri", **VERI.subsets(root))


def read_plain(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Return images called as in Market-1501 in ``train``, ``query`` and ``gallery``.

    Raises:
        DataError: As `read_market`.
    """
    return RetrievalLayout(root=root, kind="query-gallery", **PLAIN.subsets(root))


def read_msmt17(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """MSMT17, V1 and V2: lists of paths and identities, the camera in the name.

    Raises:
        DataError: No folders of images, a line that is none, an image that is not there.
    """
    folders = next((pair for pair in MSMT_FOLDERS if (root / pair[0]).is_dir()), None)
    if folders is None:
        names = " nor ".join(f"{train}/ and {test}/" for train, test in MSMT_FOLDERS)
        raise DataError(f"{root} has the lists of MSMT17, but neither {names} with its images.")
    subsets = {
        subset: _read_list(root / name, root / folders[which])
        for subset, (name, which) in MSMT_LISTS.items()
        if (root / name).is_file()
    }
    return RetrievalLayout(root=root, kind="msmt17", numbers_apart=True, **subsets)


def read_csv(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Return a CSV file with the columns ``path,identity`` and perhaps ``camera`` and ``split``.

    A column ``label`` will do for the identities where there is none of that name.

    Raises:
        DataError: See `read_table`; or its splits contradict each other.
    """
    columns = meanings_in(root)
    identity = LABEL if LABEL in columns and IDENTITY not in columns else IDENTITY
    table = Table(columns=("path", identity), optional=("camera",), split_names=CSV_SPLITS)
    read = read_table(root, table, default=WHOLE)
    found = {
        split: [
            RetrievalSample(root.parent / row["path"], row[identity], row.get("camera") or None)
            for row in rows
        ]
        for split, rows in read.splits.items()
    }
    return replace(_from_splits(root, "csv", found), notes=read.notes)


def read_folders(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Return a folder per class, in ``train`` and ``test`` (or ``val``), or without splits.

    Raises:
        DataError: See `labeled_in_folders`.
    """
    read = labeled_in_folders(root, choice)
    found = {
        split: [RetrievalSample(path, label) for path, label in images]
        for split, images in read.splits.items()
    }
    notes = (*read.notes, *notes_on_left_out(root))
    return replace(_from_splits(root, "folders", found), notes=notes)


FORMS = Registry(
    "form of data",
    (
        Form(
            "market1501",
            "bounding_box_train/, query/, bounding_box_test/, names like 0002_c1s1_000451_03.jpg",
            "Market-1501, DukeMTMC-reID, CUHK03 (new protocol)",
            MARKET.fits,
            read_market,
            told_by=("bounding_box_train/", "bounding_box_test/"),
        ),
        Form(
            "veri",
            "image_train/, image_query/, image_test/, names like 0001_c001_00016450_0.jpg",
            "VeRi-776",
            VERI.fits,
            read_veri,
            told_by=("image_train/", "image_test/"),
        ),
        Form(
            "msmt17",
            "list_train.txt, list_val.txt, list_query.txt, list_gallery.txt beside the images",
            "MSMT17 V1 and V2",
            lambda root: any((root / name).is_file() for name, _ in MSMT_LISTS.values()),
            read_msmt17,
            told_by=("list_train.txt",),
            splits="train, val, query, gallery",
        ),
        Form(
            "layumi",
            "train/, val/, query/, gallery/ with a folder per identity, names like Market-1501's",
            "Zheng. Person_reID_baseline_pytorch, github.com/layumi",
            has_identity_folders,
            read_identity_folders,
            told_by=("query/", "gallery/"),
            splits="train, val (of the trained identities), query, gallery",
        ),
        Form(
            "query-gallery",
            "train/, query/, gallery/ with names like 0002_c1s1_000451_03.jpg",
            "re-identification",
            PLAIN.fit_by_name,
            read_plain,
            told_by=("query/", "gallery/"),
        ),
        Form(
            "in-shop",
            "list_eval_partition.txt (here or in Eval/) and img/",
            "Liu, Luo, Qiu, Wang, Tang. DeepFashion, CVPR 2016: In-Shop Clothes Retrieval",
            holds_in_shop,
            read_in_shop,
            told_by=IN_SHOP,
        ),
        Form(
            "vehicleid",
            "image/, train_test_split/train_list.txt, train_test_split/test_list_800.txt",
            "Liu, Tian, Wang, Pang, Huang. PKU VehicleID, CVPR 2016",
            lambda root: next(root.glob(f"{VEHICLE_LISTS}/*_list*.txt"), None) is not None,
            read_vehicle_id,
            told_by=(f"{VEHICLE_LISTS}/",),
            splits="train, test (800 vehicles or another list)",
            options=("data_split",),
        ),
        Form(
            "sop",
            "Ebay_train.txt, Ebay_test.txt beside the folders that they name",
            "Oh Song, Xiang, Jegelka, Savarese. Stanford Online Products, CVPR 2016",
            lambda root: any((root / name).is_file() for name in PRODUCTS.values()),
            read_products,
            told_by=tuple(PRODUCTS.values()),
            splits="train, test",
        ),
        Form(
            "csv",
            "columns path,identity and perhaps camera,split",
            "covtool",
            lambda root: is_table(root) and root.is_file(),
            read_csv,
            told_by=("*.csv",),
            splits="train, val, query, gallery, test",
        ),
        Form(
            "folders",
            "a folder per class, in train/ and test/ or without splits",
            "covtool",
            Path.is_dir,
            read_folders,
            splits="train, val, test",
            options=("class_folders",),
        ),
    ),
)


def _from_splits(root: Path, kind: str, found: Found) -> RetrievalLayout:
    """What splits under their own names mean: ``test`` (or ``val``) is searched in itself."""
    subsets: dict[str, Sequence[RetrievalSample]] = {}
    for name, samples in found.items():
        subset = _subset_of(name)
        if subset in subsets:
            raise DataError(f"{root} has two splits that mean the same, {name!r} and another.")
        subsets[subset] = samples
    searched = [name for name in (QUERY, GALLERY) if name in subsets]
    if searched and "test" in subsets:
        raise DataError(
            f"{root} has a split 'test' beside {searched[0]!r}.",
            reason="In 'test', every image is searched for among the others.",
            hint="Name its images query and gallery, or all of them test.",
        )
    if not searched:
        shared = subsets.pop("test", None) or subsets.pop("val", ())
        subsets |= {QUERY: shared, GALLERY: shared}
    return RetrievalLayout(
        root=root,
        kind=kind,
        shared=not searched,
        **{name: tuple(samples) for name, samples in subsets.items()},
    )


def _subset_of(split: str) -> str:
    name = split.lower()
    return "test" if name == WHOLE else split_called(name) or name


def _first_image(folder: Path) -> Path | None:
    if not folder.is_dir():
        return None
    return next((path for path in folder.iterdir() if is_image(path)), None)


def _told_by_names(folder: Path) -> tuple[RetrievalSample, ...]:
    paths = sorted(path for path in folder.iterdir() if is_image(path))
    if not paths:
        raise DataError(f"There are no images in {folder}.")
    return tuple(RetrievalSample(path, *_identity_and_camera(path)) for path in paths)


def _identity_and_camera(path: Path) -> tuple[str, str]:
    match = NAMED.match(path.name)
    if match is None:
        raise DataError(
            f"The name of {printable(str(path))} tells neither identity nor camera.",
            reason="It should begin like 0002_c1.",
        )
    return match[1], str(int(match[2]))


def _read_list(file: Path, folder: Path) -> tuple[RetrievalSample, ...]:
    samples = []
    lines = text_of(file).splitlines()
    for number, line in enumerate(lines, start=1):
        path, _, identity = line.strip().rpartition(" ")
        parts = Path(path).name.split("_")
        if len(parts) < 4 or not (parts[2].isdigit() and identity.isdigit()):
            raise DataError(
                f"{file}, line {number}, is no path and identity: {printable(line)!r}.",
                reason="It should look like 0000/0000_000_01_0303morning_0008_0.jpg 0.",
            )
        samples.append(RetrievalSample(folder / path, identity, str(int(parts[2]))))
    if not samples:
        raise DataError(f"{file} lists no images.")
    require_files(file, [sample.path for sample in samples], folder)
    return tuple(samples)
