"""Files of a data set of folders that are no part of it, counted so that nobody misses them."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from covtool.data.folder_walk import FolderWalk
from covtool.data.image_formats import image_suffixes
from covtool.data.images import is_image

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
"""How files end that lie beside images, as lists, annotations and archives do."""

NAMED = frozenset(("readme", "license", "licence", "copying", "authors", "notice", "version"))
"""Such files without a suffix."""


def notes_on_left_out(
    root: Path, split_folders: Collection[Path], used: Iterable[Path]
) -> Iterator[str]:
    """What is worth knowing about files of a folder that are not used.

    Args:
        root: The folder.
        split_folders: Those of its splits.
        used: Images that are.
    """
    suffixes, loose = Counter(), []
    walk = FolderWalk(root, skipped=lambda name: name.startswith((".", "__")))
    around = {root, *split_folders}
    for place, names in walk:
        if place in around:  # beside class folders
            loose += [place / name for name in names if is_image(place / name)]
        else:
            visible = (name.lower() for name in names if not name.startswith("."))
            suffixes.update(_suffix(name) for name in visible if not _is_expected(name))
    if suffixes:
        count = sum(suffixes.values())
        named = " ".join(sorted(suffix or "(none)" for suffix in suffixes))
        files = "files" if count > 1 else "file"
        yield f"{count:,} {files} with other suffixes left out: {named}."
    if loose := sorted(set(loose).difference(used)) if loose else []:
        yield f"{_images(len(loose))} left out, beside the class folders: {_shown(loose, root)}."
    if walk.not_followed:
        links = "links are" if len(walk.not_followed) > 1 else "link is"
        yield (
            f"{len(walk.not_followed)} {links} not followed, as what it leads to is part of the "
            f"data anyway: {_shown(walk.not_followed, root)}."
        )


def _is_expected(name: str) -> bool:
    suffix = _suffix(name)
    return suffix in image_suffixes() or suffix in BESIDE or name in NAMED


def _suffix(name: str) -> str:
    _, dot, suffix = name.rpartition(".")
    return dot + suffix if dot else ""


def _images(count: int) -> str:
    return f"{count:,} images are" if count > 1 else "1 image is"


def _shown(paths: list[Path], root: Path) -> str:
    shown = ", ".join(str(path.relative_to(root)) for path in paths[:SHOWN])
    return shown if len(paths) <= SHOWN else f"{shown}, ... ({len(paths) - SHOWN} more)"
