"""The files beside a checkpoint, read: configurations, a run's arguments, class lists."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from covtool.checkpoints.metadata.class_lists import read_class_names
from covtool.checkpoints.metadata.documents import document
from covtool.checkpoints.metadata.entries import read_entries
from covtool.checkpoints.metadata.preprocessors import read_open_clip, read_preprocessor
from covtool.checkpoints.metadata.statements import Statement
from covtool.errors import DataError, reason_of
from covtool.printable import printable
from covtool.regular_files import is_regular


def _preprocessor(where: str, config: Mapping[str, Any]) -> Statement | None:
    if "pretrained_cfg" in config:  # transformers' wrapper around timm
        return read_entries(where, config)
    return read_preprocessor(where, config)


_Reader = Callable[[str, Mapping[str, Any]], Statement | None]

PREPROCESSORS: dict[str, _Reader] = {
    "preprocessor_config.json": _preprocessor,
    "processor_config.json": _preprocessor,
    "preprocessor.json": _preprocessor,
    "image_processor.json": _preprocessor,
    "open_clip_config.json": read_open_clip,
}
"""Files that describe images alone, and entries of a checkpoint that are called like them."""

CONFIGURATIONS: dict[str, _Reader] = {
    **PREPROCESSORS,
    "config.json": read_entries,
    "args.yaml": read_entries,  # timm's training script
    "args.json": read_entries,
    "hparams.yaml": read_entries,  # Lightning's loggers
    "config.yaml": read_entries,
}
"""Files that describe a checkpoint beside them, the most explicit about images first."""

CLASS_FILES = (
    "class_to_idx.json",
    "idx_to_class.json",
    "class_names.json",
    "classes.json",
    "labels.json",
    "label_names.json",
    "id2label.json",
    "label_map.json",
    "index_to_name.json",
    "class_indices.json",
    "class_names.txt",
    "classes.txt",
    "labels.txt",
    "label_names.txt",
    "class_map.txt",
    "names.txt",
    "categories.txt",
    "synsets.txt",
    "synset.txt",
    "imagenet_classes.txt",
    "imagenet_synsets.txt",
)
"""Files that name the classes of a checkpoint beside them."""


MOST_LISTS = 8
"""Lists of classes beside a checkpoint that are read."""

_CHECKPOINT_FOLDERS = ("checkpoints", "ckpt", "weights")  # of a run, which is described above them


def beside(path: Path) -> tuple[Statement, ...]:
    """Read the configurations beside a checkpoint: a statement for each that says something."""
    folders = [path.parent]
    if path.parent.name in _CHECKPOINT_FOLDERS:
        folders.append(path.parent.parent)
    found = []
    for folder in folders:
        found += [_configuration(folder / name, read) for name, read in CONFIGURATIONS.items()]
    return tuple(statement for statement in found if statement)


def _configuration(path: Path, read: _Reader) -> Statement | None:
    """Return what a configuration says, or why it cannot be read; None where there is none."""
    try:
        config = document(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, ValueError) as problem:
        return Statement(
            where=path.name,
            problems=(f"{path.name} beside the file is not used. {reason_of(problem)}",),
        )
    return read(path.name, config) if isinstance(config, Mapping) else None


def inside(where: str, entries: Mapping[str, Any]) -> tuple[Statement, ...]:
    """Return what configurations of images say that are entries of the file itself."""
    found = []
    for key, value in entries.items():
        # The processor's file as an entry, under its name with or without the suffix.
        name = key if key.endswith(".json") else f"{key}.json"
        read = PREPROCESSORS.get(name)
        if read is not None and isinstance(value, Mapping):
            found.append(read(f"{key} in {where}", value))
    return tuple(statement for statement in found if statement)


def class_files(path: Path) -> tuple[Statement, ...]:
    """Read the lists of classes beside a checkpoint; those that cannot be read are left out."""
    stem = path.name.partition(".")[0]
    names = [f"{stem}{separator}{name}" for name in CLASS_FILES for separator in "_-."]
    # Lists that carry the checkpoint's own name come first: they are of no other file.
    there = [name for name in (*names, *CLASS_FILES) if is_regular(path.with_name(name))]
    statements = [_class_list(path.with_name(name)) for name in there[:MOST_LISTS]]
    if len(there) > MOST_LISTS:
        problem = f"Beside the file are {len(there)} lists of classes: {MOST_LISTS} are read."
        statements.append(Statement(where="the folder", problems=(problem,)))
    return tuple(statements)


def _class_list(file: Path) -> Statement:
    where = printable(file.name)
    try:
        return Statement(where=where, class_names=read_class_names(file))
    except DataError as problem:
        reason = problem.reason or "it holds no names."
        return Statement(where=where, problems=(f"{where} is not used: {reason}",))
