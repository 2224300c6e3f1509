"""Notes on files in a data set of folders that are left out of it."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from covtool.data.datasets.folder_walk import FolderWalk
from covtool.data.datasets.folders.names import is_left_over
from covtool.data.datasets.found_images import counted, shown
from covtool.data.images.formats import image_suffixes

SHOWN = 5

BESIDE = frozenset(
    (
        *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".ini", ".cfg"),
        *(".toml", ".names", ".md", ".rst", ".html", ".htm", ".pdf", ".doc", ".docx", ".xls"),
        *(".xlsx", ".mat", ".pkl", ".pickle", ".npz", ".db", ".sqlite", ".parquet", ".arrow"),
        *(".lock", ".log", ".bib", ".tex", ".py", ".ipynb", ".sh", ".m", ".lua", ".r", ".url"),
        *(".lnk", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"),
    )
)
"""Suffixes of files that are expected beside images: lists, annotations, archives."""

NAMED = frozenset(("readme", "license", "licence", "copying", "authors", "notice", "version"))
"""Names of such files without a suffix."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a folder holds beside its images.

    Attributes:
        suffixes: Number of files that are no images, by suffix; lists and archives do not count.
        not_followed: Links that are not followed, as their files are found anyway.
    """

    suffixes: Mapping[str, int]
    not_followed: tuple[Path, ...]


def find_left_out(root: Path, split_folders: Collection[Path] = ()) -> LeftOut:
    """Return the files of a folder that are no images, and the links that are not followed.

    Args:
        root: The folder.
        split_folders: Folders of its splits; files beside their class folders do not count.
    """
    suffixes, walk = Counter(), FolderWalk(root, is_left_over)
    around = {root, *split_folders}
    for place, names in walk:
        if place not in around:  # beside the class folders lie lists and archives of any kind
            visible = (name.lower() for name in names if not name.startswith("."))
            suffixes.update(_suffix(name) for name in visible if name not in NAMED)
    expected = image_suffixes() | BESIDE
    unexpected = {suffix: n for suffix, n in suffixes.items() if suffix not in expected}
    return LeftOut(unexpected, tuple(walk.not_followed))


def notes_on_left_out(root: Path, split_folders: Collection[Path] = ()) -> Iterator[str]:
    """Yield notes on files of a folder that are no images, and on links that are not followed.

    Args:
        root: The folder.
        split_folders: Folders of its splits; files beside their class folders do not count.
    """
    found = find_left_out(root, split_folders)
    if found.suffixes:
        count = sum(found.suffixes.values())
        named = " ".join(sorted(suffix or "(none)" for suffix in found.suffixes))
        yield f"{counted(count, 'file')} with other suffixes left out: {named}."
    if found.not_followed:
        links = "links are" if len(found.not_followed) > 1 else "link is"
        named = shown((str(path.relative_to(root)) for path in found.not_followed), SHOWN)
        yield (
            f"{len(found.not_followed)} {links} not followed, as what it leads to is part of the "
            f"data anyway: {named}."
        )


def _suffix(name: str) -> str:
    _, dot, suffix = name.rpartition(".")
    return dot + suffix if dot else ""
