"""Usual names of the columns of a list of images."""

import re
from collections.abc import Sequence

PATH, LABEL, SPLIT, IDENTITY, CAMERA = "path", "label", "split", "identity", "camera"

IMAGE_COLUMNS = (
    (PATH,),
    (
        *("filepath", "file_path", "image_path", "img_path", "imagepath", "full_path", "rel_path"),
        *("paths", "filepaths", "file_paths", "image_paths", "img_paths"),
    ),
    (
        *("filename", "file_name", "image_name", "img_name", "imagename", "image_filename"),
        *("image_file", "image_file_name", "fname", "image", "images", "img", "file", "photo"),
        *("filenames", "file_names", "image_names", "imgs", "files", "photos", "image_index"),
    ),
    ("image_id", "img_id", "imageid", "photo_id", "file_id", "id_code"),
    ("id", "uuid", "guid"),
    ("url", "urls", "image_url", "img_url"),
)
"""Names of the column that names the images. One of an earlier row is taken before a later's."""

LABEL_COLUMNS = (
    *("labels", "label_name", "labelname", "label_id", "label_idx"),
    *("class", "class_name", "classname", "class_label", "class_id", "classid", "class_idx"),
    *("category", "category_name", "category_id", "target", "targets", "y"),
    *("ground_truth", "groundtruth", "gt", "species", "breed", "variety", "cultivar", "diagnosis"),
    *("wnid", "synset", "classes", "categories", "finding_labels", "dx"),
)
"""Names of the column of classes, beside ``label``, which is taken before all of them."""

IDENTITY_COLUMNS = ("pid", "person_id", "vehicle_id", "identity_id", "individual_id", "item_id")
"""Names of the column of identities, beside ``identity``, where there is none of classes."""

CAMERA_COLUMNS = ("camid", "cam_id", "camera_id", "cam")
"""Names of the column of cameras, beside ``camera``."""

SPLIT_COLUMNS = (
    *("set", "subset", "partition", "phase", "fold", "usage"),
    *("split_name", "data_split", "dataset_split", "dataset", "data_set", "set_name"),
)
"""Names of the column of splits, beside ``split``, if its values are names of splits."""

FLAGS = {
    "is_test": ("test", "train"),
    "is_testing": ("test", "train"),
    "test": ("test", "train"),
    "testing": ("test", "train"),
    "is_valid": ("val", "train"),
    "is_val": ("val", "train"),
    "is_validation": ("val", "train"),
    "valid": ("val", "train"),
    "val": ("val", "train"),
    "validation": ("val", "train"),
    "is_train": ("train", "val"),
    "is_training": ("train", "val"),
    "train": ("train", "val"),
    "training": ("train", "val"),
}
"""Columns of yes and no, and the split that each means; the first ones win over later ones."""

YES = frozenset({"true", "t", "yes", "y", "1", "1.0"})
NO = frozenset({"false", "f", "no", "n", "0", "0.0"})


def normalized(name: str | None) -> str:
    """Return the name of a column in lower case, with ``_`` for spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", (name or "").strip().lower())


def candidates(kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that could be of a kind; with more than one, the user has to choose.

    Args:
        kind: ``path``, ``label``, ``identity``, ``camera``, or the very name of a column.
        names: Names of all columns, as `normalized`.

    Example:
        >>> candidates("path", ["id", "filename", "class"])
        ('filename',)
        >>> candidates("label", ["class", "class_id"])
        ('class', 'class_id')
    """
    exact = tuple(name for name in names if name == kind)
    if exact or kind not in (PATH, LABEL, IDENTITY, CAMERA):
        return exact
    if kind == IDENTITY:
        labeled = candidates(LABEL, names)
        return () if labeled else tuple(name for name in names if name in IDENTITY_COLUMNS)
    if kind == CAMERA:
        return tuple(name for name in names if name in CAMERA_COLUMNS)
    if kind == LABEL:
        no_labels = {"y"} if "x" in names else set()  # coordinates in the image
        others = () if IDENTITY in names else LABEL_COLUMNS  # a list for retrieval has no labels
        return tuple(name for name in names if name in others and name not in no_labels)
    # ``filename`` beside ``id``: only columns of the first row with any are candidates.
    rows = (tuple(name for name in names if name in row) for row in IMAGE_COLUMNS)
    return next((row for row in rows if row), ())


def flag_split(row: dict[str, str], flags: Sequence[str]) -> str | None:
    """Return the split that columns of yes and no define; None for other values."""
    values = [(name, row[name].lower()) for name in FLAGS if name in flags]
    if any(value not in YES | NO for _, value in values):
        return None
    yes = next((name for name, value in values if value in YES), None)
    return FLAGS[yes][0] if yes else FLAGS[values[0][0]][1]
