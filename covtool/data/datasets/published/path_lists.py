"""Text files with a path and a label per line, the format of Caffe and many others."""

from pathlib import Path

from covtool.data.datasets.folders.classes import folders_in
from covtool.data.datasets.folders.names import UNSPLIT, exact_split, implied_split
from covtool.data.datasets.found_images import FoundImages, Labeled, counted
from covtool.data.datasets.lists.text import checked_lines, opened_text
from covtool.data.datasets.published.listing import first_file, lines_of, required
from covtool.data.images.decoding import is_image
from covtool.errors import DataError
from covtool.printable import printable
from covtool.regular_files import is_regular
from covtool.specs.layout import LayoutSpec

NAMES = ("classes.txt", "class_names.txt", "labels.txt", "classnames.txt")
FOLDERS = ("", "images/", "image/", "img/", "jpg/", "data/", "Images/", "../", "../images/")
LIST_PLACES = ("", "lists/", "splits/", "labels/", "meta/", "annotations/")


def is_path_list(file: Path) -> bool:
    """Return whether the first line is the path of an image and a label."""
    try:
        with opened_text(file) as text:
            pair = _pair(next((line for line in checked_lines(text) if line.strip()), ""))
    except (OSError, ValueError):
        return False
    return pair is not None and is_image(Path(pair[0]))


def holds_path_lists(root: Path) -> bool:
    """Return whether a folder has such a list to train on, and no class folders in splits.

    Class folders in ``train/`` and ``val/`` come first: they need no list.
    """
    train = _files(root).get("train")
    splits = (child for child in folders_in(root) if exact_split(child.name))
    has_classes = any(folders_in(split) for split in splits)
    return train is not None and is_path_list(train) and not has_classes


def read_path_list(file: Path, choice: LayoutSpec) -> FoundImages:
    """Read one list: its labels are the classes, by name where a file beside it names them.

    Raises:
        DataError: A line is not a path and a label, or an image is not there.
    """
    images, note = _labeled(file)
    return FoundImages(splits={UNSPLIT: images}, notes=(note,))


def read_path_lists(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read ``train.txt``, and ``val.txt`` or ``test.txt`` beside it.

    Raises:
        DataError: As `read_path_list`.
    """
    splits, unlabeled, notes = {}, {}, []
    for split, file in _files(root).items():
        if split != "train" and not is_path_list(file):
            unlabeled[split] = f"{file} has paths without labels"
            continue
        splits[split], note = _labeled(file)
        notes.append(note)
    return FoundImages(splits=splits, unlabeled=unlabeled, notes=tuple(dict.fromkeys(notes)))


def _files(root: Path) -> dict[str, Path]:
    found = {}
    for split in ("train", "val", "test"):
        names = [f"{p}{split}{e}.txt" for p in LIST_PLACES for e in ("", "_list", "list")]
        file = first_file(root, *names)
        if file is not None:
            found[split] = file
    return found


def _pair(line: str) -> tuple[str, str] | None:
    """Split a line into path and label at the last tab, comma or space; None without both."""
    # A space last: paths may have some.
    for separator in ("\t", ",", " "):
        path, found, label = line.strip().rpartition(separator)
        if found and path.strip() and label.strip():
            return path.strip(), label.strip()
    return None


def _labeled(file: Path) -> tuple[list[Labeled], str]:
    pairs = []
    for number, line in enumerate(lines_of(file), start=1):
        pair = _pair(line)
        if pair is None:
            raise DataError(
                f"{file}, line {number}, is not a path and a label: {printable(line)!r}.",
                hint="Each line should look like images/1.jpg 0.",
            )
        pairs.append(pair)
    first = pairs[0][0] if pairs else ""
    own = tuple(f"{p}{n}/" for n in (file.stem, implied_split(file.stem)) for p in ("", "../") if n)
    places = [file.parent / place for place in (*FOLDERS, *own)]
    # Where the first image is, the others are: paths are relative to the list or to the images.
    folder = next((place for place in places if is_regular(place / first)), file.parent)
    names, note = _class_names(file, {label for _, label in pairs})
    images = [(folder / path, names.get(label, label)) for path, label in pairs]
    return required(file, images, folder), note


def _class_names(file: Path, labels: set[str]) -> tuple[dict[str, str], str]:
    """Return names of numbered classes, where a list of them fits; else numbers are names."""
    if not all(label.isdecimal() and len(label) < 10 for label in labels):
        return {}, f"{file.name} lists paths and the names of {counted(len(labels), 'class')}."
    numbers = sorted(map(int, labels))
    span = f"{numbers[0]} to {numbers[-1]}"
    named = first_file(file.parent, *NAMES)
    names = lines_of(named) if named else []
    begin = 0 if numbers[0] == 0 else 1  # MATLAB's lists count from 1
    if names and len(names) == numbers[-1] - begin + 1 and len(numbers) == len(names):
        table = {str(begin + k): name for k, name in enumerate(names)}
        return table, f"{file.name} numbers the classes of {named.name} from {begin}."
    return {}, f"{file.name} numbers {counted(len(labels), 'class')}, {span}: they are the names."
