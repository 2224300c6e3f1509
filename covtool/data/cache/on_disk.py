"""Cache files: the name of the one for some images, and its making by one process."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from covtool.atomic import require_free, written_whole
from covtool.atomic.folders import made_folder
from covtool.data.cache.cache_file import (
    CacheIdentity,
    UnusableCacheError,
    map_cache_file,
    write_cache_file,
)
from covtool.data.cache.planning import CachePlan
from covtool.data.cache.request import CachedImages, CacheRequest, CacheSetting
from covtool.data.datasets.checking import require_readable
from covtool.data.datasets.fingerprint import file_fingerprint
from covtool.errors import ArgumentError, reason_of
from covtool.file_locks import locked_file
from covtool.full_paths import in_full

SEEN_BEFORE = "It could not be read when the cache was made."
DECODERS = ("pillow", "timm")  # packages whose version decides about the pixels
DIGITS = 12  # of the hash in the name of a cache file


def mapped(request: CacheRequest, setting: CacheSetting) -> CachedImages:
    """Map the images of an existing cache file.

    Raises:
        UnusableCacheError: There is none, or it is damaged or of other images.
        DataError: It lacks unreadable images that are not to be left out.
    """
    identity = _identity(request, setting)
    images = map_cache_file(cache_path(request, setting), identity, setting.channels)
    if len(images) != len(request.samples):
        raise UnusableCacheError("it has another number of images")
    # Unreadable ones are in the file with size 0, so that a run with --on-bad-image error notices.
    missing = set(range(len(request.samples))) - set(images.index.readable.tolist())
    bad = [(request.samples[row].path, SEEN_BEFORE) for row in sorted(missing)]
    require_readable(bad, len(request.samples), setting.on_bad_image)
    setting.note(
        f"{len(images)} {request.split} images are mapped from {cache_path(request, setting)}."
    )
    return CachedImages(request, images, bad)


def make(plan: CachePlan) -> CachedImages:
    """Make the cache file of a plan and map it; one process of a machine does so, others wait.

    Raises:
        ArgumentError: The file cannot be written.
        DataError: There are unreadable images that are not to be left out.
    """
    request, setting = plan.request, plan.setting
    path = cache_path(request, setting)
    with _writable(path), _only_one_process(path):
        try:
            return mapped(request, setting)  # made by another process, while this one waited
        except UnusableCacheError as reason:
            if path.exists():
                setting.note(f"The cache {path} is made again: {reason}.")
        identity = _identity(request, setting)
        with written_whole(path) as temporary:
            seen = write_cache_file(temporary, identity, plan)
        images = map_cache_file(path, identity, setting.channels)
        return CachedImages(request, images, seen.bad, seen)


def cache_path(request: CacheRequest, setting: CacheSetting) -> Path:
    """Return the cache file of some images: another for other settings, the same for other images.

    So a cache whose images have changed is replaced, and does not stay behind for ever.
    """
    key = f"{in_full(setting.root)}\0{request.split}\0{_settings(request, setting)}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:DIGITS]
    return (
        setting.spec.folder / f"{in_full(setting.root).name}-{request.split}-{digest}.safetensors"
    )


def _identity(request: CacheRequest, setting: CacheSetting) -> CacheIdentity:
    return CacheIdentity(
        files=file_fingerprint(request.samples, setting.root), settings=_settings(request, setting)
    )


def _settings(request: CacheRequest, setting: CacheSetting) -> str:
    decoders = {name: version(name) for name in DECODERS}
    kept = {"channels": setting.channels, **request.form.settings(), **decoders}
    if setting.exif:  # left out else, as in the caches that there are
        kept["exif"] = True
    return json.dumps(kept, sort_keys=True)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        with made_folder(path.parent):
            yield
    except OSError as problem:
        raise ArgumentError(
            f"The cache {path} cannot be written.",
            reason=getattr(problem, "reason", None) or reason_of(problem),
            hint="Choose another folder with --cache-dir, or use --cache ram.",
        ) from problem


@contextmanager
def _only_one_process(path: Path) -> Iterator[None]:
    """Hold the lock of a cache file until the block or the process ends."""
    lock = path.with_suffix(".lock")
    require_free(lock, overwrite=True)  # a pipe in its place would be waited for
    with locked_file(lock, wait=True):
        yield
