"""Fingerprints of sets of images, to notice when a set has changed."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from covtool.data.datasets.records.records import Records
from covtool.data.datasets.samples import Sample
from covtool.full_paths import relative_name


def fingerprint(samples: Sequence[Sample], root: Path) -> str:
    """Return the number of images, and a hash over their names and labels in order.

    Args:
        samples: The images.
        root: Folder that paths are relative to, so that a data set that moved is the same.

    Example:
        >>> fingerprint([Sample(Path("a/cats/1.jpg"), 0)], Path("a"))
        '1 images, 33493b4b1a20'
    """
    if isinstance(samples, Records):
        return samples.fingerprint
    lines = (f"{relative_name(sample.path, root)}\0{sample.label}\n" for sample in samples)
    return _fingerprint(lines, len(samples))


def file_fingerprint(samples: Sequence[Sample], root: Path) -> str:
    """Return a fingerprint of the files' content; labels do not matter.

    Size and time of the last change stand for the content. A file that is gone has neither.
    """
    lines = (f"{relative_name(sample.path, root)}\0{_state(sample.path)}\n" for sample in samples)
    return _fingerprint(lines, len(samples))


def _state(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:  # a cache may hold images that are gone, and is then made again
        return "gone"
    return f"{state.st_size}\0{state.st_mtime_ns}"


def _fingerprint(lines: Iterable[str], count: int) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape"))  # names need not be text
    # Caches and recipes hold such texts: another form, and none would be recognized.
    return f"{count} images, {digest.hexdigest()[:12]}"
