"""Pictures of images for a page: each is read once, however often it is shown."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from covtool.data.images.decoding import read_image
from covtool.errors import DataError
from covtool.pages import Picture, Thumbnail, thumbnails

BUDGET = 14_000_000
"""Most bytes of a page that all of its pictures take."""


class ImagePictures:
    """Pictures of image files.

    Args:
        paths: Files that the page shows, in any order, more than once maybe.
        exif: Whether images are turned by their EXIF orientation, as the model saw them.
        budget: Most bytes of the page that they take together.
    """

    def __init__(self, paths: Iterable[Path], *, exif: bool, budget: int = BUDGET) -> None:
        wanted = list(dict.fromkeys(map(str, paths)))
        by_name = {str(path): path for path in paths} if not isinstance(paths, Iterator) else {}
        self._exif = exif
        self._read: list[str] = []
        made = thumbnails(
            self._images([(n, by_name.get(n, Path(n))) for n in wanted]), budget=budget
        )
        self._thumbnails: dict[str, Thumbnail] = dict(zip(self._read, made, strict=True))

    def of(self, path: Path, lines: Sequence[str], *, mark: str = "") -> Picture:
        """Return the picture of a file; one that cannot be read any more is left empty."""
        name = str(path)
        return Picture(thumbnail=self._thumbnails.get(name), lines=lines, about=name, mark=mark)

    def _images(self, paths: Iterable[tuple[str, Path]]) -> Iterator[Image.Image]:
        for name, path in paths:
            try:
                image = read_image(path, exif=self._exif)
            except (DataError, OSError):  # gone since it was measured
                continue
            self._read.append(name)
            yield image
