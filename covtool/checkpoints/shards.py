"""Weights as the Hugging Face Hub keeps them: a folder with one file, or with several shards."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from covtool.errors import CheckpointError
from covtool.printable import printable

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
    """The file with the weights in a folder of the Hub; any other path as it is."""
    if not path.is_dir():
        return path
    return next((path / name for name in HUB_FILES if (path / name).is_file()), path)


def shards_of(path: Path) -> tuple[Path, ...]:
    """The files that hold a model's weights together, of their index or of one of them.

    Returns:
        The files in the order of their numbers; none where `path` holds the weights itself.

    Raises:
        CheckpointError: Some are missing, or the index names none.
    """
    shard = _SHARD.fullmatch(path.name)
    if path.name.endswith(_INDEX) and path.is_file():
        names = _indexed(path)
    elif shard is not None:
        count, stem, suffix = shard["count"], shard["stem"], shard["suffix"]
        names = [f"{stem}-{n:05}-of-{count}{suffix}" for n in range(1, int(count) + 1)]
    else:
        return ()
    missing = [name for name in names if not path.with_name(name).is_file()]
    if missing:
        raise CheckpointError(
            f"{path} is one part of a model's weights, and others are missing.",
            reason=f"There is no {printable(missing[0])} beside it "
            f"({len(missing)} of {len(names)} files are missing).",
            hint="Put all of them into one folder.",
        )
    return tuple(path.with_name(name) for name in names)


def _indexed(path: Path) -> Sequence[str]:
    """Names of the files in an index; none of another folder."""
    try:
        places = json.loads(path.read_text("utf-8"))["weight_map"]
        names = sorted(set(places.values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        names = []
    if not names or any(not isinstance(n, str) or Path(n).name != n for n in names):
        raise CheckpointError(
            f"{path} is no index of weights.",
            reason="It has no weight_map that names files beside it.",
            hint="Give the file with the weights.",
        )
    return names
