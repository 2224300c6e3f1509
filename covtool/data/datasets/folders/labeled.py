"""Labeled images in folders: a folder per class, whole or below folders of splits."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covtool.data.datasets.folders.classes import (
    folders_in,
    holds_images,
    images_below,
    in_classes,
    look_through,
    loose_images,
    note_on_parts,
    refuse_no_classes,
    why_no_classes,
)
from covtool.data.datasets.folders.masks import without_masks
from covtool.data.datasets.folders.names import (
    UNSPLIT,
    exact_split,
    implied_split,
    is_no_class,
    is_split_alone,
    without_split,
)
from covtool.data.datasets.folders.unread_splits import alike_folders, note_on_lists, unread_splits
from covtool.data.datasets.found_images import FoundImages, Labeled, LabeledPaths, counted, shown
from covtool.data.datasets.garbage import without_collection
from covtool.data.datasets.lists.beside import SUFFIXES as LISTS
from covtool.data.datasets.lists.beside import lists_beside, suffixes_in
from covtool.errors import DataError
from covtool.specs.layout import LayoutSpec

LAYOUT_HINT = (
    "covtool reads a folder with train/ and val/ (or test/), each with a folder per class; one\n"
    "folder with a folder per class; a CSV file with the columns path,label,split; and published\n"
    "data sets as they unpack (covtool list data)."
)

MANY = 12  # folders, more than splits and their like


@dataclass(frozen=True, slots=True, kw_only=True)
class _Classes:
    """The images of a folder of class folders."""

    images: LabeledPaths
    empty: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@without_collection()
def labeled_in_folders(
    root: Path, choice: LayoutSpec | None = None, *, may_be_empty: bool = False
) -> FoundImages:
    """Return the images below a folder with the names of their class folders, by split.

    Args:
        root: The folder.
        choice: Options with the folders that are classes, where there are folders in folders.
        may_be_empty: Whether a class to train on may have no images, as for a report on them.

    Returns:
        Images by the data set's own names of the splits; under `UNSPLIT` where it has none. A split
        to test on that has no class folders is unlabeled.

    Raises:
        DataError: No images, images outside class folders, folders that are no classes, empty
            ones, or a split to validate on that has no classes.
    """
    choice = choice or LayoutSpec()
    place = look_through(root)
    through = () if place == root else (f"{root} is read as {place}, its only content.",)
    splits = split_folders(place)
    if splits:
        found = _in_splits(place, splits, choice, may_be_empty=may_be_empty)
    elif choice.class_folders is None and (inside := splits_inside(place)):
        found = by_splits_inside(place, inside)
    else:
        found = _whole(place, choice, may_be_empty=may_be_empty)
        through = (*through, *note_on_lists(root, place))
    return replace(found, notes=(*through, *found.notes))


def split_folders(folder: Path) -> dict[str, Path]:
    """Find the folders of the splits of a data set by their names.

    ``train`` and its like are splits in any case, unless one of them lies among class folders:
    ``train`` beside ``bus`` is a class. ``cars_train`` and ``cars_test`` are splits, since they
    differ in nothing else.
    """
    children = folders_in(folder)
    exact = {child.name: child for child in children if exact_split(child.name)}
    if exact:
        if _lies_among_classes(exact, children):
            return {}
        # Beside train/, a folder like ``test_images`` is a split if it holds the same classes.
        roles = {exact_split(name) for name in exact}
        classes = {child.name for place in exact.values() for child in folders_in(place)}
        more = [
            child
            for child in children
            if implied_split(child.name) not in (None, *roles)
            and (is_split_alone(child.name) or classes & {c.name for c in folders_in(child)})
        ]
        return exact | {child.name: child for child in more}
    if len(children) > MANY:  # classes, some of which are called like train_station
        return {}
    within = {child.name: child for child in children if implied_split(child.name)}
    pairs = _by_rest(within)
    chosen = next((names for names in pairs if _trains_and_tests(names)), [])
    return {name: within[name] for name in chosen}


def splits_inside(folder: Path) -> dict[str, dict[str, Path]]:
    """Find the split folders in each folder, if all have some; else return none.

    ``cat/train/`` and ``dog/train/``, or data sets beside each other.
    """
    inside = {}
    for child in folders_in(folder):
        splits = split_folders(child)
        if not splits and holds_images(child):
            return {}
        if splits:
            inside[child.name] = splits
    return inside if len(inside) > 1 else {}


def by_splits_inside(folder: Path, inside: Mapping[str, Mapping[str, Path]]) -> FoundImages:
    """Return the images of class folders that hold the splits.

    Args:
        folder: Folder that the class folders are in.
        inside: Split folders of each class folder.

    Raises:
        DataError: They hold class folders themselves, as several data sets do.
    """
    places = [place for splits in inside.values() for place in splits.values()]
    if any(map(holds_images, (c for place in places for c in folders_in(place)))):
        raise DataError(
            f"{folder} is not a data set itself, but holds {len(inside)}: {shown(inside)}.",
            hint=f"Choose one, like {folder / next(iter(inside))}.",
        )
    splits: dict[str, list[Labeled]] = {}
    for label, found in inside.items():
        for place in found.values():
            images = [(path, label) for path in loose_images(place)]
            splits.setdefault(_split_of(place) or place.name, []).extend(images)
    note = f"The classes are the folders of {folder}; each holds the splits: {', '.join(splits)}."
    return FoundImages(splits={k: v for k, v in splits.items() if v}, notes=(note,))


def _by_rest(names: Collection[str]) -> list[list[str]]:
    """Group names that differ in the split only; last, those that consist of a split alone."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        alike.setdefault(without_split(name), []).append(name)
    return [*alike.values(), [name for name in names if is_split_alone(name)]]


def _trains_and_tests(names: Collection[str]) -> bool:
    roles = [implied_split(name) for name in names]
    return "train" in roles and len(set(roles)) == len(roles) > 1


def _lies_among_classes(exact: Mapping[str, Path], children: Sequence[Path]) -> bool:
    others = [c for c in children if not is_split_alone(c.name) and not is_no_class(c.name)]
    return (
        len(exact) == 1
        and not any(map(holds_images, folders_in(next(iter(exact.values())))))
        and any(map(holds_images, others))
    )


def _whole(folder: Path, choice: LayoutSpec, *, may_be_empty: bool) -> FoundImages:
    """Read the images of class folders; a folder ``test`` among them is not a class."""
    children = [child for child in folders_in(folder) if is_split_alone(child.name)]
    aside = {child.name: child for child in children if implied_split(child.name) != "train"}
    unlabeled = {name: f"{place} {why_unlabeled(place)}" for name, place in aside.items()}
    for name, place in aside.items():
        if implied_split(name) == "val":
            raise _no_images(place, reported=(folder, place))
    found = _read_classes(
        folder, choice, reported=(folder,), aside=aside, may_be_empty=may_be_empty
    )
    notes = tuple(f"{why}: it is not used." for why in unlabeled.values())
    return FoundImages(
        splits={UNSPLIT: found.images},
        unlabeled=unlabeled,
        empty={UNSPLIT: found.empty} if found.empty else {},
        notes=(*notes, *found.notes),
    )


def _in_splits(
    root: Path, folders: Mapping[str, Path], choice: LayoutSpec, *, may_be_empty: bool
) -> FoundImages:
    role = {name: exact_split(name) or implied_split(name) for name in folders}
    training = [name for name in folders if role[name] == "train"]
    splits: dict[str, LabeledPaths] = {}
    unlabeled, notes = {}, [*_renamed(folders), *_left_out(root, folders)]
    known: set[str] = set()
    empty: dict[str, tuple[str, ...]] = {}
    # Training folders first: their classes decide how the folders of other splits are read.
    for name in sorted(folders, key=lambda name: role[name] != "train"):
        folder = look_through(folders[name], known)
        why = why_unlabeled(folder, known)
        if why and training and role[name] == "test":
            unlabeled[name] = f"{folder} {why}"
            notes.append(f"{folder} {why}: it is not used.")
            continue
        # Few images to test on may leave classes without any; in training that is a mistake.
        allowed = may_be_empty or (bool(training) and role[name] != "train")
        reported = (root, folders[name], folder)
        found = _read_classes(folder, choice, reported, known=known, may_be_empty=allowed)
        splits[name] = found.images
        empty |= {name: found.empty} if found.empty else {}
        notes += found.notes
        if role[name] == "train":
            # The outer folder: with inner folders as classes, labels are paths.
            known |= {label.split("/")[0] for label in found.images.classes()}
    unread = dict(unread_splits(root, role.values()))
    notes += [f"{why}." for why in unread.values()]
    if set(role.values()) == {"train"}:
        others = alike_folders(root, folders, known)
        unread |= {place.name: f"{place} does not have the name of a split" for place in others}
    return FoundImages(
        splits=splits, unlabeled={**unlabeled, **unread}, empty=empty, notes=tuple(notes)
    )


def why_unlabeled(folder: Path, known: Collection[str] = ()) -> str | None:
    """Return why a folder holds no classes; None where it does.

    Args:
        folder: A split.
        known: The classes that are trained.
    """
    children = folders_in(folder)
    if len(children) > MANY and any(map(holds_images, children)):
        return None  # quickly: nothing has so many parts
    classes = [child.name for child in children if holds_images(child)]
    if classes:
        return why_no_classes(folder, classes, known)
    loose = len(loose_images(folder))
    if not loose:
        return "has no images"
    lists = [file for near in (folder.parent, folder) for file in near.glob(f"{folder.name}*.*")]
    named = [str(file) for file in sorted(lists) if file.suffix.lower() in LISTS]
    beside = f" (perhaps labeled by {shown(named)})" if named else ""
    return f"holds {counted(loose, 'image')} outside class folders{beside}"


def _read_classes(
    folder: Path,
    choice: LayoutSpec,
    reported: Sequence[Path],
    *,
    known: Collection[str] = (),
    may_be_empty: bool = False,
    aside: Collection[str] = (),
) -> _Classes:
    children = [child for child in folders_in(folder) if child.name not in aside]
    images = {child.name: images_below(child) for child in children}
    held = {name: paths for name, paths in images.items() if paths}
    if not held:
        raise _no_images(folder, reported)
    refuse_no_classes(folder, held, known)
    empty = [name for name in images if name not in held]
    hollow = [name for name in empty if not is_no_class(name)]
    if hollow and not may_be_empty:
        raise DataError(
            f"{len(hollow)} class folder{'s' * (len(hollow) > 1)} of {folder} without images: "
            f"{', '.join(hollow[:12])}.",
            hint="Remove the empty folders, or put images into them.",
        )
    parts = [name for name in empty if is_no_class(name)]
    notes = [f"No images in {shown(parts)} of {folder}: no classes."] if parts else []
    if loose := len(loose_images(folder)):
        notes.append(f"{counted(loose, 'image')} of {folder} beside its class folders left out.")
    images = {name: without_masks(folder / name, paths) for name, paths in held.items()}
    if masks := sum(map(len, held.values())) - sum(map(len, images.values())):
        notes.append(f"{counted(masks, 'mask')} in the class folders of {folder} left out.")
    if dead := [c.name for c in folder.iterdir() if c.is_symlink() and not c.exists()]:
        notes.append(f"Links in {folder} that lead nowhere left out: {shown(sorted(dead))}.")
    found = in_classes(folder, images, choice)
    parts_note = note_on_parts(folder, images, choice)
    return _Classes(
        images=found, empty=tuple(hollow), notes=(*notes, *([parts_note] if parts_note else []))
    )


def _renamed(folders: Collection[str]) -> list[str]:
    taken = [f"{name}/ for {implied_split(name)}" for name in folders if not exact_split(name)]
    return [f"Taken as splits: {', '.join(taken)}."] if taken else []


def _left_out(root: Path, folders: Collection[str]) -> list[str]:
    others = [child for child in folders_in(root) if child.name not in folders]
    others = [child.name for child in others if holds_images(child)]
    return [f"Not used, since they are not splits: {shown(others)}."] if others else []


def _split_of(folder: Path) -> str | None:
    return exact_split(folder.name) or implied_split(folder.name)


def _no_images(folder: Path, reported: Sequence[Path]) -> DataError:
    loose = loose_images(folder)
    if not loose:
        held = suffixes_in(folder)
        return DataError(
            f"There are no images in {folder}.",
            reason=f"It holds files called {held}." if held else None,
            hint=LAYOUT_HINT,
        )
    beside = lists_beside(dict.fromkeys(reported))
    return DataError(
        f"The {counted(len(loose), 'image')} in {folder} "
        f"{'is not in a class folder' if len(loose) == 1 else 'are not in class folders'}.",
        reason="The name of the folder that an image is in is its class."
        + (f" There may be labels in {beside}." if beside else ""),
        hint="Make a CSV file of them with the columns path,label,split, and give it as --data:\n"
        f"{loose[0].relative_to(reported[0])},LABEL,{_split_of(reported[-1]) or 'train'}"
        if beside
        else LAYOUT_HINT,
    )
