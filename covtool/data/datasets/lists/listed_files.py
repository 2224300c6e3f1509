"""Image files by their names in a list: a path, or a name with or without its suffix."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from covtool.data.datasets.folder_walk import FolderWalk
from covtool.data.datasets.image_paths import texts_below
from covtool.data.images.decoding import is_image
from covtool.errors import DataError
from covtool.printable import printable
from covtool.regular_files import is_regular

USUAL_FOLDERS = frozenset(
    ("images", "image", "imgs", "img", "jpg", "jpeg", "png", "photos", "data")
)
"""Where images lie beside a list; taken before other folders with a file of the same name."""

Parts = tuple[str, ...]


class ListedFiles:
    """Finds the files that a list means.

    Args:
        file: The list; its paths are relative to its folder.

    Attributes:
        found: Entries of the list, and the files that were found by name, relative to the folder.
        missing: Entries without a file.
    """

    def __init__(self, file: Path) -> None:
        self.found: dict[str, str] = {}
        self.missing: list[str] = []
        self._file = file
        self._folder = file.parent
        self._text_of = texts_below(file.parent)

    def relative_path(self, text: str, hints: Iterable[str] = ()) -> str:
        """Return the path of an image from the folder of the list, or `text` if it is not found.

        Args:
            text: A path; else the end of one, or a name without its suffix.
            hints: Words such as the name of the image's split: of several files, the one in a
                folder of that name is taken.

        Raises:
            DataError: Several files could be meant.
        """
        if is_regular(self._text_of(text)):  # the usual case; only others need the index
            return text
        meant = self._meant(_parts(text), absolute=_is_absolute(text))
        if not meant:
            self.missing.append(text)
            return text
        best = self._nearest(meant, [word.lower() for word in (*hints, self._file.stem)])
        if len(best) > 1:
            one, other = (printable("/".join(parts)) for parts in best[:2])
            raise DataError(
                f"{self._file} lists {printable(text)!r}, which could be {one} or {other}.",
                hint="Write into the file which one is meant.",
            )
        self.found[text] = "/".join(best[0])
        return self.found[text]

    def _meant(self, wanted: Parts, *, absolute: bool) -> list[Parts]:
        if not wanted:
            return []
        by_name, by_stem = self._index
        # With its suffix first: beside a.jpg there may be another image a.png.
        named = by_name.get(wanted[-1]) or by_stem.get(wanted[-1], [])
        parents = wanted[:-1]

        def fits(parts: Parts) -> bool:
            own = parts[:-1]
            if len(own) >= len(parents):
                return own[len(own) - len(parents) :] == parents
            return parents[len(parents) - len(own) :] == own and bool(own or absolute)

        return [parts for parts in named if fits(parts)]

    def _nearest(self, meant: Sequence[Parts], words: Sequence[str]) -> list[Parts]:
        def is_hinted(parts: Parts) -> bool:
            folders = [part.lower() for part in parts[:-1]]
            return any(f.startswith(w) or w.startswith(f) for f in folders for w in words)

        def rank(parts: Parts) -> int:
            return 0 if len(parts) == 1 else 1 if parts[0].lower() in USUAL_FOLDERS else 2

        first = min(map(rank, meant))
        nearest = [parts for parts in meant if rank(parts) == first]
        hinted = [parts for parts in nearest if is_hinted(parts)]
        return hinted if len(nearest) > 1 and hinted else nearest

    @cached_property
    def _index(self) -> tuple[dict[str, list[Parts]], dict[str, list[Parts]]]:
        """The images below the folder, by name and by name without suffix."""
        by_name, by_stem = defaultdict(list), defaultdict(list)
        for place, names in FolderWalk(self._folder):
            folders = place.relative_to(self._folder).parts
            for name in names:
                if is_image(Path(name)):
                    by_name[name].append((*folders, name))
                    by_stem[Path(name).stem].append((*folders, name))
        return by_name, by_stem


def _parts(text: str) -> Parts:
    path = PurePosixPath(text.replace("\\", "/"))  # many lists were written on Windows
    return tuple(part for part in path.parts if part not in ("/", ".", "..") and part[-1:] != ":")


def _is_absolute(text: str) -> bool:
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
