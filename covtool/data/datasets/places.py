"""Where data are said to be: refused where nothing is there, before torch is loaded.

The functions that read data sets refuse in the same words, by the functions of this module.
"""

from dataclasses import dataclass
from pathlib import Path

from covtool.data.datasets.error_translation import translate_path_errors
from covtool.errors import DataError
from covtool.full_paths import in_full
from covtool.printable import printable

RECORDS = ("wds", "hfds")
"""Words before a slash that stand for a data set of records."""

STDIN = "-"
"""The standard input, in place of a path."""

_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class RecordSource:
    """A data set of records.

    Attributes:
        kind: ``wds`` or ``hfds``.
        name: A folder, or for ``hfds`` perhaps a name.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def root(self) -> Path:
        """The folder."""
        return Path(self.name)


def record_source(text: str | Path) -> RecordSource | None:
    """Return the source that ``wds/...`` or ``hfds/...`` names; None where that path exists.

    A path that does not exist is tried from the root: `Path` makes one slash of ``wds//data``.
    """
    kind, _, name = str(text).partition("/")
    if kind not in RECORDS or not name or Path(text).exists():
        return None
    if not Path(name).exists() and Path("/", name).exists():
        name = str(Path("/", name))
    return RecordSource(kind, str(in_full(name)) if Path(name).exists() else name)


def require_data_set(root: str | Path) -> None:
    """Refuse a path where there is no data set; what is there is not looked at.

    Raises:
        DataError: There is nothing, or it cannot be looked at.
    """
    with translate_path_errors(root):
        if source := record_source(root):
            _require_folder_of_tar_files(source)
        elif not Path(root).exists():
            raise nothing_there(Path(root))


def require_images(text: str | Path) -> None:
    """Refuse a path where there are no images; a pattern may match none, which is found later.

    Args:
        text: Path, pattern, ``-`` for the standard input, or the name of a data set of records.

    Raises:
        DataError: There is nothing, or it cannot be looked at.
    """
    with translate_path_errors(text):
        if source := record_source(text):
            _require_folder_of_tar_files(source)
        elif str(text) != STDIN and not Path(text).exists() and not is_pattern(str(text)):
            raise no_images_at(text)


def _require_folder_of_tar_files(source: RecordSource) -> None:
    if source.kind == "wds":  # what Hugging Face has under a name is only known there
        require_folder_of(source)


def require_folder_of(source: RecordSource) -> None:
    """Refuse a data set of records whose folder does not exist.

    Raises:
        DataError: It does not.
    """
    if not source.root.is_dir():
        raise DataError(f"There is no folder {source.root}.", hint="Check the path.")


def nothing_there(root: Path) -> DataError:
    """Build the error about a path where there is no data set."""
    return DataError(f"There is no data set at {root}.", hint="Check the path.")


def no_images_at(path: str | Path) -> DataError:
    """Build the error about a path where images should be and nothing is."""
    return DataError(f"There is no {printable(str(path))}.", hint="Check the path.")


def is_pattern(text: str) -> bool:
    """Return whether a text has one of the characters ``*``, ``?`` and ``[``."""
    return not _MAGIC.isdisjoint(text)


def no_images_in(path: str | Path) -> DataError:
    """Build the error about a file in the place of images that holds none."""
    return DataError(
        f"{printable(str(path))} is neither a folder nor a list of images nor an image.",
        hint="A list is a CSV file with the column path, or a .txt file with a path per line. "
        "The model, or the index, stands before the images.",
    )
