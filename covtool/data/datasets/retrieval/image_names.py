"""Data sets for retrieval whose files are named by identity and camera: Market-1501 and others."""

import re
from dataclasses import dataclass
from pathlib import Path

from covtool.data.datasets.lists.labeled import require_files
from covtool.data.datasets.lists.text import text_of
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.data.images.decoding import is_image
from covtool.errors import DataError
from covtool.printable import printable
from covtool.specs.layout import LayoutSpec


@dataclass(frozen=True, slots=True)
class NamedFolders:
    """Folders of images with identity and camera in their names: ``0002_c1s1_000451_03.jpg``.

    Attributes:
        train: Name of the folder to train on.
        query: Name of the folder to search with.
        gallery: Name of the folder to search in.
    """

    train: str
    query: str
    gallery: str

    def fit_by_name(self, root: Path) -> bool:
        """Return whether images in ``query`` and ``gallery`` have such names."""
        firsts = [_first_image(root / name) for name in (self.query, self.gallery)]
        return all(path is not None and NAMED.match(path.name) for path in firsts)

    def subsets(self, root: Path) -> dict[str, tuple[RetrievalSample, ...]]:
        """Read the images of the folders that are there.

        Raises:
            DataError: A folder is empty, or an image has another name.
        """
        folders = {"train": self.train, "query": self.query, "gallery": self.gallery}
        return {
            subset: _named_samples(root / folder)
            for subset, folder in folders.items()
            if (root / folder).is_dir()
        }


MARKET = NamedFolders("bounding_box_train", "query", "bounding_box_test")
VERI = NamedFolders("image_train", "image_query", "image_test")
PLAIN = NamedFolders("train", "query", "gallery")
NAMED = re.compile(r"(-1|\d+)_c(\d+)")  # identity -1 is junk; c1s1 is camera 1, sequence 1
MSMT_LISTS = {
    "train": ("list_train.txt", 0),
    "val": ("list_val.txt", 0),
    "query": ("list_query.txt", 1),
    "gallery": ("list_gallery.txt", 1),
}
MSMT_FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))


def read_market(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read Market-1501, DukeMTMC-reID, and CUHK03 under its new protocol.

    Raises:
        DataError: A folder is empty, or an image has another name.
    """
    return RetrievalLayout(root=root, kind="market1501", **MARKET.subsets(root))


def read_veri(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read VeRi-776: vehicles.

    Raises:
        DataError: As `read_market`.
    """
    return RetrievalLayout(root=root, kind="veri", **VERI.subsets(root))


def read_plain(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read ``train``, ``query`` and ``gallery`` with images named as in Market-1501.

    Raises:
        DataError: As `read_market`.
    """
    return RetrievalLayout(root=root, kind="query-gallery", **PLAIN.subsets(root))


def read_msmt17(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read MSMT17, V1 and V2: lists of paths and identities, the camera in the name.

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
    # Its test identities are numbered from 0 again, as its training identities are.
    return RetrievalLayout(root=root, kind="msmt17", numbers_apart=True, **subsets)


def _first_image(folder: Path) -> Path | None:
    if not folder.is_dir():
        return None
    return next((path for path in folder.iterdir() if is_image(path)), None)


def _named_samples(folder: Path) -> tuple[RetrievalSample, ...]:
    paths = sorted(path for path in folder.iterdir() if is_image(path))
    if not paths:
        raise DataError(f"There are no images in {folder}.")
    return tuple(RetrievalSample(path, *_identity_and_camera(path)) for path in paths)


def _identity_and_camera(path: Path) -> tuple[str, str]:
    match = NAMED.match(path.name)
    if match is None:
        raise DataError(
            f"The name of {printable(str(path))} states neither identity nor camera.",
            reason="It should begin like 0002_c1.",
        )
    return match[1], str(int(match[2]))  # VeRi pads cameras with zeros, Market-1501 does not


def _read_list(file: Path, folder: Path) -> tuple[RetrievalSample, ...]:
    samples = []
    lines = text_of(file).splitlines()
    for number, line in enumerate(lines, start=1):
        path, _, identity = line.strip().rpartition(" ")
        parts = Path(path).name.split("_")
        if len(parts) < 4 or not (parts[2].isdigit() and identity.isdigit()):
            raise DataError(
                f"{file}, line {number}, is not a path and an identity: {printable(line)!r}.",
                reason="It should look like 0000/0000_000_01_0303morning_0008_0.jpg 0.",
            )
        samples.append(RetrievalSample(folder / path, identity, str(int(parts[2]))))
    if not samples:
        raise DataError(f"{file} lists no images.")
    require_files(file, [sample.path for sample in samples], folder)
    return tuple(samples)
