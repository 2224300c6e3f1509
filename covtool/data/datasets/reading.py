"""Reading of data sets for classification from a path; no image is opened.

Folders with a folder per class (whole, or below ``train`` and ``val``), a CSV file with the columns
``path,label`` and perhaps ``split``, published data sets, and records.
"""

from pathlib import Path

from covtool.data.datasets.error_translation import translate_path_errors
from covtool.data.datasets.folders.labeled import LAYOUT_HINT, labeled_in_folders
from covtool.data.datasets.folders.names import SPLIT_NAMES, UNSPLIT
from covtool.data.datasets.found_images import FoundImages
from covtool.data.datasets.hygiene import check_layout
from covtool.data.datasets.layout import DataLayout, layout_of_images
from covtool.data.datasets.lists.labeled import is_table, read_labeled
from covtool.data.datasets.places import nothing_there, record_source
from covtool.data.datasets.published import find_published, refuse_options
from covtool.data.datasets.validation_split import with_validation
from covtool.errors import ArgumentError, DataError
from covtool.specs.layout import LayoutSpec


def scan(
    root: Path,
    *,
    val_fraction: float | None = None,
    seed: int = 0,
    choice: LayoutSpec | None = None,
) -> DataLayout:
    """Find the images of a data set and their classes.

    Args:
        root: A folder or a CSV file; see the module. Or one of the published data sets,
            `covtool.data.datasets.published.PUBLISHED`; or ``wds/...`` or ``hfds/...``, see
            `covtool.data.datasets.records.sources`.
        val_fraction: Share of each class to set aside as ``val``, chosen at random, where the data
            set has no such split; in (0, 1).
        seed: Seed of that choice. The same images and seed give the same split.
        choice: Options of the layout, where it has any.

    Raises:
        DataError: Nothing there, no images, images outside class folders, empty classes, a class
            that the training images lack, a CSV file without the columns or the files; folders that
            are no classes; a published data set that is not whole; an image in two splits or with
            two labels.
        ArgumentError: `val_fraction` is out of range, or the data set does not offer such a choice.
    """
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise ArgumentError(
            f"The validation fraction must lie between 0 and 1, not {val_fraction}."
        )
    with translate_path_errors(root):
        layout = _scan(Path(root), choice or LayoutSpec())
        if val_fraction is not None:  # before the checks, which then name the new splits
            layout = with_validation(layout, val_fraction, seed)
        return check_layout(layout)


def _scan(root: Path, choice: LayoutSpec) -> DataLayout:
    if source := record_source(root):
        from covtool.data.datasets.records.sources import scan_records  # slow: torch

        refuse_options(choice, (), root)
        return scan_records(source)
    if not root.exists():
        raise nothing_there(root)
    if found := find_published(root):
        return found.layout(root, choice)
    if root.is_dir():
        refuse_options(choice, ("class_folders",), root)
        return layout_of_images(root, "folder", labeled_in_folders(root, choice))
    refuse_options(choice, (), root)
    if is_table(root):
        read = read_labeled(root, split_names=SPLIT_NAMES, default=UNSPLIT)
        return layout_of_images(root, "csv", FoundImages(splits=read.splits, notes=read.notes))
    raise DataError(f"{root} is neither a folder nor a CSV file.", hint=LAYOUT_HINT)
