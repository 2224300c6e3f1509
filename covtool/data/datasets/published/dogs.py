"""Stanford Dogs: lists of MATLAB, boxes in XML."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from covtool.data.datasets.found_images import FoundImages, Labeled
from covtool.data.datasets.published.listing import find_file, read_mat, required
from covtool.data.images.boxed import BoxedImage
from covtool.errors import DataError
from covtool.printable import printable
from covtool.regular_files import read_text
from covtool.specs.layout import LayoutSpec

LONGEST_XML = 1 << 20  # bytes of the annotation of an image
EDGES = ("xmin", "ymin", "xmax", "ymax")


def read_dogs(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read breeds by ``train_list.mat`` and ``test_list.mat``; a class is the name of its folder.

    Raises:
        DataError: A list is missing or damaged, or an image is not there.
    """
    splits = {}
    for split in ("train", "test"):
        file = find_file(root, f"{split}_list.mat", f"lists/{split}_list.mat")
        # A class is a folder like n02085620-Chihuahua, the beginning of each path.
        paths = [str(path) for path in np.atleast_1d(read_mat(file, "file_list")[0])]
        images = [(root / "Images" / path, path.partition("/")[0]) for path in paths]
        found = required(file, images, root / "Images")
        splits[split] = [_in_box(root, *image) for image in found] if choice.crop else found
    return FoundImages(splits=splits)


def _in_box(root: Path, path: Path, label: str) -> Labeled:
    """Return an image cropped to the first dog on it."""
    file = root / "Annotation" / label / path.stem
    try:
        text = read_text(file, at_most=LONGEST_XML)
        # Python's parser expands entities, and a few lines of them can fill the memory.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("It defines entities.")
        box = ElementTree.fromstring(text).find("object/bndbox")
        return BoxedImage(path, tuple(float(box.findtext(edge)) for edge in EDGES)), label
    except (OSError, ElementTree.ParseError, AttributeError, TypeError, ValueError) as problem:
        raise DataError(f"{file} has no bounding box.", reason=printable(str(problem))) from problem
