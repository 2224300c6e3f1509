"""Weights as the Hugging Face Hub keeps them: a folder with one file, or with several shards."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covtool.checkpoints.places import is_folder
from covtool.documents import parse_json
from covtool.errors import CheckpointError, reason_of
from covtool.printable import printable
from covtool.regular_files import is_regular, read_text

HUB_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
)
"""Weights in a folder of the Hub, the first choice first."""

_INDEX = ".index.json"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")


def weights_file(path: Path) -> Path:
    """Return the file with the weights in a folder of the Hub; any other path as it is."""
    if not is_folder(path):
        return path
    return next((path / name for name in HUB_FILES if is_regular(path / name)), path)


def shards_of(path: Path) -> tuple[Path, ...]:
    """Return the files that hold a model's weights together, of their index or of one of them.

    Returns:
        The files in the order of their numbers; none where `path` holds the weights itself.

    Raises:
        CheckpointError: Some are missing, or the index names none.
    """
    shard = _SHARD.fullmatch(path.name)
    if path.name.endswith(_INDEX) and is_regular(path):
        names = _indexed(path)
    elif shard is not None:
        count, stem, suffix = shard["count"], shard["stem"], shard["suffix"]
        # At most 99,999 by the pattern: a name cannot ask for a list of billions.
        names = [f"{stem}-{n:05}-of-{count}{suffix}" for n in range(1, int(count) + 1)]
    else:
        return ()
    missing = [name for name in names if not is_regular(path.with_name(name))]
    if missing:
        raise CheckpointError(
            f"{path} is one part of a model's weights, and others are missing.",
            reason=f"There is no {printable(missing[0])} beside it "
            f"({len(missing)} of {len(names)} files are missing).",
            hint="Put all of them into one folder.",
        )
    return tuple(path.with_name(name) for name in names)


def _indexed(path: Path) -> Sequence[str]:
    """Return names of the files in an index; none of another folder."""
    reason = "It has no weight_map that names files beside it."
    names: list[str] = []
    try:
        content = parse_json(read_text(path))
        places = content.get("weight_map") if isinstance(content, Mapping) else None
        # Names in an index must not lead out of its folder.
        if isinstance(places, Mapping) and all(map(_is_beside, places.values())):
            names = sorted(set(places.values()))
    except (OSError, ValueError) as problem:
        reason = reason_of(problem)
    if not names:
        raise CheckpointError(
            f"{path} is not an index of weights.",
            reason=reason,
            hint="Give the file with the weights.",
        )
    return names


def _is_beside(name: Any) -> bool:
    """Return whether a value is the plain name of a file: no path, no ``.`` and no ``..``."""
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name
