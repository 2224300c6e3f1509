"""The index of what the installed timm and torchvision can build.

The shipped index was made with certain versions of both. With other versions, architectures that
cannot be built here are left out, and unknown ones are learned once and kept in the user's cache.
"""

import contextlib
from functools import lru_cache
from pathlib import Path

from covtool.backbones.build_index import (
    DEFAULT_OUTPUT,
    build_index,
    installed_names,
    installed_versions,
)
from covtool.backbones.index import ArchitectureIndex, make_index, read_index, write_index
from covtool.errors import ArgumentError
from covtool.progress import Track, silent
from covtool.user_cache import user_cache


def load_index(track: Track = silent, *, shipped: Path = DEFAULT_OUTPUT) -> ArchitectureIndex:
    """Return the index of every architecture of the installed libraries.

    Args:
        track: Shows the progress where architectures must be learned; some take a second.
        shipped: The index to start from.
    """
    index = _read_once(shipped)
    versions = installed_versions()
    if index.versions == versions:
        return index
    available = set(installed_names())
    known = [_key(a) for a in index.architectures]
    # Names of another version may be gone here, and what cannot be built cannot be the answer.
    index = index.only([row for row, key in enumerate(known) if key in available])
    missing = sorted(available - set(known))
    return _extended(index, _learned(missing, track)) if missing else index


def cache_path() -> Path:
    """Return where architectures are kept that the shipped index does not know."""
    versions = "-".join(f"{name}-{version}" for name, version in installed_versions().items())
    return user_cache() / f"architectures-{versions}.xz"


@lru_cache(maxsize=1)
def _read_once(path: Path) -> ArchitectureIndex:
    """Return an index, read once; it must not be changed."""
    return read_index(path)


def _learned(missing: list[tuple[str, str]], track: Track) -> ArchitectureIndex:
    try:
        path = cache_path()
    except ArgumentError:  # a user without a home has no cache either
        return build_index(missing, track)
    with contextlib.suppress(OSError, ValueError):  # absent, or damaged: learn them again
        cached = read_index(path)
        if set(missing) <= {_key(a) for a in cached.architectures}:
            return cached
    learned = build_index(missing, track)
    with contextlib.suppress(OSError, ArgumentError):  # a read-only home is no reason to fail
        path.parent.mkdir(parents=True, exist_ok=True)
        write_index(learned, path)
    return learned


def _extended(index: ArchitectureIndex, learned: ArchitectureIndex) -> ArchitectureIndex:
    return make_index([*index.fingerprints(), *learned.fingerprints()], learned.versions)


def _key(architecture: object) -> tuple[str, str]:
    return architecture.library, architecture.name
