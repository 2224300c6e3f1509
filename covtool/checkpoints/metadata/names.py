"""Published names, read from those of a file and of its folders."""

from pathlib import Path

from covtool.backbones.published_names import (
    PublishedWeights,
    current_name,
    named_architecture,
    published_weights,
)
from covtool.checkpoints.metadata.statements import Statement

_FOLDERS = 3  # models--timm--resnet50.a1_in1k/snapshots/HASH/model.safetensors


def by_file_name(path: Path) -> Statement | None:
    """Return what a file's own name says: a published name, or the part of it that is one."""
    found = published_weights(path.name)
    return None if found is None else _statement(f"the name {path.name}", found)


def by_folder_name(path: Path) -> Statement | None:
    """Return what the nearest folder with a published name says."""
    for folder in _folders(path):
        found = published_weights(folder.name)
        if found is not None:
            return _statement(f"the folder's name {folder.name}", found)
    return None


def hinted_architecture(path: Path) -> str | None:
    """Return the architecture in the file's name, or in that of the nearest folder that has one."""
    names = (named_architecture(place.name) for place in (path, *_folders(path)))
    return next(filter(None, names), None)


def _folders(path: Path) -> list[Path]:
    """Return the folders that a file is in, the nearest first, below the working folder."""
    return [folder for folder in path.parents if folder.name][:_FOLDERS]


def _statement(where: str, weights: PublishedWeights) -> Statement:
    return Statement(
        where=where,
        # timm has renamed some weights since files of them were published.
        architecture=current_name(weights.names[0]),
        other_names=weights.names[1:],
        # A name speaks of the published weights; these may be fine-tuned on other channels.
        input=weights.input.model_dump(exclude={"channels"}),
        is_content=False,
        is_exact=weights.is_exact,
    )
